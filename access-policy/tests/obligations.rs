//! What comes with a decision besides its outcome: durations, second factors, approvals, purposes. It
//! never changes whether a policy matches, and only those who are allowed get it.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the methods are for one lifetime, the closures for any"
)]

use std::time::Duration;

use access_policy::{
    Decision, Engine, Identity, Outcome, Policies, Request, Scenario, ServiceToken,
};

const HOURS: u64 = 3_600;

fn engine(json: &str) -> Engine {
    Engine::compile(Policies::from_json(json).unwrap()).unwrap()
}

/// One application with one policy; each text is what stands beside the usual.
fn one(decision: &str, policy: &str, application: &str, organization: &str) -> Engine {
    let rule = if decision == "allow" {
        r#"{"email_domain": {"domain": "example.com"}}"#
    } else {
        r#"{"any_valid_service_token": {}}"#
    };
    let rule = if decision == "bypass" { r#"{"everyone": {}}"# } else { rule };
    engine(&format!(
        r#"{{"applications": [{{"id": "a", "domain": "app.example.com" {application}, "policies": [
            {{"id": "p", "name": "p", "decision": "{decision}", "include": [{rule}] {policy}}}]}}],
          "organization": {{ {organization} }}}}"#
    ))
}

fn decide<T>(engine: &Engine, ask: impl FnOnce(&Decision<'_>) -> T) -> T {
    let identity = Identity::new("a@example.com".parse().unwrap());
    let request = Request::new("app.example.com", "/").unwrap().identity(&identity);
    let request = request.service_token(ServiceToken::Valid { id: "t" });
    ask(&engine.decide(&request))
}

#[test]
fn a_session_lasts_as_the_policy_says_else_the_application_else_the_organisation_else_a_day() {
    for decision in ["allow", "non_identity"] {
        for (policy, application, organization, hours) in [
            (
                r#", "session_duration": "1h""#,
                r#", "session_duration": "2h""#,
                r#""session_duration": "3h""#,
                1,
            ),
            ("", r#", "session_duration": "2h""#, r#""session_duration": "3h""#, 2),
            ("", "", r#""session_duration": "3h""#, 3),
            ("", "", "", 24),
            (r#", "session_duration": "0s""#, r#", "session_duration": "2h""#, "", 0),
        ] {
            let engine = one(decision, policy, application, organization);
            let life = decide(&engine, |it| it.session_duration());
            assert_eq!(life, Some(Duration::from_secs(hours * HOURS)), "{decision} {policy}");
        }
    }
    let open = one("bypass", r#", "session_duration": "1h""#, "", "");
    assert_eq!(decide(&open, |it| it.session_duration()), None, "nobody has a session there");
}

#[test]
fn a_second_factor_is_the_policys_else_the_applications_else_the_organisations() {
    let mfa = |kind: &str| format!(r#""mfa_config": {{"allowed_authenticators": ["{kind}"]}}"#);
    let (one_, two, three) = (mfa("totp"), mfa("biometrics"), mfa("security_key"));
    let off = r#", "mfa_config": {"mfa_disabled": true}"#;
    for (policy, application, organization, kind) in [
        (format!(", {one_}"), format!(", {two}"), three.clone(), Some("totp")),
        (String::new(), format!(", {two}"), three.clone(), Some("biometrics")),
        (String::new(), String::new(), three.clone(), Some("security_key")),
        (String::new(), String::new(), String::new(), None),
        (off.to_owned(), format!(", {two}"), three.clone(), None),
        (String::new(), off.to_owned(), three, None),
    ] {
        let engine = one("allow", &policy, &application, &organization);
        let found = decide(&engine, |it| it.mfa().map(|mfa| mfa.allowed_authenticators.join(" ")));
        assert_eq!(found.as_deref(), kind, "{policy} {application} {organization}");
    }
}

#[test]
fn approval_purpose_and_isolation_come_with_an_allow_and_change_nothing_else() {
    let demands = r#", "approval_required": true,
        "approval_groups": [{"approvals_needed": 2, "email_addresses": ["boss@example.com"],
                             "email_list_uuid": "l"}],
        "purpose_justification_required": true, "purpose_justification_prompt": "What for?",
        "isolation_required": true"#;
    let engine = one("allow", demands, "", "");
    decide(&engine, |decision| {
        assert_eq!(decision.outcome(), Outcome::Allow);
        let obligations = decision.obligations().unwrap();
        assert!(obligations.approval_required && obligations.isolation_required);
        assert_eq!(obligations.approval_groups[0].approvals_needed, 2);
        assert_eq!(obligations.approval_groups[0].email_addresses[0].as_str(), "boss@example.com");
        assert!(obligations.purpose_justification_required);
        assert_eq!(obligations.purpose_justification_prompt.as_deref(), Some("What for?"));
    });
    assert_eq!(decide(&one("allow", "", "", ""), |it| it.obligations().cloned()), None);
    for decision in ["non_identity", "bypass"] {
        let engine = one(decision, demands, "", "");
        assert!(decide(&engine, |it| it.is_pass()));
        assert_eq!(decide(&engine, |it| it.obligations().cloned()), None, "{decision}");
    }
    // Who is not allowed hears of none.
    let nobody = Request::new("app.example.com", "/").unwrap();
    assert_eq!(engine.decide(&nobody).outcome(), Outcome::NeedsIdentity);
    assert_eq!(engine.decide(&nobody).obligations(), None);
}

/// Each column is a kind of service token: none, valid and admitted, valid and not admitted, invalid,
/// malformed. With a login beside it that an allow policy would admit.
#[test]
fn service_tokens_strict_and_not() {
    let engine = |organization: &str, application: &str| {
        engine(&format!(
            r#"{{"applications": [{{"id": "a", "domain": "app.example.com" {application}, "policies": [
                {{"name": "people", "decision": "allow", "include": [{{"email_domain": {{"domain": "example.com"}}}}]}},
                {{"name": "programs", "decision": "non_identity",
                  "include": [{{"service_token": {{"token_id": "good"}}}}]}}]}}],
              "organization": {{ {organization} }}}}"#
        ))
    };
    let strict = r#""strict_service_token_auth": true"#;
    let redirect = r#", "service_auth_401_redirect": true"#;
    for (organization, application, is_logged_in, expected) in [
        ("", "", false, ["login", "service auth", "login", "login", "login"]),
        ("", "", true, ["allow", "service auth", "allow", "allow", "allow"]),
        ("", redirect, false, ["401", "service auth", "401", "401", "401"]),
        ("", redirect, true, ["allow", "service auth", "allow", "allow", "allow"]),
        (strict, "", false, ["login", "service auth", "403", "401", "401"]),
        (strict, "", true, ["allow", "service auth", "403", "401", "401"]),
        (strict, redirect, true, ["allow", "service auth", "403", "401", "401"]),
        (strict, redirect, false, ["401", "service auth", "403", "401", "401"]),
    ] {
        let engine = engine(organization, application);
        let tokens = [None, Some("good"), Some("other"), Some("invalid"), Some("malformed")];
        for (token, expected) in tokens.into_iter().zip(expected) {
            let mut scenario = Scenario::new("app.example.com", "/");
            scenario.service_token = token.map(str::to_owned);
            scenario.email = is_logged_in.then(|| "a@example.com".to_owned());
            let found = scenario.ask(|request| match engine.decide(request).outcome() {
                Outcome::Deny(class) => class.status().to_string(),
                Outcome::NeedsIdentity => "login".to_owned(),
                passes => passes.to_string(),
            });
            let case = format!("{organization} {application} {is_logged_in} {token:?}");
            assert_eq!(found.unwrap(), expected, "{case}");
        }
    }
}

#[test]
fn a_preflight_passes_is_answered_or_is_refused() {
    let methods = r#""allowed_methods": ["GET"], "allowed_origins": ["https://a.example"]"#;
    let cors = format!(r#", "cors_headers": {{{methods}}}"#);
    for (application, is_logged_in, is_preflight, expected) in [
        (r#", "options_preflight_bypass": true"#, false, true, "bypass"),
        (r#", "options_preflight_bypass": true"#, false, false, "login needed"),
        (&cors, false, true, "respond to preflight"),
        (&cors, true, true, "respond to preflight"),
        (&cors, false, false, "login needed"),
        ("", false, true, "deny"),
        ("", true, true, "allow"),
    ] {
        let engine = one("allow", "", application, "");
        let mut request = serde_json::json!({"host": "app.example.com", "path": "/"});
        if is_preflight {
            request["preflight"] =
                serde_json::json!({"origin": "https://a.example", "method": "GET"});
        }
        if is_logged_in {
            request["email"] = "a@example.com".into();
        }
        let scenario: Scenario = serde_json::from_value(request).unwrap();
        let found = scenario.ask(|request| engine.decide(request).outcome().to_string()).unwrap();
        assert_eq!(found, expected, "{application} {is_logged_in} {is_preflight}");
    }
}
