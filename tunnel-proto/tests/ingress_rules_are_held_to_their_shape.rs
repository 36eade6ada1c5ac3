//! Which configurations are taken, which are not, and which rule a request gets.

#![cfg(feature = "ingress")]

use proptest::prelude::*;
use serde_json::{Value, json};
use tunnel_proto::ingress::{Configuration, ConfigurationFile, Settings};

#[test]
fn everything_wrong_is_told_at_once_with_its_place() {
    let cases = include_str!("data/ingress_problems.yaml.txt").split("\n==> ").skip(1);
    let mut seen = 0;
    for case in cases {
        let (name, rest) = case.split_once('\n').unwrap();
        let (yaml, told) = rest.split_once("--\n").unwrap();
        let problems = Configuration::from_yaml(yaml).expect_err(name);
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let expected: Vec<&str> = told.lines().filter(|line| !line.is_empty()).collect();
        for words in &expected {
            assert!(lines.iter().any(|line| line.contains(words)), "{name}: {words}\n{lines:#?}");
        }
        assert_eq!(lines.len(), expected.len(), "{name}: {lines:#?}");
        seen += 1;
    }
    assert!(seen >= 15, "{seen}");
}

#[test]
fn access_that_is_required_above_is_opened_only_by_who_says_so() {
    let configuration = Configuration::from_yaml(
        "
originRequest: {access: {required: true, teamName: team, audTag: [a]}}
ingress:
  - {hostname: a.test, service: hello_world, originRequest: {access: {}}}
  - {hostname: b.test, service: hello_world, originRequest: {access: {environment: fed}}}
  - {hostname: c.test, service: hello_world, originRequest: {access: {required: false}}}
  - {service: hello_world}
",
    )
    .unwrap();
    let told = configuration.to_local_configuration_json(&Settings::default());
    let told: Value = serde_json::from_slice(told.as_ref()).unwrap();
    for (rule, required) in [(0, true), (1, true), (2, false), (3, true)] {
        let access = &told["ingress"][rule]["originRequest"]["access"];
        assert_eq!(access["required"] == true, required, "{rule}");
        assert_eq!(access["teamName"] == "team", required, "{rule}");
    }
}

#[test]
fn one_configuration_of_every_key() {
    let yaml = r#"
originRequest: &all
  connectTimeout: 1m30s
  tcpKeepAlive: 15s
  noHappyEyeballs: yes
  keepAliveConnections: 10
  keepAliveTimeout: 2m
  access: {required: true, teamName: team, audTag: [a, b], environment: fed}
ingress:
  - hostname: "*.example.com"
    path: \.(jpg|png)$
    service: https://10.0.0.5:8443
    originRequest:
      <<: *all
      tlsTimeout: 5s
      httpHostHeader: inner.example.com:8443
      originServerName: origin.example.com
      caPool: /etc/ca.pem
      disableChunkedEncoding: true
      http2Origin: true
      proxyType: ""
      proxyAddress: 127.0.0.1
      proxyPort: 0
      bastionMode: false
  - hostname: jump.example.com
    service: bastion
    originRequest:
      access: {required: true, issuer: "https://auth.example.jp", certsUrl: "https://auth.example.jp/k", audTag: [c]}
      bastionMode: true
      ipRules: [{prefix: 10.0.0.0/8, ports: [22], allow: true}]
  - service: http_status:404
    originRequest: {access: {required: false}}
"#;
    let configuration = Configuration::from_yaml(yaml).unwrap();
    let told = configuration.to_local_configuration_json(&Settings::default());
    let above = json!({"connectTimeout": 90, "tcpKeepAlive": 15, "noHappyEyeballs": true,
        "keepAliveConnections": 10, "keepAliveTimeout": 120});
    let with = |more: Value| {
        let mut all = above.as_object().unwrap().clone();
        all.extend(more.as_object().unwrap().clone());
        Value::Object(all)
    };
    let expected = json!({
        "__configuration_flags": {},
        "ingress": [
            {"hostname": "*.example.com", "path": "\\.(jpg|png)$", "service": "https://10.0.0.5:8443",
             "originRequest": with(json!({"tlsTimeout": 5, "httpHostHeader": "inner.example.com:8443",
                "originServerName": "origin.example.com", "caPool": "/etc/ca.pem",
                "disableChunkedEncoding": true, "http2Origin": true, "access": {"required": true,
                "teamName": "team", "audTag": ["a", "b"], "environment": "fed"}}))},
            {"hostname": "jump.example.com", "service": "bastion",
             "originRequest": with(json!({"bastionMode": true, "access": {"required": true,
                "issuer": "https://auth.example.jp", "certsUrl": "https://auth.example.jp/k", "audTag": ["c"]},
                "ipRules": [{"prefix": "10.0.0.0/8", "ports": [22], "allow": true}]}))},
            {"service": "http_status:404", "originRequest": above},
        ],
        "warp-routing": {},
    });
    assert_eq!(serde_json::from_str::<Value>(&told).unwrap(), expected);
}

#[test]
fn a_push_takes_seconds_and_ignores_what_it_does_not_know() {
    let push = |json: Value| Configuration::from_json(json.to_string().as_bytes());
    let rules = json!([{"hostname": "", "path": "", "service": "http://a.test", "colour": "red",
        "OriginRequest": {"connectTimeout": 5, "httpHostHeader": "", "access": null, "x": [1]}}]);
    let taken = push(json!({"ingress": rules, "warp-routing": {"enabled": true}, "x": 1})).unwrap();
    let told = taken.to_local_configuration_json(&Settings::default());
    assert!(told.contains(r#""originRequest":{"connectTimeout":5}"#), "{told}");
    for (json, words) in [
        (
            json!({"originRequest": {"connectTimeout": "5s"}, "ingress": rules}),
            "whole number of seconds",
        ),
        (json!({"originRequest": {"connectTimeout": 1.5}, "ingress": rules}), "whole number"),
        (json!({"originRequest": {"connectTimeout": -1}, "ingress": rules}), "whole number"),
        (json!({"originRequest": {"noTLSVerify": "true"}, "ingress": rules}), "`true` or `false`"),
        (
            json!({"warp-routing": {"connectTimeout": "5s"}, "ingress": rules}),
            "whole number of seconds",
        ),
        (json!({"ingress": [{"service": 5}]}), "not a text"),
        (
            json!({"ingress": [{"service": "http://a.test", "originRequest": {"noTLSVerify": true}}]}),
            "no effect",
        ),
        (json!({"ingress": {}}), "not a list"),
        (json!([]), "not a map"),
    ] {
        let problems = push(json.clone()).unwrap_err().to_string();
        assert!(problems.contains(words), "{json}: {problems}");
    }
    assert!(Configuration::from_json(b"{").unwrap_err().to_string().contains("not JSON"));
    // A protection that is not complete yet closes the rule; an error would leave it open.
    let closed =
        json!([{"service": "hello_world", "originRequest": {"access": {"required": true}}}]);
    assert!(push(json!({"ingress": closed})).is_ok());
}

#[test]
fn the_first_rule_that_fits_wins() {
    let configuration = Configuration::from_yaml(
        r#"
ingress:
  - {hostname: a.example.com, path: "^/api/", service: http_status:200}
  - {hostname: a.example.com, service: http_status:201}
  - {hostname: "*.example.com", path: "\\.png$", service: http_status:202}
  - {path: "^/café$", service: http_status:203}
  - {hostname: never.example, service: http_status:205}
  - {hostname: "bücher.example", service: http_status:206}
  - {service: http_status:404}
"#,
    )
    .unwrap();
    for (host, path, expected) in [
        ("a.example.com", "/api/x", 0),
        ("A.EXAMPLE.com.", "/api/x", 0),
        ("a.example.com:8443", "/", 1),
        ("b.example.com", "/x.png", 2),
        ("b.c.example.com", "/x.png", 2),
        ("b.example.com", "/x.png/y", 6),
        ("example.com", "/x.png", 6),
        ("b.test", "/caf%C3%A9", 3),
        ("xn--bcher-kva.example", "/", 5),
        ("", "", 6),
    ] {
        assert_eq!(configuration.find(host, path).0, expected, "{host} {path}");
    }
}

#[test]
fn the_bounds_have_names() {
    let many = "{hostname: a.test, service: hello_world},".repeat(4_100);
    let problems = Configuration::from_yaml(&format!("ingress: [{many}]")).unwrap_err();
    assert!(problems.to_string().contains("more than 4096 rules (INGRESS_RULES)"), "{problems}");
    let unknown: Vec<String> = (0..200).map(|at| format!("key{at}: 1\n")).collect();
    let unknown = unknown.concat();
    let problems =
        Configuration::from_yaml(&format!("{unknown}ingress: [{{service: hello_world}}]"));
    let problems = problems.unwrap_err();
    assert_eq!(problems.iter().count(), 100);
    assert!(problems.to_string().ends_with("; and 100 more"), "{problems}");
}

#[test]
fn a_file_says_which_tunnel_and_how_the_program_runs() {
    let text = "tunnel: home\ncredentials-file: /c.json\nprotocol: http2\nedge: [a:1, b:2]\nretries: 3\n\
                ingress: [{service: hello_world}]\n";
    let file = ConfigurationFile::parse(text, &["protocol", "retries"], &["edge"]).unwrap();
    assert_eq!((file.tunnel(), file.credentials_file()), (Some("home"), Some("/c.json")));
    assert_eq!(file.settings().get("protocol"), Some("http2"));
    assert_eq!(file.settings().all("edge"), ["a:1", "b:2"]);
    let told = file.configuration().unwrap().to_local_configuration_json(file.settings());
    assert!(
        told.contains(r#""__configuration_flags":{"protocol":"http2","retries":"3"}"#),
        "{told}"
    );

    let single = ConfigurationFile::parse("edge: a:1\n", &[], &["edge"]).unwrap();
    assert_eq!(single.settings().all("edge"), ["a:1"]);
    assert!(ConfigurationFile::parse("", &[], &[]).unwrap().configuration().is_none());

    for (text, words) in [
        ("protocl: http2\n", "did you mean `protocol`?"),
        ("edgee: a:1\n", "did you mean `edge`?"),
        ("originRequest: {noTLSVerify: true}\n", "without `ingress`"),
        ("edge: a:1\nprotocol: [http2]\n", "line 2: `protocol` is a list, not a text"),
        ("tunnel: [home]\n", "line 1: `tunnel` is a list, not a text"),
        ("edge: [[a:1]]\n", "`edge[0]` is a list, not a text"),
    ] {
        let problems = ConfigurationFile::parse(text, &["protocol"], &["edge"]).unwrap_err();
        assert!(problems.to_string().contains(words), "{text}: {problems}");
    }
}

#[test]
fn nothing_secret_of_a_file_is_shown() {
    let text = "token: TOPSECRET\nprotocol: http2\ningress: [{service: hello_world}]\n";
    let file = ConfigurationFile::parse(text, &["protocol", "token"], &[]).unwrap();
    assert_eq!(file.settings().get("token"), Some("TOPSECRET"));
    let shown = format!("{file:?} {file:#?} {:?}", file.settings());
    assert!(!shown.contains("TOPSECRET"), "{shown}");
    assert!(shown.contains("token") && shown.contains("http2"), "{shown}");
    for text in ["token: [TOPSECRET]\n", "token: {TOPSECRET: TOPSECRET}\n"] {
        let problems = ConfigurationFile::parse(text, &["token"], &[]).unwrap_err();
        assert!(!format!("{problems} {problems:?}").contains("TOPSECRET"), "{problems}");
    }
}

#[test]
fn a_key_that_a_push_states_twice_is_an_error() {
    let rules = |more: &str| format!(r#"{{"ingress":[{{"service":"http_status:404"{more}}}]}}"#);
    Configuration::from_json(rules("").as_bytes()).unwrap();
    for (twice, key) in [
        (rules(r#","service":"hello_world""#), "service"),
        // Names are compared without case.
        (rules(r#","Service":"hello_world""#), "Service"),
        (rules(r#","later":{"a":1,"a":1}"#), "a"),
        (r#"{"ingress":[],"ingress":[{"service":"hello_world"}]}"#.to_owned(), "ingress"),
    ] {
        let problems = Configuration::from_json(twice.as_bytes()).unwrap_err();
        let told = problems.to_string();
        assert!(told.contains(&format!("the key `{key}` stands here twice")), "{twice}: {told}");
    }
    let told = Configuration::from_json(b"{\"ingress\": [").unwrap_err().to_string();
    assert!(told.contains("not JSON"), "{told}");
}

proptest! {
    #[test]
    fn garbage_is_refused_and_never_worse(text in ".{0,400}") {
        let _ = Configuration::from_yaml(&text);
        let _ = Configuration::from_json(text.as_bytes());
    }

    #[test]
    fn near_misses_are_refused_and_never_worse(
        key in "[a-zA-Z<*&!-]{0,12}",
        value in r#"[a-z0-9:/*&\[\]{}"'.%#|>-]{0,40}"#,
        at in 0_usize..200,
    ) {
        let good = "originRequest: {connectTimeout: 5s}\ningress:\n  - hostname: a.test\n    path: x\n    \
                    service: http://a.test\n    originRequest:\n      access: {required: false, teamName: x}\n  - service: hello_world\n";
        let at = good.char_indices().map(|(at, _)| at).nth(at).unwrap_or(good.len());
        let text = format!("{}{key}: {value}{}", &good[..at], &good[at..]);
        if let Ok(configuration) = Configuration::from_yaml(&text) {
            let _ = configuration.find(&key, &value);
            let told = configuration.to_local_configuration_json(&Settings::default());
            prop_assert!(serde_json::from_str::<Value>(&told).is_ok());
        }
    }

    #[test]
    fn what_is_told_can_be_pushed_back(
        host in "[a-z]{1,8}\\.test", path in "[a-z/^$.]{0,8}", seconds in 0_u32..10_000,
        connections in 0_u32..65_536, flag in any::<bool>(),
    ) {
        let yaml = format!(
            "ingress:\n  - hostname: {host}\n    path: '{path}'\n    service: http://{host}:80\n    originRequest: \
             {{connectTimeout: {seconds}s, keepAliveConnections: {connections}, http2Origin: {flag}}}\n  - service: bastion\n"
        );
        let configuration = Configuration::from_yaml(&yaml).unwrap();
        let told = configuration.to_local_configuration_json(&Settings::default());
        let again = Configuration::from_json(told.as_bytes()).unwrap();
        prop_assert_eq!(again.to_local_configuration_json(&Settings::default()), told);
    }
}
