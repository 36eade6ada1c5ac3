//! Records, explanations and expectations say what was decided, and can be asked again.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod random;

use access_policy::{AuditRecord, Engine, Mark, Outcome, Policies, Scenario, Suite};

use crate::random::Random;

const SEED: u64 = 20_261_127;

/// A request of the small world, with every kind of fact.
fn scenario(random: &mut Random) -> Scenario {
    let mut scenario = Scenario::new(
        random.pick(&["a.x.jp", "b.x.jp", "x.jp"]),
        random.pick(&["/", "/a", "/a/b"]),
    );
    if random.below(3) > 0 {
        scenario.email = Some(random.pick(&random::EMAILS).to_owned());
        scenario.provider = Some(random.pick(&random::PROVIDERS).to_owned());
        scenario.groups =
            (random.below(3) > 0).then(|| vec![random.pick(&random::TEAMS).to_owned()]);
    }
    if random.below(3) > 0 {
        scenario.ip = Some(random.pick(&random::ADDRESSES).parse().unwrap());
        scenario.country = Some(random.pick(&random::COUNTRIES).to_owned());
    }
    if random.below(2) == 0 {
        scenario.certificate = Some(random.pick(&random::NAMES).to_owned());
        scenario.service_token = Some(random.pick(&random::NAMES).to_owned());
    }
    scenario
}

fn each_decision(cases: usize, mut check: impl FnMut(&Engine, &Scenario)) {
    let mut random = Random::new(SEED);
    let mut done = 0;
    while done < cases {
        let Ok(engine) = Engine::compile(random.policies()) else { continue };
        for _ in 0..20 {
            check(&engine, &scenario(&mut random));
            done += 1;
        }
    }
}

#[test]
fn records_survive_json_and_replay() {
    each_decision(2_000, |engine, scenario| {
        let record =
            scenario.ask(|request| AuditRecord::of(engine, &engine.decide(request))).unwrap();
        let json = serde_json::to_string(&record).unwrap();
        let read: AuditRecord = serde_json::from_str(&json).unwrap();
        assert_eq!(read, record);
        assert!(read.replay(engine).unwrap(), "{json}");
    });
}

#[test]
fn a_record_of_another_configuration_or_another_outcome_does_not_pass() {
    let engine = |country: &str| {
        let json = format!(
            r#"[{{"domain": "x.jp", "policies": [{{"name": "p", "decision": "bypass", "include": [{{"geo": {{"country_code": "{country}"}}}}]}}]}}]"#
        );
        Engine::compile(Policies::from_json(&json).unwrap()).unwrap()
    };
    let (japan, america) = (engine("JP"), engine("US"));
    assert_ne!(japan.digest(), america.digest());
    assert_eq!(japan.digest(), engine("JP").digest());
    let mut scenario = Scenario::new("x.jp", "/");
    scenario.country = Some("JP".to_owned());
    let record = scenario.ask(|request| AuditRecord::of(&japan, &japan.decide(request))).unwrap();
    assert!(record.replay(&america).is_err());
    let mut forged = record.clone();
    forged.outcome = "deny identity".to_owned();
    assert!(!forged.replay(&japan).unwrap());
    let mut moved = record;
    moved.request.country = Some("US".to_owned());
    assert!(!moved.replay(&japan).unwrap());
}

#[test]
fn explanations_agree_with_decisions() {
    each_decision(2_000, |engine, scenario| {
        let checked = scenario.ask(|request| {
            let decision = engine.decide(request);
            let explanation = decision.explain();
            let end = format!("{}; {}", decision.outcome(), decision.reason());
            assert_eq!(explanation.decision, end);
            let marks: Vec<Mark> = decision.trace().marks().collect();
            let told: Vec<Mark> = explanation.policies.iter().map(|policy| policy.mark).collect();
            assert_eq!(told[..marks.len()], marks, "{explanation}");
            assert!(told[marks.len()..].iter().all(|mark| *mark == Mark::NotEvaluated));
            if matches!(decision.outcome(), Outcome::Allow | Outcome::Bypass | Outcome::ServiceAuth)
                && decision.policy().is_some()
            {
                assert_eq!(marks.last(), Some(&Mark::Matched));
                let deciding = &explanation.policies[marks.len() - 1];
                assert!(deciding.rules.iter().any(|rule| rule.mark == Mark::Matched));
            }
        });
        checked.unwrap();
    });
}

#[test]
fn remedies_always_work() {
    let mut found = 0;
    each_decision(300, |engine, scenario| {
        let remedies = scenario.ask(|request| engine.why_not(request)).unwrap();
        for remedy in remedies {
            found += 1;
            assert!(remedy.request.ask(|request| engine.decide(request).is_pass()).unwrap());
        }
    });
    assert!(found > 50, "{found}");
}

#[test]
fn a_suite_tells_what_failed_and_what_was_not_tried() {
    let engine = Engine::compile(Policies::from_json(r#"[{"name": "app", "domain": "x.jp", "policies": [
        {"name": "staff", "decision": "allow", "include": [{"email_domain": {"domain": "example.com"}}]},
        {"name": "block", "decision": "deny", "include": [{"geo": {"country_code": "RU"}}]}]}]"#).unwrap()).unwrap();
    let suite = Suite::from_json(r#"{"expectations": [
        {"name": "staff pass", "host": "x.jp", "email": "a@example.com", "expect": "allow", "policy": "staff"},
        {"name": "strangers pass", "host": "x.jp", "email": "a@example.org", "country": "JP", "expect": "allow"},
        {"host": "x.jp", "email": "broken", "expect": "allow"}]}"#).unwrap();
    let report = suite.run(&engine);
    assert!(!report.passed());
    assert_eq!((report.met, report.failures.len()), (1, 2));
    assert_eq!(report.failures[0].name, "strangers pass");
    assert!(report.failures[0].problem.contains("expected `allow`, found `deny identity`"));
    assert_eq!(report.failures[1].name, "expectation 2");
    assert_eq!(report.coverage.undecided_policies, ["application `app`, policy `block` (deny)"]);
    assert_eq!(
        report.coverage.untested_rules,
        ["application `app`, policy `block` (deny), include country is RU"]
    );
    let text = report.to_string();
    assert!(
        text.contains("FAILED strangers pass")
            && text.ends_with("1 of 2 policies decided, 1 of 2 rules tried both ways"),
        "{text}"
    );
    for text in [
        r#"{"expectations": [{"host": "x.jp"}]}"#,
        r#"{"expectations": [{"host": "x.jp", "expect": "deny", "emial": "x"}]}"#,
        "{}",
        "[]",
    ] {
        assert!(Suite::from_json(text).is_err(), "{text}");
    }
}
