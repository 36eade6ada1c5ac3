//! Every case in `tests/data/imports.json` is read and compiled, or refused with its class and place.
//!
//! `json` is the document; where that can't be written as JSON, `text` holds it as a string. Without
//! `class` it must be accepted; `at` is the exact place of the fault.

use access_policy::{Application, Engine, Error, LintCode, Mode, Policies, Policy, Rule};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    json: Option<serde_json::Value>,
    text: Option<String>,
    class: Option<String>,
    at: Option<String>,
}

#[test]
fn imports_match_the_table() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("data/imports.json")).unwrap();
    let mut failures = Vec::new();
    for case in &cases {
        let text = match (&case.json, &case.text) {
            (Some(json), None) => json.to_string(),
            (None, Some(text)) => text.clone(),
            _ => panic!("{}: give `json` or `text`", case.name),
        };
        let result = Policies::from_json(&text).and_then(Engine::compile);
        if let Err(failure) = check(case, result) {
            failures.push(format!("{}: {failure}", case.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(cases.len() >= 60, "the table has shrunk to {} cases", cases.len());
}

fn check(case: &Case, result: Result<Engine, Error>) -> Result<(), String> {
    match (&case.class, result) {
        (None, Ok(_)) => Ok(()),
        (None, Err(error)) => Err(format!("refused: {error}")),
        (Some(class), Ok(_)) => Err(format!("accepted, expected {class}")),
        (Some(class), Err(error)) => {
            let (found, at) = (format!("{:?}", error.class()), error.location());
            if found != *class || (case.at.is_some() && at != case.at.as_deref()) {
                return Err(format!("expected {class} at {:?}, found {found}: {error}", case.at));
            }
            let text = error.to_string();
            let is_clean = !text.contains('\n') && text.len() < 600 && !text.contains("secret@");
            if is_clean { Ok(()) } else { Err(format!("untidy message: {text}")) }
        }
    }
}

#[test]
fn host_bits_are_remarked_on_and_masked() {
    let text = r#"{"applications": [{"id": "a", "domain": "a.example", "policies": [
        {"name": "p", "decision": "bypass", "include": [{"ip": {"ip": "192.168.100.1/24"}},
         {"ip": {"ip": "10.0.0.0/8"}}, {"ip": {"ip": "192.0.2.1"}}, {"ip": {"ip": "2001:DB8::/32"}},
         {"ip": ["10.1.2.3/16"]}, {"ip_list": {"id": "l"}}]}]}],
        "lists": [{"id": "l", "name": "l", "type": "IP", "items": ["::ffff:10.0.0.9/120", "::1"]}]}"#;
    let import = Policies::import(text.as_bytes(), Mode::Strict).unwrap();
    let told: Vec<_> = import.lints.iter().map(|lint| (lint.code, &*lint.location)).collect();
    assert_eq!(
        told,
        [
            (LintCode::HostBitsSet, "/applications/0/policies/0/include/0/ip/ip"),
            (LintCode::HostBitsSet, "/applications/0/policies/0/include/4/ip/0"),
            (LintCode::HostBitsSet, "/lists/0/items/0"),
        ]
    );
    assert_eq!(
        import.lints[0].message,
        "`192.168.100.1/24` has bits beyond its prefix; it means 192.168.100.0/24"
    );
}

/// Found by the fuzz target `import`: an id that was made from the name kept its capitals, and lost them
/// when it was read again.
#[test]
fn ids_made_from_names_survive_a_round_trip() {
    let text = r#"[{"name": "Wiki", "domain": "a.example", "policies": [
        {"name": "Ap", "decision": "allow", "include": [{"everyone": {}}]}]}]"#;
    let read = Policies::from_json(text).unwrap();
    let built = Policies::new([Application::new("Wiki")
        .destination("a.example".parse().unwrap())
        .policy(Policy::allow("Ap").include(Rule::Everyone))]);
    for policies in [read, built] {
        let written = serde_json::to_string(&policies).unwrap();
        assert_eq!(Policies::from_json(&written).unwrap(), policies, "{written}");
    }
}

#[test]
fn serde_applies_the_same_rules_and_names_the_place() {
    let text = r#"{"applications": [{"domain": "a.example", "polices": []}]}"#;
    let error = serde_json::from_str::<Policies>(text).unwrap_err().to_string();
    assert!(error.contains("/applications/0/polices: unknown field `polices`"), "{error}");
}

#[test]
fn addresses_with_and_without_prefix_are_equal_after_a_round_trip() {
    let read = |ip| {
        let text = format!(
            r#"[{{"id": "a", "domain": "a.example", "policies": [{{"name": "p", "decision": "bypass",
                "include": [{{"ip": {{"ip": "{ip}"}}}}]}}]}}]"#
        );
        Policies::from_json(&text).unwrap()
    };
    for (short, long) in [("192.0.2.1", "192.0.2.1/32"), ("2001:db8::1", "2001:DB8::1/128")] {
        assert_eq!(read(short), read(long));
        let written = serde_json::to_string(&read(long)).unwrap();
        assert_eq!(Policies::from_json(&written).unwrap(), read(short));
    }
}
