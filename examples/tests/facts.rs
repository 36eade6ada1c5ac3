//! Countries, networks and GitHub teams, from the edge's files to the door: allowed, refused, and
//! refused where the fact is not known. And what the edge does when the files change under it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test")]

mod story;

use std::net::SocketAddr;

use story::{
    countries::loopback_in,
    mail_server::MailServer,
    origin::Origin,
    process::Program,
    site::{APP_HOST, OTHER_HOST, Site},
};

const PROVIDER: &str = "5a1e8b8c-0d6e-4f0a-9f55-0e5f3c1a7b11";

const KEYS: &str = "country_database = \"countries.mmdb\"\nidentities = \"identities.toml\"\n";

const TWO_APPLICATIONS: &str = r#"
[[app]]
host = "saito"
tunnel = "home"
policies = "saito.json"

[[app]]
host = "tanaka"
tunnel = "home"
policies = "tanaka.json"
"#;

/// Nobody listens there.
fn no_mail() -> SocketAddr {
    ([127, 0, 0, 1], 1).into()
}

/// A policy that opens to a country without a login.
fn open_to(country: &str) -> String {
    format!(
        r#"[{{"name": "{country}", "decision": "bypass",
             "include": [{{"geo": {{"country_code": "{country}"}}}}]}}]"#
    )
}

/// Who is refused, and who is let through.
async fn statuses(site: &Site) -> (u16, u16) {
    let visitor = site.visitor();
    let saito = visitor.get(&site.url(APP_HOST, "/")).await.status.as_u16();
    (saito, visitor.get(&site.url(OTHER_HOST, "/")).await.status.as_u16())
}

async fn reload(edge: &mut Program, event: &str) -> serde_json::Value {
    edge.signal("HUP").await;
    edge.next_event(event).await
}

#[tokio::test]
async fn a_country_opens_its_door_and_no_other_and_an_unknown_one_opens_none() {
    let origin = Origin::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let site = Site::with(KEYS, TWO_APPLICATIONS, no_mail());
    site.write("identities.toml", "");
    site.write("saito.json", open_to("JP"));
    site.write("tanaka.json", open_to("US"));
    site.write("countries.mmdb", loopback_in("JP"));
    let (mut edge, _connector) = site.start(&origin.url()).await;
    assert_eq!(statuses(&site).await, (200, 403), "in Japan");

    site.write("countries.mmdb", loopback_in("US"));
    reload(&mut edge, "rules_replaced").await;
    assert_eq!(statuses(&site).await, (403, 200), "in the United States");

    // A database that says nothing about the visitor.
    let mut other = loopback_in("JP");
    other[..6].rotate_left(3);
    site.write("countries.mmdb", other);
    reload(&mut edge, "rules_replaced").await;
    assert_eq!(statuses(&site).await, (403, 403), "nowhere");

    for broken in ["no database", ""] {
        site.write("countries.mmdb", broken);
        reload(&mut edge, "rules_replaced").await;
        edge.log_line(&["WARN", "countries.mmdb", "rules about countries admit nobody"]).await;
        assert_eq!(statuses(&site).await, (403, 403), "unreadable");
    }
    std::fs::remove_file(site.path("countries.mmdb")).unwrap();
    reload(&mut edge, "rules_replaced").await;
    edge.log_line(&["saito.t.example.jp", "the country", "set `country_database`"]).await;
    assert_eq!(statuses(&site).await, (403, 403), "missing");
}

#[tokio::test]
async fn an_unknown_country_does_not_slip_past_a_block() {
    let origin = Origin::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let site = Site::with(KEYS, TWO_APPLICATIONS, no_mail());
    site.write("identities.toml", "");
    site.write(
        "saito.json",
        r#"[{"name": "here", "decision": "bypass", "include": [{"ip": {"ip": "127.0.0.0/8"}}],
             "exclude": [{"geo": {"country_code": "RU"}}]}]"#,
    );
    site.write(
        "tanaka.json",
        r#"[{"name": "not RU", "decision": "deny", "include": [{"geo": {"country_code": "RU"}}]},
            {"name": "all", "decision": "allow", "include": [{"everyone": {}}]}]"#,
    );
    site.write("countries.mmdb", loopback_in("JP"));
    let (mut edge, _connector) = site.start(&origin.url()).await;
    assert_eq!(statuses(&site).await, (200, 302), "passes, and is asked to sign in");
    for database in [loopback_in("RU"), Vec::new()] {
        site.write("countries.mmdb", database);
        reload(&mut edge, "rules_replaced").await;
        assert_eq!(statuses(&site).await, (403, 403));
    }
}

#[tokio::test]
async fn rules_that_can_not_be_used_leave_the_old_ones_in_force_and_say_why() {
    let origin = Origin::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let site = Site::with(KEYS, TWO_APPLICATIONS, no_mail());
    site.write("identities.toml", "");
    site.write("saito.json", open_to("JP"));
    site.write("tanaka.json", open_to("US"));
    site.write("countries.mmdb", loopback_in("JP"));
    let (mut edge, _connector) = site.start(&origin.url()).await;

    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let long = format!(r#"[{{"name": "{}", "decision": "bypass"}}]"#, "x".repeat(10_000));
    for (policies, told) in [
        ("", "`saito.json` is not JSON"),
        ("{\"a\"", "is not JSON"),
        (&*deep, "the depth exceeds the limit of 64"),
        (&*long, "exceeds the limit of 4096"),
        (
            r#"[{"name": "p", "name": "q", "decision": "deny", "include": []}]"#,
            "key `name` appears twice",
        ),
        (
            r#"[{"name": "p", "decision": "bypass", "include": [{"emial": {"email": "a@b.jp"}}]}]"#,
            "/applications/0/policies/0/include/0/emial: unknown selector `emial`",
        ),
        (
            r#"[{"name": "p", "decision": "bypass", "include": [{"email": {"email": "a@b.jp"}}]}]"#,
            "nobody has logged in yet",
        ),
        (
            r#"[{"name": "p", "decision": "bypass", "include": [{"group": {"id": "g"}}]}]"#,
            "there is no group `g` in this configuration",
        ),
    ] {
        site.write("saito.json", policies);
        let event = reload(&mut edge, "rules_refused").await;
        let error = event["error"].as_str().unwrap();
        let told = told.replace("`saito.json`", "saito.json`");
        assert!(error.contains(&told) && error.contains("saito"), "{error}\nexpected {told}");
        assert_eq!(statuses(&site).await, (200, 403), "{told}");
    }
    site.write("saito.json", open_to("US"));
    site.write("identities.toml", "[[person]]\nemail = \"hanako\"");
    let event = reload(&mut edge, "rules_refused").await;
    assert!(event["error"].as_str().unwrap().contains("person 1: not an e-mail address"));
    assert_eq!(statuses(&site).await, (200, 403), "people");

    site.write("identities.toml", "");
    reload(&mut edge, "rules_replaced").await;
    assert_eq!(statuses(&site).await, (403, 403), "good ones count at once");
}

#[tokio::test]
#[ignore = "needs aiosmtpd"]
async fn a_github_team_opens_a_door_from_the_right_network_and_country() {
    let (origin, mail) = (
        Origin::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await,
        MailServer::start().await,
    );
    let site = Site::with(KEYS, TWO_APPLICATIONS, mail.address);
    let team = |network: &str| {
        format!(
            r#"[{{"name": "ops", "decision": "allow",
              "include": [{{"github-organization": {{"name": "acme", "team": "ops",
                            "identity_provider_id": "{PROVIDER}"}}}}],
              "require": [{{"ip": {{"ip": "{network}"}}}}, {{"geo": {{"country_code": "JP"}}}}]}}]"#
        )
    };
    let people = |team: &str| {
        format!(
            "provider = \"{PROVIDER}\"\n\
             [[person]]\nemail = \"hanako@example.jp\"\ngithub = {{ acme = [\"{team}\"] }}\n\
             [[person]]\nemail = \"taro@example.jp\"\ngithub = {{ acme = [\"guests\"] }}\n"
        )
    };
    site.write("saito.json", team("127.0.0.0/8"));
    site.write("tanaka.json", team("192.0.2.0/24"));
    site.write("identities.toml", people("ops"));
    site.write("countries.mmdb", loopback_in("JP"));
    let (mut edge, _connector) = site.start(&origin.url()).await;

    let hanako = site.visitor();
    let page = hanako.ask_for_code(&site.url(APP_HOST, "/"), "hanako@example.jp").await;
    edge.next_event("code_sent").await;
    assert_eq!(hanako.enter_code(&page, &mail.newest().code()).await.text(), "ok");
    // From that network nobody is let in, whoever they are: so nobody is asked to sign in.
    assert_eq!(hanako.get(&site.url(OTHER_HOST, "/")).await.status, 403);
    // In another team, and nobody knows in which: no code, no door.
    for stranger in ["taro@example.jp", "jiro@example.jp"] {
        site.visitor().ask_for_code(&site.url(APP_HOST, "/"), stranger).await;
        edge.next_event("code_not_sent").await;
    }

    // Out of the team is out at once; back in is back in.
    for (members, country, status) in [
        ("guests", loopback_in("JP"), 403),
        ("ops", loopback_in("JP"), 200),
        ("ops", loopback_in("US"), 403),
        ("ops", Vec::new(), 403),
    ] {
        site.write("identities.toml", people(members));
        site.write("countries.mmdb", country);
        reload(&mut edge, "rules_replaced").await;
        assert_eq!(hanako.get(&site.url(APP_HOST, "/")).await.status, status, "{members}");
    }
}
