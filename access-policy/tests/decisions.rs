//! Every case in `tests/data/decisions` comes out as its table says. A case needs no Rust: add a
//! line to a table, or a table to the folder.
//!
//! A table is a list of groups: a configuration in Cloudflare's JSON, and requests with the expected
//! outcome. `policy` and `application` name who must have decided, `reason` is the exact line.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{fs, path::Path};

use access_policy::{DenyClass, EmailAddress, Engine, Identity, Outcome, Policies, Request};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    applications: Policies,
    requests: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    host: Option<String>,
    path: Option<String>,
    ip: Option<String>,
    email: Option<String>,
    expect: String,
    application: Option<String>,
    policy: Option<String>,
    reason: Option<String>,
}

#[test]
fn decisions_match_the_tables() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decisions");
    let mut cases = 0;
    let mut failures = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let groups: Vec<Group> = serde_json::from_str(&fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for group in groups {
            let name = &group.name;
            let engine = Engine::compile(group.applications)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            for case in &group.requests {
                cases += 1;
                if let Err(failure) = check(&engine, case) {
                    failures.push(format!("{name}: {failure}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} of {cases} cases:\n{}", failures.len(), failures.join("\n\n"));
    assert!(cases >= 100, "the tables have shrunk to {cases} cases");
}

fn check(engine: &Engine, case: &Case) -> Result<(), String> {
    let host = case.host.as_deref().unwrap_or("app.example.com");
    let path = case.path.as_deref().unwrap_or("/");
    let identity = match case.email.as_deref().map(EmailAddress::parse) {
        None => None,
        Some(Ok(email)) => Some(Identity::new(email)),
        Some(Err(_)) if case.expect == "bad identity" => return Ok(()),
        Some(Err(error)) => return Err(error.to_string()),
    };
    let mut request = match Request::new(host, path) {
        Ok(request) => request,
        Err(_) if case.expect == "bad request" => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    if let Some(ip) = &case.ip {
        request = request.client_ip(ip.parse().unwrap());
    }
    if let Some(identity) = &identity {
        request = request.identity(identity);
    }
    let decision = engine.decide(&request);
    let explanation = decision.explain().to_string();
    let tell = |what: &str, expected: &str, found: &str| {
        Err(format!(
            "{what}: expected `{expected}`, found `{found}` for {host} {path}\n{explanation}"
        ))
    };
    if name(decision.outcome()) != case.expect {
        return tell("outcome", &case.expect, name(decision.outcome()));
    }
    if let Some(expected) = &case.application {
        let found = decision.application().map_or("none", |application| &application.name);
        if found != expected {
            return tell("application", expected, found);
        }
    }
    if let Some(expected) = &case.policy {
        let found = decision.policy().map_or("none", |policy| &policy.name);
        if found != expected {
            return tell("policy", expected, found);
        }
    }
    if let Some(expected) = &case.reason {
        let found = decision.reason().to_string();
        if found != *expected {
            return tell("reason", expected, &found);
        }
    }
    // D-PO-11: the story ends as the decision did.
    if !explanation.ends_with(&format!("{}; {}", decision.outcome(), decision.reason())) {
        return tell("explanation", "the same end", "another");
    }
    Ok(())
}

fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Allow => "allow",
        Outcome::Bypass => "bypass",
        Outcome::NeedsIdentity => "login",
        Outcome::Deny(DenyClass::Identity) => "deny identity",
        Outcome::Deny(DenyClass::NonIdentity) => "deny non_identity",
        Outcome::Deny(DenyClass::MissingFact) => "deny missing_fact",
        Outcome::Deny(DenyClass::NoApplication) => "deny no_application",
        Outcome::Deny(DenyClass::AmbiguousPath) => "deny ambiguous_path",
        Outcome::Deny(_) => "deny for a new reason",
    }
}
