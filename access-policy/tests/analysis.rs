//! What is said about a configuration is true of its decisions.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod random;

use access_policy::{Engine, LintCode, Mode, Outcome, Policies, Reach, Request, Scenario};

use crate::random::Random;

const SEED: u64 = 20_261_126;

fn engine(json: &str) -> Engine {
    let import = Policies::import(json.as_bytes(), Mode::Lenient).unwrap();
    Engine::compile(import.policies).unwrap()
}

fn app(policies: &str) -> Engine {
    engine(&format!(r#"[{{"domain": "app.example.com", "policies": [{policies}]}}]"#))
}

#[test]
fn a_policy_behind_a_wider_one_never_decides() {
    let engine = app(r#"
        {"name": "staff", "decision": "allow", "include": [{"email_domain": {"domain": "example.com"}}]},
        {"name": "intern", "decision": "deny", "include": [{"email": {"email": "i@example.com"}}]},
        {"name": "other", "decision": "deny", "include": [{"email": {"email": "i@example.org"}}]}"#);
    assert!(matches!(engine.reach(0, 0), Reach::Decides(_)));
    assert_eq!(engine.reach(0, 1), Reach::Never);
    assert!(matches!(engine.reach(0, 2), Reach::Decides(_)));
    let lints = engine.lint();
    assert_eq!(lints.len(), 1, "{lints:?}");
    assert_eq!(lints[0].code, LintCode::ShadowedPolicy);
    assert_eq!(lints[0].location, "/applications/0/policies/1");
}

#[test]
fn policies_that_only_together_cover_another_are_found() {
    let engine = app(r#"
        {"name": "low", "decision": "bypass", "include": [{"ip": {"ip": "10.0.0.0/9"}}]},
        {"name": "high", "decision": "bypass", "include": [{"ip": {"ip": "10.128.0.0/9"}}]},
        {"name": "all", "decision": "bypass", "include": [{"ip": {"ip": "10.0.0.0/8"}}]},
        {"name": "more", "decision": "bypass", "include": [{"ip": {"ip": "10.0.0.0/7"}}]}"#);
    assert_eq!(engine.reach(0, 2), Reach::Never);
    let Reach::Decides(witness) = engine.reach(0, 3) else { panic!("it decides about 11.0.0.0/8") };
    assert!(witness.ip.unwrap().to_string().starts_with("11."), "{witness:?}");
}

/// Whatever some request of the small world shows to be possible, the analysis must not deny; and
/// each witness was put to the engine.
#[test]
fn a_policy_that_decided_once_is_never_called_unreachable() {
    let mut random = Random::new(SEED);
    let (mut policies, mut never) = (0, 0);
    for _ in 0..150 {
        let Ok(engine) = Engine::compile(random.policies()) else { continue };
        for (at, application) in engine.policies().applications.iter().enumerate() {
            for position in 0..application.policies.len() {
                policies += 1;
                match engine.reach(at, position) {
                    Reach::Never => {
                        never += 1;
                        let decided = small_world(&engine, application.destinations.first()).any(
                            |(at_, position_, outcome)| {
                                (at_, position_) == (Some(at), Some(position))
                                    && !matches!(outcome, Outcome::NeedsIdentity)
                            },
                        );
                        assert!(!decided, "application {at}, policy {position}");
                    }
                    Reach::Decides(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    assert!(policies > 200 && never > 20 && never * 2 < policies, "{never} of {policies}");
}

/// Decisions about requests in which everything is known.
fn small_world<'a>(
    engine: &'a Engine,
    pattern: Option<&access_policy::Destination>,
) -> impl Iterator<Item = (Option<usize>, Option<usize>, Outcome)> + use<'a> {
    let pattern = pattern.map(|pattern| pattern.as_str().replace('*', "any")).unwrap_or_default();
    let (host, path) = pattern.split_at(pattern.find('/').unwrap_or(pattern.len()));
    let (host, path) = (host.to_owned(), path.to_owned());
    let people = [None, Some(0), Some(1), Some(2), Some(4)];
    let combinations = people.into_iter().flat_map(|person| {
        ["192.0.2.1", "192.0.2.200", "198.51.100.1", "2001:db8::1"].into_iter().flat_map(
            move |ip| {
                ["JP", "US"].into_iter().flat_map(move |country| {
                    [None, Some("build"), Some("deploy")].into_iter().flat_map(move |certificate| {
                        [None, Some("build")].into_iter().flat_map(move |token| {
                            ["idp-1", "idp-2"].into_iter().flat_map(move |provider| {
                                ["Ops", "dev"].into_iter().map(move |group| {
                                    (person, ip, country, certificate, token, provider, group)
                                })
                            })
                        })
                    })
                })
            },
        )
    });
    combinations.map(move |(person, ip, country, certificate, token, provider, group)| {
        let mut scenario = Scenario::new(host.clone(), path.clone());
        scenario.email = person.map(|at: usize| random::EMAILS[at].to_owned());
        scenario.ip = Some(ip.parse().unwrap());
        scenario.country = Some(country.to_owned());
        scenario.certificate = certificate.map(str::to_owned);
        scenario.absent.insert(access_policy::FactName::Certificate);
        scenario.service_token = token.map(str::to_owned);
        scenario.provider = Some(provider.to_owned());
        scenario.groups = Some(vec![group.to_owned()]);
        scenario
            .ask(|request| {
                let decision = engine.decide(request);
                let trace = decision.trace();
                (trace.application(), trace.policy(), decision.outcome())
            })
            .unwrap()
    })
}

#[test]
fn equal_configurations_do_not_differ_and_changed_ones_do() {
    let old = app(
        r#"{"name": "p", "decision": "allow", "include": [{"email_domain": {"domain": "example.com"}}]}"#,
    );
    assert!(old.changes(&old).is_empty());
    let new = app(
        r#"{"name": "p", "decision": "allow", "include": [{"email_domain": {"domain": "example.com"}}],
        "exclude": [{"email": {"email": "i@example.com"}}]}"#,
    );
    let changes = old.changes(&new);
    assert_eq!(changes.differences.len(), 1, "{changes:?}");
    let difference = &changes.differences[0];
    assert_eq!(difference.witness.email.as_deref(), Some("i@example.com"));
    assert_eq!((&*difference.before, &*difference.after), ("allow", "deny identity"));
}

#[test]
fn the_same_rules_in_other_words_are_no_change() {
    let old =
        app(r#"{"name": "p", "decision": "bypass", "include": [{"ip": {"ip": "10.0.0.0/8"}}]}"#);
    let new = app(
        r#"{"name": "q", "decision": "bypass", "include": [{"ip": {"ip": "10.0.0.0/9"}}, {"ip": {"ip": "10.128.0.0/9"}}]}"#,
    );
    assert!(old.changes(&new).is_empty());
}

#[test]
fn a_new_application_and_a_list_that_grew_are_changes() {
    let with = |items: &str| {
        engine(&format!(
            r#"{{"applications": [{{"domain": "app.example.com", "policies": [{{"name": "p",
                "decision": "allow", "include": [{{"email_list": {{"id": "l"}}}}]}}]}}],
              "lists": [{{"id": "l", "name": "l", "type": "EMAIL", "items": [{items}]}}]}}"#
        ))
    };
    let (old, new) =
        (with(r#"{"value": "a@x.jp"}"#), with(r#"{"value": "a@x.jp"}, {"value": "b@x.jp"}"#));
    let changes = old.changes(&new);
    assert_eq!(changes.differences[0].witness.email.as_deref(), Some("b@x.jp"), "{changes:?}");

    let none = Engine::compile(Policies::default()).unwrap();
    let outcomes: Vec<_> = none.changes(&new).differences.into_iter().map(|d| d.after).collect();
    assert!(outcomes.contains(&"allow".to_owned()) && outcomes.contains(&"login".to_owned()));
}

/// If random configurations decide differently about some request, the comparison finds a witness.
#[test]
fn a_change_that_a_request_shows_is_found() {
    let mut random = Random::new(SEED + 1);
    let (mut compared, mut different) = (0, 0);
    while compared < 60 {
        let (old, new) = (random.policies(), random.policies());
        let (Ok(old), Ok(new)) = (Engine::compile(old), Engine::compile(new)) else { continue };
        compared += 1;
        let changes = old.changes(&new);
        assert!(changes.unknown.is_empty());
        for pattern in new.policies().applications.iter().flat_map(|app| &app.destinations) {
            let befores = small_world(&old, Some(pattern));
            let afters = small_world(&new, Some(pattern));
            let differs = befores.zip(afters).any(|(a, b)| access(a.2) != access(b.2));
            assert!(!differs || !changes.differences.is_empty(), "{pattern}");
            different += usize::from(differs);
        }
    }
    assert!(different > 20, "{different}");
}

fn access(outcome: Outcome) -> &'static str {
    outcome.as_str()
}

#[test]
fn remedies_are_the_smallest_ones_and_they_work() {
    let engine = app(r#"{"name": "staff", "decision": "allow",
        "include": [{"email_domain": {"domain": "example.com"}}],
        "require": [{"geo": {"country_code": "JP"}}, {"device_posture": {"integration_uid": "disk"}}]}"#);
    let mut scenario = Scenario::new("app.example.com", "/");
    scenario.email = Some("a@example.com".to_owned());
    scenario.country = Some("US".to_owned());
    scenario.device_posture = Some(vec!["disk".to_owned()]);
    let remedies = scenario.ask(|request| engine.why_not(request)).unwrap();
    assert_eq!(remedies.len(), 1, "{remedies:?}");
    assert_eq!(remedies[0].changes, ["country is JP"]);

    scenario.email = None;
    scenario.device_posture = None;
    let remedies = scenario.ask(|request| engine.why_not(request)).unwrap();
    assert_eq!(remedies[0].changes.len(), 3, "{remedies:?}");
    let passes = remedies[0].request.ask(|request| engine.decide(request).is_pass());
    assert!(passes.unwrap());
    let remedies = remedies[0].request.ask(|request| engine.why_not(request)).unwrap();
    assert!(remedies.is_empty(), "who passes needs no remedy");
}

#[test]
fn nothing_helps_where_nobody_is_admitted() {
    let engine = app("");
    let request = Request::new("app.example.com", "/").unwrap();
    assert!(engine.why_not(&request).is_empty());
    let request = Request::new("elsewhere.example.com", "/").unwrap();
    assert!(engine.why_not(&request).is_empty());
}

#[test]
fn a_rule_that_changes_nothing_is_dead_and_others_are_not() {
    let dead = |policies: &str| {
        let lints = app(policies).lint().into_iter();
        let dead = lints.filter(|lint| lint.code == LintCode::DeadRule);
        dead.map(|lint| lint.location.replace("/applications/0/policies/", "")).collect::<Vec<_>>()
    };
    // Any one of the three could go.
    let levels = r#"{"name": "p", "decision": "allow", "include": [
        {"user_risk_score": {"user_risk_score": ["low"]}},
        {"user_risk_score": {"user_risk_score": ["medium"]}},
        {"user_risk_score": {"user_risk_score": ["low", "medium"]}},
        {"user_risk_score": {"user_risk_score": ["high"]}}]}"#;
    assert_eq!(dead(levels), ["0/include/0", "0/include/1", "0/include/2"]);
    // An exclude that takes away what an earlier policy has decided about already.
    let behind = r#"{"name": "d", "decision": "deny", "include": [{"email": {"email": "i@x.jp"}}]},
        {"name": "a", "decision": "allow", "include": [{"email_domain": {"domain": "x.jp"}}],
         "exclude": [{"email": {"email": "i@x.jp"}}, {"email": {"email": "j@x.jp"}}]}"#;
    assert_eq!(dead(behind), ["1/exclude/0"]);
    // A require that every include satisfies.
    let require = r#"{"name": "a", "decision": "allow", "include": [{"email": {"email": "i@x.jp"}}],
        "require": [{"email_domain": {"domain": "x.jp"}}, {"geo": {"country_code": "JP"}}]}"#;
    assert_eq!(dead(require), ["0/require/0"]);
    // A team is of its organisation.
    let team = r#"{"name": "a", "decision": "allow",
        "include": [{"github-organization": {"name": "acme", "team": "ops", "identity_provider_id": "gh"}}],
        "require": [{"github-organization": {"name": "Acme", "identity_provider_id": "gh"}}]}"#;
    assert_eq!(dead(team), ["0/require/0"]);
}

#[test]
fn each_lint_fires_where_it_should_and_only_there() {
    let cases = [
        (LintCode::EmptyInclude, r#"{"name": "p", "decision": "allow", "include": []}"#),
        (
            LintCode::OpenToAnyone,
            r#"{"name": "p", "decision": "allow", "include": [{"login_method": {"id": "otp"}}]}"#,
        ),
        (
            LintCode::TokenOutsideServiceAuth,
            r#"{"name": "p", "decision": "allow", "include": [{"email": {"email": "a@x.jp"}}, {"service_token": {"token_id": "t"}}]}"#,
        ),
        (
            LintCode::ContradictoryRequire,
            r#"{"name": "p", "decision": "allow", "include": [{"email": {"email": "a@x.jp"}}], "require": [{"geo": {"country_code": "US"}}, {"geo": {"country_code": "PT"}}]}"#,
        ),
        (
            LintCode::RedundantRule,
            r#"{"name": "p", "decision": "allow", "include": [{"email_domain": {"domain": "x.jp"}}, {"email": {"email": "a@x.jp"}}]}"#,
        ),
        (
            LintCode::ExcludeNeverFires,
            r#"{"name": "p", "decision": "allow", "include": [{"email_domain": {"domain": "x.jp"}}], "exclude": [{"email": {"email": "a@y.jp"}}]}"#,
        ),
        (
            LintCode::UnknownAmr,
            r#"{"name": "p", "decision": "allow", "include": [{"auth_method": {"auth_method": "pop"}}]}"#,
        ),
        (
            LintCode::ConfusableDomain,
            r#"{"name": "p", "decision": "allow", "include": [{"email_domain": {"domain": "example.com"}}, {"email_domain": {"domain": "examp1e.com"}}]}"#,
        ),
        (
            LintCode::MissingProviderId,
            r#"{"name": "p", "decision": "allow", "include": [{"saml": {"attribute_name": "a", "attribute_value": "b"}}]}"#,
        ),
        (
            LintCode::UnsupportedSelector,
            r#"{"name": "p", "decision": "allow", "include": [{"moon": {}}, {"email": {"email": "a@x.jp"}}]}"#,
        ),
    ];
    for (code, policy) in cases {
        let codes: Vec<_> = app(policy).lint().into_iter().map(|lint| lint.code).collect();
        assert!(codes.contains(&code), "{code:?} in {codes:?}");
        let strangers =
            codes.iter().filter(|found| **found != code && **found != LintCode::ShadowedPolicy);
        assert_eq!(strangers.count(), 0, "{code:?}: {codes:?}");
    }
    let clean = app(
        r#"{"name": "p", "decision": "allow", "include": [{"email_domain": {"domain": "x.jp"}}],
        "require": [{"auth_method": {"auth_method": "mfa"}}], "exclude": [{"email": {"email": "i@x.jp"}}]}"#,
    );
    assert!(clean.lint().is_empty(), "{:?}", clean.lint());
    let wild = engine(
        r#"[{"id": "1", "domain": "*.x.jp", "policies": [{"name": "p", "decision": "bypass", "include": [{"everyone": {}}]}]},
        {"id": "2", "domain": "a*.x.jp", "policies": []}]"#,
    );
    let codes: Vec<_> = wild.lint().into_iter().map(|lint| lint.code).collect();
    assert_eq!(codes, [LintCode::BypassOnWildcardPath, LintCode::OverlappingWildcard]);
}
