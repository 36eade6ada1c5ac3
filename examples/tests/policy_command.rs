//! `edge policy`: suites of expectations, explanations and remarks, with exit codes for scripts.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod story;

use std::path::Path;

use serde_json::Value;
use story::process::{EDGE, Ended, Program, command};

const POLICIES: &str = r#"[{"id": "app", "name": "app", "domain": "app.example.com/admin", "policies": [
    {"name": "ops", "decision": "allow",
     "include": [{"github-organization": {"name": "acme", "team": "ops", "identity_provider_id": "gh"}}],
     "require": [{"geo": {"country_code": "JP"}}]}]}]"#;

const MET: &str = r#"{"expectations": [
    {"name": "ops reach /admin", "expect": "allow", "policy": "ops", "host": "app.example.com",
     "path": "/admin", "email": "a@example.jp", "provider": "gh", "github": {"acme": ["ops"]},
     "country": "JP"},
    {"name": "not from elsewhere", "expect": "deny", "host": "app.example.com", "path": "/admin",
     "email": "a@example.jp", "provider": "gh", "github": {"acme": ["guests"]}, "country": "US"}]}"#;

const NOT_MET: &str = r#"
[[expectations]]
name = "guests reach it"
expect = "allow"
host = "app.example.com"
path = "/admin"
email = "guest@example.jp"
provider = "gh"
github = { acme = ["guests"] }
country = "JP"
"#;

async fn edge(directory: &Path, arguments: &[&str]) -> Ended {
    let mut command = command(EDGE, arguments);
    command.current_dir(directory);
    Program::run(command).await
}

fn files() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let files = [
        ("policies.json", POLICIES),
        ("met.json", MET),
        ("not-met.toml", NOT_MET),
        ("typing.json", r#"{"expectations": [{"expect": "deny", "hots": "app.example.com"}]}"#),
        ("broken.json", r#"[{"id": "a"}, {"domain": "x", "policies": [{"name": "p"}]}]"#),
    ];
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

#[tokio::test]
async fn suites_that_are_met_end_with_0_and_tell_what_they_covered() {
    let directory = files();
    let arguments = ["policy", "test", "met.json", "--policies", "policies.json"];
    let ended = edge(directory.path(), &arguments).await;
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert_eq!(
        ended.stdout,
        "met.json: 2 of 2 met\n2 met, 0 failed; 1 of 1 policies decided, 2 of 2 rules tried both \
         ways"
    );
}

#[tokio::test]
async fn an_expectation_that_is_not_met_ends_with_1_and_its_reason() {
    let directory = files();
    let arguments = ["policy", "test", "met.json", "not-met.toml", "--policies", "policies.json"];
    let ended = edge(directory.path(), &arguments).await;
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    for line in [
        "met.json: 2 of 2 met",
        "not-met.toml: 0 of 1 met",
        "FAILED guests reach it: outcome: expected `allow`, found `deny identity`",
        "include GitHub team is `acme/ops`: did not match",
        "2 met, 1 failed; ",
    ] {
        assert!(ended.stdout.contains(line), "{line}\n{}", ended.stdout);
    }

    let json = edge(directory.path(), &[&arguments[..], &["--output", "json"]].concat()).await;
    assert_eq!(json.code(), Some(1));
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&report["passed"], &report["met"]), (&false.into(), &2.into()));
    let failure = &report["suites"][1]["failures"][0];
    assert_eq!(failure["name"], "guests reach it");
    assert!(failure["explanation"].as_str().unwrap().contains("decision: deny"));
    assert_eq!(report["coverage"]["untested_rules"], Value::Array(Vec::new()));
}

#[tokio::test]
async fn rules_that_nothing_tries_can_be_made_to_fail() {
    let directory = files();
    let arguments = ["policy", "test", "not-met.toml", "--policies", "policies.json"];
    let ended = edge(directory.path(), &arguments).await;
    assert!(
        ended.stdout.contains("never tried both ways: application `app`, policy `ops` (allow)")
    );
    std::fs::write(
        directory.path().join("half.toml"),
        NOT_MET.replace("expect = \"allow\"", "expect = \"deny\""),
    )
    .unwrap();
    let half = ["policy", "test", "half.toml", "--policies", "policies.json"];
    assert_eq!(edge(directory.path(), &half).await.code(), Some(0));
    let strict = [&half[..], &["--require-coverage"]].concat();
    assert_eq!(edge(directory.path(), &strict).await.code(), Some(1));
}

#[tokio::test]
async fn what_can_not_be_read_ends_with_2_and_every_place() {
    let directory = files();
    for (arguments, told) in [
        (&["met.json", "--policies", "nowhere.json"][..], "can't read `nowhere.json`"),
        (&["nowhere.json", "--policies", "policies.json"], "can't read the suite `nowhere.json`"),
        (&["typing.json", "--policies", "policies.json"], "unknown field `hots`"),
        (&["met.json", "--policies", "broken.json"], "/0: field `domain` is missing"),
        (&["met.json", "--policies", "broken.json"], "/1/policies/0: field `include` is missing"),
        (&["met.json"], "can't read the configuration `edge.toml`"),
    ] {
        let ended = edge(directory.path(), &[&["policy", "test"], arguments].concat()).await;
        assert_eq!(ended.code(), Some(2), "{ended:?}");
        assert!(ended.stderr.contains(told), "{told}\n{}", ended.stderr);
    }
    assert_eq!(edge(directory.path(), &["policy", "test"]).await.code(), Some(2));
}

#[tokio::test]
async fn explain_tells_one_visitors_story() {
    let directory = files();
    let arguments = ["policy", "explain", "--policies", "policies.json", "--country", "JP"];
    let url = ["--url", "https://app.example.com/admin/x", "--as", "a@example.jp"];
    let ended = edge(directory.path(), &[&arguments[..], &url].concat()).await;
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert!(ended.stdout.contains("require country is JP: matched"), "{}", ended.stdout);
    assert!(ended.stdout.contains("the identity provider is not known"), "{}", ended.stdout);
}

#[tokio::test]
async fn lint_ends_with_1_if_there_is_something_to_say() {
    let directory = files();
    let arguments = ["policy", "lint", "--policies", "policies.json"];
    assert_eq!(edge(directory.path(), &arguments).await.code(), Some(0));
    let open = POLICIES.replace(
        "{\"geo\": {\"country_code\": \"JP\"}}",
        "{\"geo\": {\"country_code\": \"JP\"}}, {\"geo\": {\"country_code\": \"US\"}}",
    );
    std::fs::write(directory.path().join("policies.json"), open).unwrap();
    let ended = edge(directory.path(), &arguments).await;
    assert_eq!(ended.code(), Some(1));
    assert!(ended.stdout.contains("/0/policies/0/require/1: ContradictoryRequire"), "{ended:?}");
}
