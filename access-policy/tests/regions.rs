//! Where wildcards overlap, the analysis looks at every part: against brute force in a small world of
//! hosts and paths.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod random;

use std::collections::BTreeSet;

use access_policy::{Application, Engine, Outcome, Policies, Policy, Reach, Request, Rule};

use crate::random::Random;

const SEED: u64 = 20_261_127;

const HOSTS: [&str; 9] =
    ["*.x", "a*.x", "*b.x", "a*b.x", "ab.x", "a.x", "*.*.x", "a.*.x", "*b.a*.x"];
const PATHS: [&str; 10] =
    ["", "/a", "/a/*", "/a*", "/*/b", "/a*/b", "/a/b", "/*b", "/a/*/b*", "/*a/b"];

/// One application for each of some patterns, open to everyone or to nobody.
fn engine(random: &mut Random) -> Option<Engine> {
    let applications = (0..=random.below(4)).map(|number| {
        let mut application = Application::new(format!("app {number}"));
        for _ in 0..=random.below(2) {
            let pattern = format!("{}{}", random.pick(&HOSTS), random.pick(&PATHS));
            application = application.destination(pattern.parse().unwrap());
        }
        let policy = if random.below(3) == 0 { Policy::deny("no") } else { Policy::bypass("yes") };
        application.policy(policy.include(Rule::Everyone))
    });
    Engine::compile(Policies::new(applications.collect::<Vec<_>>())).ok()
}

fn hosts() -> Vec<String> {
    let labels = ["a", "b", "ab", "q", "aqb", "aab", "ba"];
    let single = labels.iter().map(|label| format!("{label}.x"));
    let double = labels.iter().flat_map(|a| labels.iter().map(move |b| format!("{a}.{b}.x")));
    single.chain(double).collect()
}

fn paths() -> Vec<String> {
    let segments = ["a", "b", "ab", "q", "qa"];
    let mut paths = vec!["/".to_owned()];
    let mut last = vec![String::new()];
    for _ in 0..3 {
        let longer =
            last.iter().flat_map(|path| segments.map(|segment| format!("{path}/{segment}")));
        last = longer.collect();
        paths.extend(last.iter().cloned());
    }
    paths
}

fn decide(engine: &Engine, host: &str, path: &str) -> (Option<usize>, Outcome) {
    let request = Request::new(host, path).unwrap();
    let decision = engine.decide(&request);
    (decision.trace().application(), decision.outcome())
}

#[test]
fn an_application_is_reached_exactly_if_some_address_falls_to_it() {
    let mut random = Random::new(SEED);
    let (hosts, paths) = (hosts(), paths());
    let (mut tried, mut shared) = (0, 0);
    while tried < 60 {
        let Some(engine) = engine(&mut random) else { continue };
        tried += 1;
        let all = hosts.iter().flat_map(|host| paths.iter().map(move |path| (host, path)));
        let reached: BTreeSet<usize> =
            all.filter_map(|(host, path)| decide(&engine, host, path).0).collect();
        shared += reached.len().saturating_sub(1);
        for (at, application) in engine.policies().applications.iter().enumerate() {
            match engine.reach(at, 0) {
                Reach::Decides(witness) => {
                    assert_eq!(decide(&engine, &witness.host, &witness.path).0, Some(at));
                }
                Reach::Never => {
                    assert!(!reached.contains(&at), "{application}\n{engine}");
                }
                other => panic!("{other:?}\n{engine}"),
            }
        }
    }
    assert!(shared > 60, "few applications lie in one another's way: {shared}");
}

#[test]
fn a_difference_anywhere_is_found_and_every_witness_shows_it() {
    let mut random = Random::new(SEED + 1);
    let (hosts, paths) = (hosts(), paths());
    let (mut tried, mut different) = (0, 0);
    while tried < 60 {
        let (Some(old), Some(new)) = (engine(&mut random), engine(&mut random)) else { continue };
        tried += 1;
        let changes = old.changes(&new);
        assert!(changes.unknown.is_empty());
        for difference in &changes.differences {
            let (host, path) = (&difference.witness.host, &difference.witness.path);
            let (before, after) = (decide(&old, host, path).1, decide(&new, host, path).1);
            assert_ne!(before.is_pass(), after.is_pass(), "{host}{path}");
        }
        // Which applications decide differently about some address, and which the witnesses show.
        let pair = |host: &str, path: &str| {
            let (before, after) = (decide(&old, host, path), decide(&new, host, path));
            (before.1.is_pass() != after.1.is_pass()).then_some((before.0, after.0))
        };
        let all = hosts.iter().flat_map(|host| paths.iter().map(move |path| (host, path)));
        let expected: BTreeSet<_> = all.filter_map(|(host, path)| pair(host, path)).collect();
        let shown: BTreeSet<_> = changes
            .differences
            .iter()
            .filter_map(|it| pair(&it.witness.host, &it.witness.path))
            .collect();
        assert!(expected.is_subset(&shown), "{expected:?} {shown:?}\n{old}\n{new}");
        different += expected.len();
    }
    assert!(different > 60, "{different}");
}
