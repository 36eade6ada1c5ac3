//! D-PO-09: the engine and a naive reference agree on a million random cases (a fifth of that in a
//! debug build, which takes as long).

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod random;
mod reference;

use std::net::IpAddr;

use access_policy::{Decision, DenyClass, Engine, Identity, Outcome, Request};

use crate::{random::Random, reference::Facts};

const SEED: u64 = 20_261_125;
const CASES: usize = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };
const REQUESTS_PER_ENGINE: usize = 50;

const HOSTS: [&str; 6] = ["a.x.jp", "b.x.jp", "ab.x.jp", "x.jp", "a.b.x.jp", "A.X.jp:80"];
const PATHS: [&str; 8] = ["/", "/a", "/a/", "/a/b", "/ab", "/ab/b", "/b/a/b", "/a/b/c"];

#[test]
fn engine_and_reference_agree() {
    let mut random = Random::new(SEED);
    let mut tally = std::collections::BTreeMap::<&str, usize>::new();
    let mut done = 0;
    while done < CASES {
        let Ok(engine) = Engine::compile(random.policies()) else {
            continue;
        };
        for _ in 0..REQUESTS_PER_ENGINE {
            done += 1;
            let (identity, address) = (identity(&mut random), address(&mut random));
            let (host, path) = (random.pick(&HOSTS), random.pick(&PATHS));
            let mut request = Request::new(host, path).unwrap();
            if let Some(address) = address {
                request = request.client_ip(address);
            }
            if let Some(identity) = &identity {
                request = request.identity(identity);
            }
            let facts = Facts {
                host: request.host(),
                path,
                address,
                email: identity.as_ref().map(|identity| identity.email().as_str()),
            };
            let expected = reference::decide(engine.policies(), &facts);
            let decision = engine.decide(&request);
            let found = verdict(&decision);
            *tally.entry(expected.0).or_default() += 1;
            assert_eq!(
                found,
                expected,
                "seed {SEED}, case {done}\n{engine}\n{}",
                decision.explain()
            );
        }
    }
    // A test that only ever sees refusals proves little.
    for outcome in ["allow", "bypass", "login", "deny", "missing", "no application"] {
        let count = tally.get(outcome).copied().unwrap_or_default();
        assert!(count > CASES / 100, "only {count} cases of `{outcome}`: {tally:?}");
    }
}

fn identity(random: &mut Random) -> Option<Identity> {
    (random.below(3) > 0).then(|| Identity::new(random.pick(&random::EMAILS).parse().unwrap()))
}

fn address(random: &mut Random) -> Option<IpAddr> {
    (random.below(4) > 0).then(|| random.pick(&random::ADDRESSES).parse().unwrap())
}

fn verdict(decision: &Decision<'_>) -> reference::Verdict {
    let outcome = match decision.outcome() {
        Outcome::Allow => "allow",
        Outcome::Bypass => "bypass",
        Outcome::NeedsIdentity => "login",
        Outcome::Deny(DenyClass::Identity | DenyClass::NonIdentity) => "deny",
        Outcome::Deny(DenyClass::MissingFact) => "missing",
        Outcome::Deny(DenyClass::NoApplication) => "no application",
        Outcome::Deny(_) => "another refusal",
    };
    let application = decision.application().map(|application| application.name.clone());
    (outcome, application, decision.policy().map(|policy| policy.name.clone()))
}
