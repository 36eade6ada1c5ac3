//! One test for each way in which an access policy has gone wrong somewhere.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::time::Duration;

use access_policy::{
    Application, Claim, DenyClass, Destination, EmailAddress, Engine, Fact, Identity, LintCode,
    Mode, Network, Outcome, Policies, Policy, Request, Rule, ServiceToken,
};

const P: &str = "provider-1";

fn engine(applications: &str) -> Engine {
    let import = Policies::import(applications.as_bytes(), Mode::Lenient).unwrap();
    Engine::compile(import.policies).unwrap()
}

/// One application with one allow policy.
fn allow(include: &str) -> Engine {
    engine(&format!(
        r#"[{{"domain": "app.example.com", "policies": [{{"name": "p", "decision": "allow", "include": [{include}]}}]}}]"#
    ))
}

fn outcome_for(engine: &Engine, identity: &Identity<'_>) -> Outcome {
    let request = Request::new("app.example.com", "/").unwrap().identity(identity);
    engine.decide(&request).outcome()
}

fn person(email: &str) -> Identity<'static> {
    Identity::new(EmailAddress::parse(email).unwrap())
}

fn outcome(engine: &Engine, host: &str, path: &str) -> Outcome {
    engine.decide(&Request::new(host, path).unwrap()).outcome()
}

const STAFF: &str = r#"{"email_domain": {"domain": "example.com"}}"#;

/// Found by the fuzz target `host_path`. Some origins drop what follows a `;`.
#[test]
fn a_destination_with_parameters_is_refused_where_the_path_without_them_is_nobodys() {
    let open = |patterns: &[&str]| {
        let mut app =
            Application::new("open").policy(Policy::bypass("all").include(Rule::Everyone));
        for pattern in patterns {
            app = app.destination(pattern.parse().unwrap());
        }
        Engine::compile(Policies::new([app])).unwrap()
    };
    let request = Request::new("x", "/.Qe%D9%9CQ~Q;QQQ").unwrap();
    let alone = open(&["x/.Qe%D9%9CQ~Q;QQQ"]);
    assert_eq!(alone.decide(&request).outcome(), Outcome::Deny(DenyClass::AmbiguousPath));
    let both = open(&["x/.Qe%D9%9CQ~Q;QQQ", "x/.Qe%D9%9CQ~Q"]);
    assert_eq!(both.decide(&request).outcome(), Outcome::Bypass);
}

#[test]
fn letter_case_of_mail_addresses_and_domains_does_not_count() {
    for email in ["A@Example.COM", "a@example.com", "a@EXAMPLE.com."] {
        assert_eq!(outcome_for(&allow(STAFF), &person(email)), Outcome::Allow, "{email}");
    }
    let one = allow(r#"{"email": {"email": "A@Example.com"}}"#);
    assert_eq!(outcome_for(&one, &person("a@EXAMPLE.com")), Outcome::Allow);
}

#[test]
fn evil_example_com_is_not_example_com() {
    for email in [
        "a@evil-example.com",
        "a@evilexample.com",
        "a@example.com.evil.org",
        "example.com@evil.org",
    ] {
        assert!(!outcome_for(&allow(STAFF), &person(email)).is_pass(), "{email}");
    }
}

#[test]
fn sub_domains_are_other_domains() {
    assert!(!outcome_for(&allow(STAFF), &person("a@sub.example.com")).is_pass());
    assert!(!outcome_for(&allow(STAFF), &person("a@com")).is_pass());
}

#[test]
#[cfg(feature = "idna")]
fn homoglyphs_are_other_letters() {
    // The first letter is Cyrillic.
    assert!(!outcome_for(&allow(STAFF), &person("a@ехample.com")).is_pass());
    assert!(
        !outcome_for(
            &allow(r#"{"email": {"email": "admin@example.com"}}"#),
            &person("аdmin@example.com")
        )
        .is_pass()
    );
}

#[test]
fn domains_that_look_alike_are_pointed_out() {
    let engine = allow(
        r#"{"email_domain": {"domain": "example.com"}}, {"email_domain": {"domain": "exarnple.com"}}"#,
    );
    assert!(engine.lint().iter().any(|lint| lint.code == LintCode::ConfusableDomain));
}

#[test]
#[cfg(feature = "idna")]
fn international_domains_have_one_form() {
    let engine = allow(r#"{"email_domain": {"domain": "bücher.example"}}"#);
    for email in ["a@xn--bcher-kva.example", "a@BÜCHER.example", "a@bu\u{308}cher.example"] {
        assert_eq!(outcome_for(&engine, &person(email)), Outcome::Allow, "{email}");
    }
    assert!(access_policy::Domain::parse("xn--a").is_err(), "broken A-labels are refused");
}

#[test]
fn kelvin_sign_does_not_turn_into_k() {
    assert!(EmailAddress::parse("\u{212a}@example.com").is_err());
    // LATIN SMALL LETTER LONG S would become S in upper case.
    assert!(
        EmailAddress::parse("\u{17f}@example.com")
            .is_ok_and(|email| email.as_str() != "s@example.com")
            || cfg!(not(feature = "idna"))
    );
}

#[test]
fn several_at_signs_are_no_address() {
    for text in ["a@b@example.com", "a@@example.com", "@example.com", "a@", "\"a@b\"@example.com"] {
        assert!(EmailAddress::parse(text).is_err(), "{text}");
    }
}

#[test]
fn trailing_dots_and_ports_of_hosts_do_not_count() {
    let engine = engine(
        r#"[{"domain": "app.example.com", "policies": [{"name": "p", "decision": "bypass", "include": [{"everyone": {}}]}]}]"#,
    );
    for host in [
        "app.example.com",
        "APP.example.com",
        "app.example.com.",
        "app.example.com:8443",
        "app.example.com.:443",
    ] {
        assert_eq!(outcome(&engine, host, "/"), Outcome::Bypass, "{host}");
    }
    for host in
        ["app.example.com..", "app.example.com:x", "user@app.example.com", "app.example.com:99999"]
    {
        assert!(Request::new(host, "/").is_err(), "{host}");
    }
    for pattern in [
        "app.example.com:8443",
        "https://app.example.com",
        "app.example.com?q",
        "app.example.com#x",
    ] {
        assert!(Destination::parse(pattern).is_err(), "{pattern}");
    }
}

#[test]
fn ipv4_in_ipv6_clothing_is_ipv4() {
    let engine = engine(
        r#"[{"domain": "app.example.com", "policies": [
        {"name": "deny", "decision": "deny", "include": [{"ip": {"ip": "203.0.113.0/24"}}, {"ip": {"ip": "::ffff:198.51.100.0/120"}}]},
        {"name": "all", "decision": "allow", "include": [{"everyone": {}}]}]}]"#,
    );
    for address in ["203.0.113.9", "::ffff:203.0.113.9", "198.51.100.7", "::ffff:198.51.100.7"] {
        let request =
            Request::new("app.example.com", "/").unwrap().client_ip(address.parse().unwrap());
        assert_eq!(
            engine.decide(&request).outcome(),
            Outcome::Deny(DenyClass::NonIdentity),
            "{address}"
        );
    }
    assert!(!Network::parse("::/0").unwrap().contains("::ffff:1.2.3.4".parse().unwrap()));
    assert!(Network::parse("::ffff:10.0.0.0/95").is_err());
}

/// A host that is open but for one part.
fn with_closed_part() -> Engine {
    engine(
        r#"[{"id": "open", "domain": "app.example.com", "policies": [{"name": "p", "decision": "bypass", "include": [{"everyone": {}}]}]},
               {"id": "closed", "domain": "app.example.com/admin", "policies": []}]"#,
    )
}

#[test]
fn percent_encoding_and_dot_segments_do_not_lead_around_a_path() {
    for path in [
        "/admin",
        "/%61dmin",
        "//admin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/./admin",
        "/admin/",
        "/ADMIN",
        "/admin;x",
        "/admin?x",
    ] {
        assert!(!outcome(&with_closed_part(), "app.example.com", path).is_pass(), "{path}");
    }
    for path in ["/", "/administrator", "/x/admin", "/admi", "/a%20b"] {
        assert!(outcome(&with_closed_part(), "app.example.com", path).is_pass(), "{path}");
    }
}

#[test]
fn encoded_slashes_and_backslashes_are_refused_where_it_matters() {
    for path in [
        "/x%2f..%2fadmin",
        "/x%5c..%5cadmin",
        "/x\\..\\admin",
        "/x%252f..%252fadmin",
        "/admin%00",
        "/admin%2Fx",
    ] {
        assert!(!outcome(&with_closed_part(), "app.example.com", path).is_pass(), "{path}");
    }
}

#[test]
fn queries_and_fragments_are_no_part_of_a_path() {
    assert!(outcome(&with_closed_part(), "app.example.com", "/?x=/admin").is_pass());
    assert!(Request::new("app.example.com", "/#/admin").is_err());
}

#[test]
fn an_empty_include_never_matches() {
    assert!(!outcome_for(&allow(""), &person("a@example.com")).is_pass());
    let bypass = engine(
        r#"[{"domain": "app.example.com", "policies": [{"name": "p", "decision": "bypass", "include": [], "require": [{"everyone": {}}]}]}]"#,
    );
    assert!(!outcome(&bypass, "app.example.com", "/").is_pass());
}

#[test]
fn null_claims_and_empty_strings_equal_nothing() {
    let rule = format!(
        r#"{{"oidc": {{"claim_name": "role", "claim_value": "null", "identity_provider_id": "{P}"}}}}"#
    );
    let engine = allow(&rule);
    for claims in [
        vec![("role".to_owned(), Claim::Nothing)],
        vec![("role".to_owned(), Claim::from(""))],
        Vec::new(),
    ] {
        let visitor = person("a@example.com").provider(P).oidc_claims(claims);
        assert!(!outcome_for(&engine, &visitor).is_pass());
    }
    for rule in [
        r#"{"okta": {"name": "", "identity_provider_id": "p"}}"#,
        r#"{"common_name": {"common_name": ""}}"#,
        r#"{"email": {"email": ""}}"#,
    ] {
        let text = format!(
            r#"[{{"domain": "a.example", "policies": [{{"name": "p", "decision": "allow", "include": [{rule}]}}]}}]"#
        );
        assert!(Policies::from_json(&text).is_err(), "{rule}");
    }
}

#[test]
fn the_most_specific_wildcard_decides_alone() {
    let engine = engine(
        r#"[
        {"id": "any", "domain": "*.example.com", "policies": [{"name": "p", "decision": "bypass", "include": [{"everyone": {}}]}]},
        {"id": "part", "domain": "adm*.example.com", "policies": []},
        {"id": "exact", "domain": "admin.example.com", "policies": [{"name": "p", "decision": "bypass", "include": [{"everyone": {}}]}]},
        {"id": "path", "domain": "*.example.com/secret", "policies": []}]"#,
    );
    for (host, path, passes) in [
        ("x.example.com", "/", true),
        ("admx.example.com", "/", false),
        ("admin.example.com", "/", true),
        ("x.example.com", "/secret", false),
        // The host is weighed before the path.
        ("admin.example.com", "/secret", true),
        ("example.com", "/", false),
        ("a.b.example.com", "/", false),
    ] {
        assert_eq!(outcome(&engine, host, path).is_pass(), passes, "{host}{path}");
    }
}

#[test]
fn groups_in_a_circle_are_refused() {
    let text = r#"{"applications": [], "groups": [
        {"id": "a", "name": "a", "include": [{"group": {"id": "b"}}]},
        {"id": "b", "name": "b", "include": [{"everyone": {}}], "exclude": [{"group": {"id": "a"}}]}]}"#;
    assert!(Engine::compile(Policies::from_json(text).unwrap()).is_err());
}

#[test]
fn identifiers_given_twice_are_refused() {
    for text in [
        r#"[{"id": "1", "domain": "a.example"}, {"id": "1", "domain": "b.example"}]"#,
        r#"[{"id": "ab", "domain": "a.example"}, {"id": "AB", "domain": "b.example"}]"#,
    ] {
        assert!(Engine::compile(Policies::from_json(text).unwrap()).is_err(), "{text}");
    }
    assert!(Policies::from_json(r#"[{"id": "1", "id": "2", "domain": "a.example"}]"#).is_err());
}

#[test]
fn a_deny_whose_fact_is_missing_denies() {
    let engine = engine(
        r#"[{"domain": "app.example.com", "policies": [
        {"name": "d", "decision": "deny", "include": [{"device_posture": {"integration_uid": "rooted"}}]},
        {"name": "all", "decision": "allow", "include": [{"everyone": {}}]}]}]"#,
    );
    let visitor = person("a@example.com");
    let request = Request::new("app.example.com", "/").unwrap().identity(&visitor);
    assert_eq!(engine.decide(&request).outcome(), Outcome::Deny(DenyClass::MissingFact));
    let none: &[&str] = &[];
    let known = request.clone().device_posture(none);
    assert_eq!(engine.decide(&known).outcome(), Outcome::Allow);
    let absent = request.device_posture(Fact::Absent);
    assert_eq!(engine.decide(&absent).outcome(), Outcome::Allow);
}

#[test]
fn a_service_token_does_not_stand_in_for_a_person() {
    let engine = allow(r#"{"any_valid_service_token": {}}"#);
    let request = Request::new("app.example.com", "/").unwrap();
    let request = request.service_token(ServiceToken::Valid { id: "t" });
    assert_eq!(engine.decide(&request).outcome(), Outcome::NeedsIdentity);
    assert!(engine.lint().iter().any(|lint| lint.code == LintCode::TokenOutsideServiceAuth));
}

#[test]
fn groups_of_another_provider_do_not_count() {
    let rule = format!(
        r#"{{"github-organization": {{"name": "acme", "team": "ops", "identity_provider_id": "{P}"}}}}"#
    );
    let engine = allow(&rule);
    let member = |provider: &str| {
        person("a@example.com").provider(provider.to_owned()).github_organization("acme", ["ops"])
    };
    assert_eq!(outcome_for(&engine, &member(P)), Outcome::Allow);
    assert!(!outcome_for(&engine, &member("provider-2")).is_pass());
    let unknown = person("a@example.com").github_organization("acme", ["ops"]);
    assert_eq!(outcome_for(&engine, &unknown), Outcome::Deny(DenyClass::MissingFact));
}

#[test]
fn too_many_groups_or_claims_count_as_unknown() {
    let rule = format!(r#"{{"okta": {{"name": "ops", "identity_provider_id": "{P}"}}}}"#);
    let groups = vec!["ops".to_owned(); 10_001];
    let visitor = person("a@example.com").provider(P).groups(groups);
    assert_eq!(outcome_for(&allow(&rule), &visitor), Outcome::Deny(DenyClass::MissingFact));
    let rule = format!(
        r#"{{"oidc": {{"claim_name": "a", "claim_value": "b", "identity_provider_id": "{P}"}}}}"#
    );
    let claims =
        vec![("a".to_owned(), Claim::from("b")), ("x".to_owned(), Claim::Text("y".repeat(70_000)))];
    let visitor = person("a@example.com").provider(P).oidc_claims(claims);
    assert_eq!(outcome_for(&allow(&rule), &visitor), Outcome::Deny(DenyClass::MissingFact));
}

#[test]
fn a_visitor_learns_nothing_about_the_policies() {
    let engine = allow(r#"{"email": {"email": "secret@example.com"}}"#);
    let visitor = person("a@example.com");
    let request = Request::new("app.example.com", "/").unwrap().identity(&visitor);
    let decision = engine.decide(&request);
    let reason = decision.visitor_reason().unwrap();
    assert!(!reason.to_string().contains("secret"));
    assert_eq!(reason.collapsed().to_string(), "refused");
}

#[test]
fn the_old_engine_stays_in_force_when_a_new_one_does_not_compile() {
    let mut current = allow(STAFF);
    let broken =
        Policies::from_json(r#"[{"domain": "app.example.com", "policies": ["nowhere"]}]"#).unwrap();
    if let Ok(newer) = Engine::compile(broken) {
        current = newer;
    }
    assert_eq!(outcome_for(&current, &person("a@example.com")), Outcome::Allow);
}

#[test]
fn allowed_mail_entries_mean_what_they_say() {
    assert_eq!(Rule::from_allowed_mail("*").unwrap(), Rule::Everyone);
    for text in ["@example.com", "*@*.example.com", "a*@example.com", "example.com", "*@a@b"] {
        assert!(Rule::from_allowed_mail(text).is_err(), "{text}");
    }
}

/// The stricter of two readings decides, with its session and what it demands besides.
#[test]
fn what_the_stricter_reading_demands_is_not_lost() {
    let engine = engine(
        r#"[
        {"id": "o", "domain": "o.example", "session_duration": "24h", "policies": [
            {"name": "all", "decision": "allow", "include": [{"email_domain": {"domain": "b.jp"}}]}]},
        {"id": "oa", "domain": "o.example/admin", "session_duration": "10m", "policies": [
            {"name": "few", "decision": "allow", "include": [{"email_domain": {"domain": "b.jp"}}],
             "purpose_justification_required": true, "approval_required": true,
             "approval_groups": [{"approvals_needed": 1, "email_addresses": ["c@b.jp"]}],
             "mfa_config": {"allowed_authenticators": ["totp"]}}]}]"#,
    );
    let person = person("u@b.jp");
    for path in ["/admin", "/ADMIN", "/admin;x", "/;/admin", "/%2561dmin"] {
        let request = Request::new("o.example", path).unwrap().identity(&person);
        let decision = engine.decide(&request);
        assert_eq!(decision.application().map(|app| &*app.id), Some("oa"), "{path}");
        assert_eq!(decision.session_duration(), Some(Duration::from_secs(600)), "{path}");
        assert!(decision.obligations().is_some_and(|all| all.approval_required), "{path}");
        assert!(decision.mfa().is_some(), "{path}");
    }
}

#[test]
fn readings_that_pass_on_different_terms_are_refused() {
    let engine = engine(
        r#"[
        {"id": "o", "domain": "o.example", "session_duration": "10m", "policies": [
            {"name": "all", "decision": "allow", "include": [{"everyone": {}}]}]},
        {"id": "oa", "domain": "o.example/admin", "session_duration": "24h", "policies": [
            {"name": "few", "decision": "allow", "include": [{"everyone": {}}],
             "purpose_justification_required": true}]}]"#,
    );
    let person = person("u@b.jp");
    let decide = |path| {
        let request = Request::new("o.example", path).unwrap().identity(&person);
        engine.decide(&request).outcome()
    };
    assert_eq!(decide("/ADMIN"), Outcome::Deny(DenyClass::AmbiguousPath));
    assert_eq!(decide("/admin"), Outcome::Allow);
    assert_eq!(decide("/other"), Outcome::Allow);
}

#[test]
fn numbers_in_claims_equal_their_text() {
    let engine = |value: &str| {
        engine(&format!(
            r#"[{{"domain": "app.example.com", "policies": [
            {{"name": "no", "decision": "deny", "include": [{{"oidc": {{
                "claim_name": "n", "claim_value": "{value}", "identity_provider_id": "{P}"}}}}]}},
            {{"name": "yes", "decision": "allow", "include": [{{"everyone": {{}}}}]}}]}}]"#
        ))
    };
    for (claim, value) in [
        ("18446744073709551615", "18446744073709551615"),
        ("1.5", "1.5"),
        ("-0.25", "-0.25"),
        ("2.0", "2"),
        ("7", "7"),
        ("[3, 1.5]", "1.5"),
    ] {
        let claim: Claim = serde_json::from_str(claim).unwrap();
        let identity =
            person("a@b.jp").provider(P).oidc_claims(vec![("n".to_owned(), claim.clone())]);
        let outcome = outcome_for(&engine(value), &identity);
        assert_eq!(outcome, Outcome::Deny(DenyClass::Identity), "{claim:?} {value}");
        assert_eq!(outcome_for(&engine("1.50"), &identity), Outcome::Allow, "{claim:?}");
    }
}

#[test]
fn a_kind_that_is_misspelt_does_not_leave_a_host_open() {
    for kind in ["self-hosted", "self_hosted ", "selfhosted"] {
        let json = format!(
            r#"[{{"type": "{kind}", "domain": "a.example", "policies": [
                {{"name": "p", "decision": "deny", "include": [{{"everyone": {{}}}}]}}]}}]"#
        );
        let error = Policies::from_json(&json).unwrap_err();
        assert_eq!(error.location(), Some("/0/type"), "{error}");
        assert!(error.to_string().contains("`self_hosted`"), "{error}");
    }
    let upper = r#"[{"type": "SELF_HOSTED", "destinations": [{"type": "Public", "uri": "a.example"}],
        "policies": [{"name": "p", "decision": "bypass", "include": [{"everyone": {}}]}]}]"#;
    let engine = Engine::compile(Policies::from_json(upper).unwrap()).unwrap();
    assert_eq!(outcome(&engine, "a.example", "/"), Outcome::Bypass);
    let odd = r#"[{"domain": "a.example", "destinations": [{"type": "publik", "uri": "b.example"}],
        "policies": [{"name": "p", "decision": "deny", "include": [{"everyone": {}}]}]}]"#;
    let error = Policies::from_json(odd).unwrap_err();
    assert_eq!(error.location(), Some("/0/destinations/0"), "{error}");
}

#[test]
fn paths_that_origins_are_known_to_read_differently_are_refused_beside_a_closed_part() {
    let engine = with_closed_part();
    for path in [
        "/public/.%00./secret",
        "/public/..%0d/secret",
        "/public/..%09/secret",
        "/adm%09in",
        "/adm\tin",
        "/x/.%0a./admin",
        "/%u0061dmin",
        "/%%61dmin",
        "/admin.",
        "/admin./x",
        "/admin%20",
        "/admin::$DATA",
        "/x/..%c0%afadmin",
        "/a%2fb",
    ] {
        let Ok(request) = Request::new("app.example.com", path) else { continue };
        let outcome = engine.decide(&request).outcome();
        assert!(!outcome.is_pass(), "{path}: {outcome:?}");
    }
    assert_eq!(outcome(&engine, "app.example.com", "/v1.2/a.b"), Outcome::Bypass);
}

#[test]
fn an_empty_text_is_refused_whoever_wrote_the_rule() {
    let rules = [
        Rule::CommonName("".into()),
        Rule::ServiceToken("".into()),
        Rule::DevicePosture("".into()),
        Rule::Okta { name: "".into(), provider: P.into() },
        Rule::Oidc { claim: "c".into(), value: "".into(), provider: P.into() },
    ];
    for rule in rules {
        let app = Application::new("a")
            .destination("a.example".parse().unwrap())
            .policy(Policy::non_identity("p").include(rule.clone()));
        let error = Engine::compile(Policies::new([app])).unwrap_err();
        assert_eq!(error.location(), Some("/applications/0/policies/0/include/0"), "{rule:?}");
    }
}

#[test]
fn an_answer_that_failed_or_is_one_page_of_several_is_not_the_whole() {
    let app = r#"{"domain": "a.example", "policies": [
        {"name": "p", "decision": "deny", "include": [{"everyone": {}}]}]}"#;
    for (json, place) in [
        (r#"{"success": false, "errors": [{"code": 1}], "result": []}"#.to_owned(), "/success"),
        (
            format!(
                r#"{{"applications": [{app}], "policies": {{"success": false, "result": []}}}}"#
            ),
            "/policies/success",
        ),
        (
            format!(
                r#"{{"applications": [{app}], "organization": {{"success": false, "result": {{}}}}}}"#
            ),
            "/organization/success",
        ),
        (
            format!(
                r#"{{"success": true, "result": [{app}], "result_info": {{"total_count": 100}}}}"#
            ),
            "/result_info",
        ),
        (
            format!(
                r#"{{"success": true, "result": [{app}], "result_info": {{"total_pages": 2}}}}"#
            ),
            "/result_info",
        ),
    ] {
        let error = Policies::from_json(&json).unwrap_err();
        assert_eq!(error.location(), Some(place), "{json}: {error}");
    }
    let whole = format!(
        r#"{{"success": true, "result": [{app}],
        "result_info": {{"total_count": 1, "total_pages": 1, "page": 1, "count": 1, "per_page": 25}}}}"#
    );
    assert!(Policies::from_json(&whole).is_ok());
}

#[test]
fn a_thousand_wildcards_are_checked_against_each_other_in_no_time() {
    let policy = || Policy::bypass("p").include(Rule::Everyone);
    let app = |n: usize| {
        Application::new(format!("app {n}"))
            .destination(format!("a.example/x{n}*/y").parse().unwrap())
            .policy(policy())
    };
    let engine = Engine::compile(Policies::new((0..3_000).map(app))).unwrap();
    assert_eq!(outcome(&engine, "a.example", "/x2999-b/y"), Outcome::Bypass);
}
