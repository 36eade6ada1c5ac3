//! D-PO-09: the engine and a naive reference agree on a million random cases, and on as many as
//! `ACCESS_POLICY_CASES` says if it is set (`scripts/check` sets ten million in its long mode).

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod random;
mod reference;

use access_policy::{
    CountryCode, Decision, DenyClass, Engine, Fact, Identity, Outcome, Request, ServiceToken,
};

use crate::{
    random::Random,
    reference::{Facts, Person},
};

const SEED: u64 = 20_261_125;
const CASES: usize = 1_000_000;
const REQUESTS_PER_ENGINE: usize = 100;

const HOSTS: [&str; 6] = ["a.x.jp", "b.x.jp", "ab.x.jp", "x.jp", "a.b.x.jp", "y.jp"];
const PATHS: [&str; 8] = ["/", "/a", "/a/", "/a/b", "/ab", "/ab/b", "/b/a/b", "/a/b/c"];

#[test]
fn engine_and_reference_agree() {
    let cases = std::env::var("ACCESS_POLICY_CASES");
    let cases = cases.map_or(CASES, |text| text.parse().expect("a number of cases"));
    let mut random = Random::new(SEED);
    let mut tally = std::collections::BTreeMap::<&str, usize>::new();
    let mut done = 0;
    while done < cases {
        let Ok(engine) = Engine::compile(random.policies()) else {
            continue;
        };
        for _ in 0..REQUESTS_PER_ENGINE {
            done += 1;
            let facts = facts(&mut random);
            let expected = reference::decide(engine.policies(), &facts);
            *tally.entry(expected.0).or_default() += 1;
            let identity = identity(&facts);
            let decision_request = request(&facts, identity.as_ref());
            let decision = engine.decide(&decision_request);
            let found = verdict(&decision);
            assert_eq!(
                found,
                expected,
                "seed {SEED}, case {done}\n{}\n{}",
                serde_json::to_string(engine.policies()).unwrap(),
                decision.explain()
            );
        }
    }
    // A test that only ever sees refusals proves little.
    for outcome in ["allow", "bypass", "service", "login", "deny", "missing", "no application"] {
        let count = tally.get(outcome).copied().unwrap_or_default();
        assert!(count > cases / 100, "only {count} cases of `{outcome}`: {tally:?}");
    }
}

fn facts(random: &mut Random) -> Facts<'static> {
    let person = (random.below(3) > 0).then(|| Person {
        email: random.pick(&random::EMAILS),
        provider: (random.below(5) > 0).then(|| random.pick(&random::PROVIDERS)),
        groups: (random.below(5) > 0)
            .then(|| (0..random.below(3)).map(|_| random.pick(&random::TEAMS)).collect()),
    });
    Facts {
        host: random.pick(&HOSTS),
        path: random.pick(&PATHS),
        address: (random.below(4) > 0).then(|| random.pick(&random::ADDRESSES).parse().unwrap()),
        country: (random.below(4) > 0).then(|| random.pick(&random::COUNTRIES)),
        certificate: match random.below(4) {
            0 => Fact::Unavailable,
            1 | 2 => Fact::Absent,
            _ => Fact::Known(random.pick(&random::NAMES)),
        },
        token: (random.below(4) == 0).then(|| random.pick(&random::NAMES)),
        person,
    }
}

fn identity<'a>(facts: &Facts<'a>) -> Option<Identity<'a>> {
    let person = facts.person.as_ref()?;
    let mut identity = Identity::new(person.email.parse().unwrap());
    if let Some(provider) = person.provider {
        identity = identity.provider(provider);
    }
    if let Some(groups) = &person.groups {
        identity = identity.groups(groups.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
    Some(identity)
}

fn request<'a>(facts: &Facts<'a>, identity: Option<&'a Identity<'a>>) -> Request<'a> {
    let mut request = Request::new(facts.host, facts.path).unwrap();
    if let Some(address) = facts.address {
        request = request.client_ip(address);
    }
    if let Some(country) = facts.country {
        request = request.country(CountryCode::parse(country).unwrap());
    }
    request = request.certificate(facts.certificate);
    if let Some(id) = facts.token {
        request = request.service_token(ServiceToken::Valid { id });
    }
    match identity {
        Some(identity) => request.identity(identity),
        None => request,
    }
}

fn verdict(decision: &Decision<'_>) -> reference::Verdict {
    let outcome = match decision.outcome() {
        Outcome::Allow => "allow",
        Outcome::Bypass => "bypass",
        Outcome::ServiceAuth => "service",
        Outcome::NeedsIdentity => "login",
        Outcome::Deny(DenyClass::Identity | DenyClass::NonIdentity) => "deny",
        Outcome::Deny(DenyClass::MissingFact) => "missing",
        Outcome::Deny(DenyClass::NoApplication) => "no application",
        Outcome::NeedsExternal | Outcome::RespondPreflight | Outcome::Deny(_) => "another outcome",
    };
    let application = decision.application().map(|application| application.name.clone());
    (outcome, application, decision.policy().map(|policy| policy.name.clone()))
}
