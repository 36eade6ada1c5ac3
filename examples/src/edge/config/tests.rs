use super::*;

const GOOD: &str = r#"
    zone = "t.example.jp"
    [listen]
    https = "127.0.0.1:8443"
    [mail]
    smtp = "smtp://127.0.0.1:2525"
    from = "access@example.jp"
    [[app]]
    host = "saito"
    tunnel = "home"
    allow = ["*@example.jp"]
"#;

#[test]
fn ten_lines_are_enough() {
    let config = Config::parse(GOOD).unwrap();
    assert_eq!(config.team_host(), "auth.t.example.jp");
    assert_eq!(
        config.policies().unwrap().to_string().trim(),
        "saito.t.example.jp: anyone with an address @example.jp; everyone else is refused"
    );
    config.mailer().unwrap();
}

#[test]
fn the_sample_can_be_used_with_and_without_what_may_be_left_out() {
    let sample = include_str!("../../../edge.toml");
    let config = Config::parse(sample).unwrap();
    assert_eq!(config.certificates(), [["*.t.example.jp"]]);
    assert_eq!(config.registered_hosts().unwrap().len(), 2);
    // What excludes something else is left out here too.
    let is_choice =
        |line: &str| line.starts_with("#hook") || line.starts_with("#propagation_seconds");
    let lines = sample.lines().filter(|line| !is_choice(line));
    let all: Vec<&str> = lines.map(|line| line.strip_prefix('#').unwrap_or(line)).collect();
    let is_key = |line: &&str| !line.starts_with(' ');
    let all: String = all.into_iter().filter(is_key).flat_map(|line| [line, "\n"]).collect();
    let config = Config::parse(&all).unwrap();
    assert_eq!(config.acme[0].preferred_root.as_deref(), Some("ISRG Root X1"));
}

#[test]
fn host_names_have_one_form() {
    let config = Config::parse(&GOOD.replace("t.example.jp", "T.Example.JP.")).unwrap();
    assert_eq!(config.team_host(), "auth.t.example.jp");
    assert_eq!(config.host_of(&config.app[0]), "saito.t.example.jp");
}

#[test]
fn mistakes_come_with_line_and_remedy() {
    for (from, to, expected) in [
        ("zone =", "zome =", "line 2: there is no key `zome`; did you mean `zone`?"),
        ("https =", "htps =", "line 4: there is no key `htps` in `listen`; did you mean `https`?"),
        ("allow =", "alow =", "line 11: there is no key `alow` in `app`; did you mean `allow`?"),
        ("[mail]", "[nail]", "line 5: there is no key `nail`; did you mean `mail`?"),
        ("\"127.0.0.1:8443\"", "\"127.0.0.1\"", "line 4: invalid socket address syntax"),
        ("\"127.0.0.1:8443\"", "8443", "line 4: "),
        ("allow = [\"*@example.jp\"]", "", "say who may pass"),
        ("smtp = \"smtp://127.0.0.1:2525\"", "smtp = \"smtp://127", "line 6: "),
        ("zone = \"t.example.jp\"", "", "missing field `zone`"),
        ("\"t.example.jp\"", "\"\"", "`zone` is ``"),
        ("\"t.example.jp\"", "\"https://t.example.jp\"", "`zone` is `https://t.example.jp`"),
        ("[mail]", "[acme]\n[mail]", "read the authority's terms, then say `agree_to_terms"),
        ("[mail]", "[acme]\nagree = true\n[mail]", "there is no key `agree` in `acme`"),
        ("[mail]", "[[acme]]\nwildcart = true\n[mail]", "did you mean `wildcard`?"),
        (
            "[mail]",
            "[acme]\nagree_to_terms = true\nchallenge = \"http-01\"\n[mail]",
            "say `http = \"0.0.0.0:80\"` in `[listen]`",
        ),
        (
            "[mail]",
            "[acme]\nagree_to_terms = true\nchallenge = \"http-1\"\n[mail]",
            "unknown variant `http-1`, expected one of `http-01`",
        ),
        (
            "[mail]",
            "[acme]\nagree_to_terms = true\nchallenge = \"dns-01\"\n[mail]",
            "dns-01 needs a zone that the edge may change; describe it in `[dns]`",
        ),
        (
            "[mail]",
            "[acme]\nagree_to_terms = true\nwildcard = true\n[mail]",
            "authorities give a wildcard for dns-01 only",
        ),
        (
            "[mail]",
            "[acme]\nagree_to_terms = true\neab_key_id = \"x\"\n[mail]",
            "`eab_key_id` and `eab_key_file` go together",
        ),
        (
            "[mail]",
            "[acme]\nagree_to_terms = true\ncontact = \"ops\"\n[mail]",
            "`contact` is an e-mail address such as",
        ),
        (
            "[mail]",
            "[acme]\nagree_to_terms = true\ndirectory = \"http://ca.example\"\n[mail]",
            "begins with https://",
        ),
        (
            "[mail]",
            "[[acme]]\nagree_to_terms = true\nfallback = \"private\"\n\
             [[acme]]\nagree_to_terms = true\ndirectory = \"https://ca.example\"\n[mail]",
            "belongs into the last `[[acme]]`",
        ),
        (
            "[mail]",
            "[[acme]]\nagree_to_terms = true\n[[acme]]\nagree_to_terms = true\n[mail]",
            "is named twice",
        ),
        ("[mail]", "[dns]\n[mail]", "say who changes the zone"),
        (
            "[mail]",
            "[dns]\nserver = \"ns.example.jp\"\nkey_file = \"k\"\n[mail]",
            "`dns.server` is `ns.example.jp`; an address such as",
        ),
        (
            "[mail]",
            "[dns]\nserver = \"192.0.2.53\"\n[mail]",
            "`tsig-keygen edge > tsig.key` draws one",
        ),
        ("[mail]", "[dns]\nhook = \"a\"\nkey_file = \"k\"\n[mail]", "the hook knows its own"),
        (
            "[mail]",
            "[dns]\nhook = \"a\"\ntarget = \"a b\"\n[mail]",
            "`dns.target` is `a b`; an address or a host name is meant",
        ),
        ("\"saito\"", "\"auth\"", "people sign in at this host"),
        (
            "allow = [\"*@example.jp\"]",
            "policies = \"p\"\nrequire_ip = [\"10.0.0.0/8\"]",
            "goes with `allow`",
        ),
    ] {
        let error = Config::parse(&GOOD.replace(from, to)).unwrap_err();
        assert!(format!("{error:#}").contains(expected), "{error:#}\nexpected {expected}");
    }
    for cut in 0..GOOD.len() - 30 {
        let _ = Config::parse(&GOOD[..cut]);
    }
}

#[test]
fn rules_that_can_not_be_read_name_their_application() {
    let config = Config::parse(&GOOD.replace("*@example.jp", "*example.jp")).unwrap();
    let error = format!("{:#}", config.policies().unwrap_err());
    assert!(error.contains("app `saito.t.example.jp`"), "{error}");
}

#[test]
fn certificates_are_for_each_host_or_for_the_zone() {
    let apps = "\n[[app]]\nhost = \"www.example.org\"\ntunnel = \"home\"\nallow = [\"*\"]\n\
                [[app]]\nhost = \"a.b\"\ntunnel = \"home\"\nallow = [\"*\"]\n\
                [[app]]\nhost = \"saito/admin\"\ntunnel = \"home\"\nallow = [\"*\"]\n";
    let config = Config::parse(&(GOOD.to_owned() + apps)).unwrap();
    let each = ["a.b", "auth.t.example.jp", "saito.t.example.jp", "www.example.org"];
    assert_eq!(config.certificates().concat(), each);
    assert!(config.has_private_issuer());
    let acme = "[dns]\nhook = \"h\"\n[acme]\nagree_to_terms = true\nwildcard = true\n";
    let config = Config::parse(&(GOOD.to_owned() + acme + apps)).unwrap();
    let few = ["a.b", "www.example.org", "*.t.example.jp"];
    assert_eq!(config.certificates().concat(), few);
    assert!(!config.has_private_issuer());
    assert_eq!(config.challenge_of(&config.acme[0]), Challenge::Dns01);
    let several = "[[acme]]\nagree_to_terms = true\n[[acme]]\nagree_to_terms = true\n\
                   directory = \"https://ca.example\"\nfallback = \"private\"\n";
    let config = Config::parse(&(GOOD.to_owned() + several)).unwrap();
    assert_eq!(config.challenge_of(&config.acme[0]), Challenge::TlsAlpn01);
    assert_eq!(
        config.issuers_in_words(),
        "https://acme-v02.api.letsencrypt.org/directory by tls-alpn-01 on `listen.https`; if that \
         fails, https://ca.example by tls-alpn-01 on `listen.https`; if that fails, the edge's own \
         authority, which browsers must be told to trust"
    );
}

#[test]
fn words_of_mails_come_from_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::parse(GOOD).unwrap();
    assert!(config.mail_texts().unwrap().is_empty());
    config.mail.templates = Some(folder.path().to_owned());
    let error = |config: &Config| format!("{:#}", config.mail_texts().unwrap_err());
    assert!(error(&config).contains("is empty"));
    let write = |name: &str, content: &str| fs::write(folder.path().join(name), content).unwrap();
    write("en.subject.txt", "{code} for {application}\n");
    write("ja.html", "<p>{code}</p>");
    let texts = config.mail_texts().unwrap();
    assert_ne!(texts[0].1, MailTexts::ours(Locale::En));
    assert_ne!(texts[1].1, MailTexts::ours(Locale::Ja));
    write("en.text.txt", "Dear {name},\n{code}\n");
    let found = error(&config);
    assert!(found.contains("en.text.txt`: line 1 of the text has `{name}`; there is"), "{found}");
    fs::remove_file(folder.path().join("en.text.txt")).unwrap();
    write("en.txt", "{code}");
    let found = error(&config);
    assert!(found.contains("en.txt` is none of en.subject.txt, en.text.txt, en.html"), "{found}");
}

#[test]
fn an_application_may_be_a_part_of_a_host() {
    let config = Config::parse(&GOOD.replace("\"saito\"", "\"saito/admin\"")).unwrap();
    assert_eq!(config.host_of(&config.app[0]), "saito.t.example.jp");
    let policies = config.policies().unwrap();
    assert_eq!(policies.applications[0].destinations[0].to_string(), "saito.t.example.jp/admin");
}
