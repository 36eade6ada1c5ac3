//! What must hold for every configuration and every request.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod random;

use access_policy::{
    Action, Destination, Domain, EmailAddress, Engine, Identity, Mode, Network, Outcome, Policies,
    Policy, PolicyEntry, Request, Rule,
};
use proptest::prelude::*;

use crate::random::Random;

/// How much an outcome gives.
fn access(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Deny(_) => 0,
        Outcome::NeedsIdentity | Outcome::NeedsExternal | Outcome::RespondPreflight => 1,
        Outcome::Allow | Outcome::ServiceAuth | Outcome::Bypass => 2,
    }
}

/// A configuration that compiles, and the randomness that is left.
fn configuration(seed: u64) -> (Policies, Random) {
    let mut random = Random::new(seed);
    loop {
        let policies = random.policies();
        if Engine::compile(policies.clone()).is_ok() {
            return (policies, random);
        }
    }
}

/// Outcomes of every combination of the small world's hosts, paths, addresses and people.
fn outcomes(policies: &Policies) -> Vec<Outcome> {
    let engine = Engine::compile(policies.clone()).unwrap();
    let people = random::EMAILS.map(|email| Identity::new(email.parse().unwrap()));
    let mut outcomes = Vec::new();
    for path in ["/", "/a", "/ab", "/a/b", "/A", "//a", "/a%2fb", "/a;x/b"] {
        for host in ["a.x.jp", "b.x.jp", "x.jp"] {
            for address in std::iter::once(None).chain(random::ADDRESSES.map(Some)) {
                for person in std::iter::once(None).chain(people.iter().map(Some)) {
                    let mut request = Request::new(host, path).unwrap();
                    if let Some(address) = address {
                        request = request.client_ip(address.parse().unwrap());
                    }
                    if let Some(person) = person {
                        request = request.identity(person);
                    }
                    outcomes.push(engine.decide(&request).outcome());
                }
            }
        }
    }
    outcomes
}

fn inline(entry: &mut PolicyEntry) -> Option<&mut Policy> {
    match entry {
        PolicyEntry::Inline(policy) => Some(policy),
        PolicyEntry::Link(_) => None,
    }
}

/// Inserts a policy at a random place.
fn insert(policies: &mut Policies, policy: Policy, random: &mut Random) {
    let application = random.below(policies.applications.len());
    let list = &mut policies.applications[application].policies;
    list.insert(random.below(list.len() + 1), policy.into());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn adding_an_allow_never_takes_access_away(seed: u64) {
        let (mut policies, mut random) = configuration(seed);
        let before = outcomes(&policies);
        let rule = random.rule(true);
        insert(&mut policies, Policy::allow("added").include(rule), &mut random);
        for (before, after) in before.into_iter().zip(outcomes(&policies)) {
            prop_assert!(access(after) >= access(before), "{before:?} became {after:?}");
        }
    }

    #[test]
    fn adding_an_include_to_an_allow_never_takes_access_away(seed: u64) {
        let (mut policies, mut random) = configuration(seed);
        let before = outcomes(&policies);
        let rule = random.rule(true);
        let entries = policies.applications.iter_mut().flat_map(|app| &mut app.policies);
        let mut all = entries.filter_map(inline);
        if let Some(policy) = all.find(|policy| policy.decision.as_str() == "allow") {
            policy.include.push(rule);
        }
        for (before, after) in before.into_iter().zip(outcomes(&policies)) {
            prop_assert!(access(after) >= access(before), "{before:?} became {after:?}");
        }
    }

    #[test]
    fn adding_a_deny_never_gives_access(seed: u64) {
        let (mut policies, mut random) = configuration(seed);
        let before = outcomes(&policies);
        let rule = random.rule(true);
        insert(&mut policies, Policy::deny("added").include(rule), &mut random);
        for (before, after) in before.into_iter().zip(outcomes(&policies)) {
            prop_assert!(access(after) <= access(before), "{before:?} became {after:?}");
        }
    }

    #[test]
    fn adding_an_exclude_to_an_allow_or_bypass_never_gives_access(seed: u64) {
        let (mut policies, mut random) = configuration(seed);
        let before = outcomes(&policies);
        let rule = random.rule(false);
        let entries = policies.applications.iter_mut().flat_map(|app| &mut app.policies);
        let mut all = entries.filter_map(inline);
        if let Some(policy) = all.find(|policy| policy.decision.as_str() != "deny") {
            policy.exclude.push(rule);
        }
        for (before, after) in before.into_iter().zip(outcomes(&policies)) {
            prop_assert!(access(after) <= access(before), "{before:?} became {after:?}");
        }
    }

    #[test]
    fn without_allow_and_bypass_nothing_passes(seed: u64) {
        let (mut policies, _) = configuration(seed);
        for application in &mut policies.applications {
            application.policies.retain_mut(|entry| {
                inline(entry).is_some_and(|policy| policy.decision.as_str() == "deny")
            });
        }
        for outcome in outcomes(&policies) {
            prop_assert!(matches!(outcome, Outcome::Deny(_)), "{outcome:?}");
        }
    }

    #[test]
    fn written_and_read_again_it_decides_alike(seed: u64) {
        let (policies, _) = configuration(seed);
        let written = serde_json::to_string(&policies).unwrap();
        // Lenient, because some policies have no include rules.
        let read = Policies::import(written.as_bytes(), Mode::Lenient).unwrap().policies;
        prop_assert_eq!(&read, &policies);
        prop_assert_eq!(outcomes(&read), outcomes(&policies));
    }

    #[test]
    fn order_inside_a_list_of_rules_does_not_matter(seed: u64) {
        let (policies, _) = configuration(seed);
        let mut turned = policies.clone();
        let entries = turned.applications.iter_mut().flat_map(|app| &mut app.policies);
        for policy in entries.filter_map(inline) {
            policy.include.reverse();
            policy.require.reverse();
            policy.exclude.reverse();
        }
        turned.applications.reverse();
        prop_assert_eq!(outcomes(&turned), outcomes(&policies));
    }

    /// Whatever a missing fact turns out to be, it never takes back what was granted without it, and
    /// who is refused before a login would be refused after it, but for service policies, which
    /// never ask for one.
    #[test]
    fn what_is_unknown_never_opens_a_door(seed: u64) {
        let (policies, _) = configuration(seed);
        let outcomes = outcomes(&policies);
        // Where readings of a path fall under several applications, one may pass a visitor by a service
        // policy, which asks nobody for a login, and another by an allow policy, which does.
        let is_service = |entry: &PolicyEntry| {
            matches!(entry, PolicyEntry::Inline(policy) if policy.decision == Action::NonIdentity)
        };
        let has_service = policies.applications.iter().any(|app| app.policies.iter().any(is_service))
            || policies.policies.iter().any(|policy| policy.decision == Action::NonIdentity);
        let (people, addresses) = (random::EMAILS.len() + 1, random::ADDRESSES.len() + 1);
        for place in outcomes.chunks(people * addresses) {
            for person in 0..people {
                for address in 1..addresses {
                    let unknown = place[person];
                    let known = place[address * people + person];
                    prop_assert!(access(unknown) < 2 || access(known) == 2, "{unknown:?} {known:?}");
                }
            }
            for address in 0..addresses {
                let stranger = place[address * people];
                for person in 1..people {
                    let known = place[address * people + person];
                    let is_refused = access(known) == 0 || known == Outcome::ServiceAuth || has_service;
                    prop_assert!(access(stranger) > 0 || is_refused, "{stranger:?} {known:?}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_a_reader_panic(text in any::<String>()) {
        let _ = EmailAddress::parse(&text);
        let _ = Domain::parse(&text);
        let _ = Network::parse(&text);
        let _ = Destination::parse(&text);
        let _ = Rule::from_allowed_mail(&text);
        let _ = Policies::from_json(&text);
        let _ = Policies::import(text.as_bytes(), Mode::Lenient);
        let _ = Request::new(&text, &text);
    }

    #[test]
    fn normal_forms_are_stable(local in "[a-zA-Z0-9.+é\u{301}-]{1,9}", domain in "[a-zA-Z0-9ü-]{1,9}(\\.[a-z]{2,3})?\\.?") {
        if let Ok(email) = EmailAddress::parse(&format!("{local}@{domain}")) {
            prop_assert_eq!(EmailAddress::parse(email.as_str()).unwrap(), email);
        }
        if let Ok(request) = Request::new(&domain, "/") {
            let again = Request::new(request.host(), "/").unwrap();
            prop_assert_eq!(again.host(), request.host());
        }
    }

    /// Paths made of everything that proxies and origins quarrel about.
    #[test]
    fn any_path_is_decided_and_none_slips_past_the_closed_part(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "/", "//", "admin", "ADMIN", "a", ".", "..", "%2e", "%2E%2e", "%2f", "%5c", "\\", ";",
                ";x=1", "%", "%zz", "%00", "%25", "%252f", "%61dmin", "é", " ", "*", "?q",
            ]),
            0..12,
        ),
    ) {
        let path = format!("/{}", parts.concat());
        let open_with_closed_part = Policies::from_json(r#"[
            {"id": "open", "domain": "d.jp", "policies": [{"name": "p", "decision": "bypass", "include": [{"everyone": {}}]}]},
            {"id": "closed", "domain": "d.jp/admin", "policies": []}]"#).unwrap();
        let engine = Engine::compile(open_with_closed_part).unwrap();
        let request = Request::new("d.jp", &path).unwrap();
        let decision = engine.decide(&request);
        let again = Request::new("d.jp", request.path()).unwrap();
        prop_assert_eq!(again.path(), request.path(), "the canonical form is not stable");
        if naive_origin_serves_admin(request.raw_path()) {
            prop_assert!(!decision.is_pass(), "{} passed", path);
        }
        let _ = decision.explain().to_string();
    }
}

/// The sloppiest origins we can think of: decode twice, then do everything else as well.
fn naive_origin_serves_admin(raw: &str) -> bool {
    [false, true].into_iter().any(|ends_at_nul| sloppy_origin_serves_admin(raw, ends_at_nul))
}

fn sloppy_origin_serves_admin(raw: &str, ends_at_nul: bool) -> bool {
    let decode = |bytes: Vec<u8>| {
        let mut out = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let digits =
                bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
            match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                Some(byte) if bytes[at] == b'%' => {
                    out.push(byte);
                    at += 3;
                }
                _ => {
                    out.push(bytes[at]);
                    at += 1;
                }
            }
        }
        out
    };
    let once = decode(raw.as_bytes().to_vec());
    let twice = decode(once.clone());
    [raw.as_bytes().to_vec(), once, twice].into_iter().any(|bytes| {
        let end =
            bytes.iter().position(|&byte| byte == 0).filter(|_| ends_at_nul).unwrap_or(bytes.len());
        let text = String::from_utf8_lossy(&bytes[..end]).replace('\\', "/").to_lowercase();
        let mut stack: Vec<&str> = Vec::new();
        for segment in text.split('/') {
            match segment.split(';').next().unwrap() {
                "" | "." => {}
                ".." => drop(stack.pop()),
                name => stack.push(name),
            }
        }
        stack.first() == Some(&"admin")
    })
}

#[test]
fn engine_and_decision_cross_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<Engine>();
    crosses::<Request<'_>>();
    crosses::<access_policy::Decision<'_>>();
    crosses::<access_policy::Error>();
}
