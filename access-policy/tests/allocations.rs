//! A decision with its trace allocates nothing on the heap, whatever it comes to; neither does reading
//! the texts of a request that is in normal form, as nearly all are.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::hint::black_box;

use access_policy::{
    CountryCode, EmailAddress, Engine, Identity, Outcome, Policies, Request, ServiceToken,
};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// The only test in this binary: another thread would disturb the count.
#[test]
fn a_decision_allocates_nothing() {
    let engine = engine();
    let staff = identity("u7@example.com").groups(vec!["Ops".to_owned(); 8]).provider("idp");
    let stranger = identity("x@elsewhere.example").provider("idp").groups(vec!["Dev".to_owned()]);
    let mut outcomes = Vec::with_capacity(16);
    let mut quiet = Vec::with_capacity(16);
    for (host, path, person, token) in [
        ("app.example.com", "/", None, ServiceToken::None),
        ("app.example.com", "/admin/x", Some(&staff), ServiceToken::None),
        ("app.example.com", "/x?query", Some(&staff), ServiceToken::None),
        ("app.example.com", "/x", Some(&stranger), ServiceToken::None),
        ("x.wild.example.com", "/", Some(&stranger), ServiceToken::None),
        ("app.example.com", "/x", None, ServiceToken::Valid { id: "T1" }),
        ("nobody.example.com", "/", None, ServiceToken::None),
    ] {
        let country = CountryCode::parse("JP").unwrap();
        HEAP.reset_peak_usage();
        let before = HEAP.current_usage();
        let request = Request::new(black_box(host), black_box(path)).unwrap();
        let mut request =
            request.client_ip([192, 0, 2, 9].into()).country(country).service_token(token);
        if let Some(person) = person {
            request = request.identity(person);
        }
        let decision = engine.decide(&request);
        let outcome = decision.outcome();
        let asked = black_box(decision.trace()).policies_asked();
        let duration = black_box(decision.session_duration());
        quiet.push(HEAP.peak_usage() == before);
        outcomes.push((outcome, asked, duration));
    }
    assert!(quiet.iter().all(|quiet| *quiet), "{quiet:?} {outcomes:?}");
    let distinct: std::collections::BTreeSet<Outcome> =
        outcomes.iter().map(|(outcome, ..)| *outcome).collect();
    assert!(distinct.len() >= 5, "the cases have become too much alike: {outcomes:?}");

    for (set, json) in
        [("small", few(1)), ("medium", medium()), ("large", large()), ("huge", few(1_000))]
    {
        let engine = Engine::compile(Policies::from_json(&json).unwrap()).unwrap();
        let mut seen = Vec::with_capacity(8);
        let mut quiet = Vec::with_capacity(8);
        for (email, group, ip) in [
            ("u7@example.com", "Dev", "10.0.0.9"),
            ("x@elsewhere.example", "team-3", "10.0.7.9"),
            ("x@elsewhere.example", "Dev", "10.0.0.9"),
            ("u7@example.com", "Dev", "192.0.2.9"),
        ] {
            HEAP.reset_peak_usage();
            let before = HEAP.current_usage();
            let groups =
                ["club-1", "club-2", "club-3", "club-4", "club-5", "club-6", "club-7", group];
            let identity = Identity::parse(black_box(email)).unwrap();
            let identity = identity.provider("idp").groups_from(&groups);
            let request = Request::new(black_box("app0.example.com"), black_box("/a/b")).unwrap();
            let request = request.client_ip(ip.parse().unwrap()).identity(&identity);
            let decision = engine.decide(&request);
            let policies_asked = black_box(decision.trace()).policies_asked();
            seen.push((decision.outcome(), policies_asked));
            quiet.push(HEAP.peak_usage() == before);
        }
        assert!(quiet.iter().all(|quiet| *quiet), "{set}: {quiet:?}");
        let passes = seen.iter().filter(|(outcome, _)| outcome.is_pass()).count();
        assert!(passes > 0 && passes < seen.len(), "{set}: {seen:?}");
    }

    // The measurement itself must be able to fail.
    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    drop(black_box(Box::new(7_u8)));
    assert_ne!(HEAP.peak_usage(), before);
}

fn identity(email: &str) -> Identity<'static> {
    Identity::new(EmailAddress::parse(email).unwrap())
}

fn engine() -> Engine {
    let emails = (0..100).map(|n| format!(r#"{{"email": {{"email": "u{n}@example.com"}}}}"#));
    let emails = emails.collect::<Vec<_>>().join(",");
    let json = format!(
        r#"{{"applications": [
            {{"id": "1", "domain": "app.example.com", "policies": [
                {{"name": "service", "decision": "non_identity",
                  "include": [{{"service_token": {{"token_id": "t1"}}}}]}},
                {{"name": "block", "decision": "deny", "include": [{{"geo": {{"country_code": "RU"}}}}]}},
                {{"name": "staff", "decision": "allow", "include": [{emails},
                  {{"okta": {{"name": "Ops", "identity_provider_id": "idp"}}}},
                  {{"group": {{"id": "g"}}}}]}}]}},
            {{"id": "2", "domain": "app.example.com/admin", "policies": [
                {{"name": "ops", "decision": "allow",
                  "include": [{{"okta": {{"name": "Ops", "identity_provider_id": "idp"}}}}]}}]}},
            {{"id": "3", "domain": "*.wild.example.com", "policies": [
                {{"name": "office", "decision": "bypass", "include": [{{"ip": {{"ip": "192.0.2.0/24"}}}}]}}]}}],
          "groups": [{{"id": "g", "name": "g", "include": [{{"email_domain": {{"domain": "example.org"}}}}],
            "exclude": [{{"ip": {{"ip": "203.0.113.0/24"}}}}]}}]}}"#
    );
    Engine::compile(Policies::from_json(&json).unwrap()).unwrap()
}

/// Applications of one policy of three rules.
fn few(applications: usize) -> String {
    let application = |n: usize| {
        format!(
            r#"{{"id": "{n}", "domain": "app{n}.example.com", "policies": [{{"name": "p", "decision": "allow",
                "include": [{{"email_domain": {{"domain": "example.com"}}}},
                            {{"email": {{"email": "o{n}@partner.example"}}}}],
                "require": [{{"ip": {{"ip": "10.0.0.0/16"}}}}]}}]}}"#
        )
    };
    format!("[{}]", (0..applications).map(application).collect::<Vec<_>>().join(","))
}

/// An application of ten policies of twenty rules.
fn medium() -> String {
    let policy = |at: usize| {
        let email =
            |n: usize| format!(r#"{{"email": {{"email": "u{}@example.com"}}}}"#, at * 10 + n);
        let group = |n: usize| {
            format!(r#"{{"okta": {{"name": "team-{}", "identity_provider_id": "idp"}}}}"#, at + n)
        };
        let network = |n: usize| format!(r#"{{"ip": {{"ip": "203.0.{n}.0/24"}}}}"#);
        let (decision, rules) = match at {
            0 => ("bypass", (0..20).map(network).collect::<Vec<_>>()),
            1 => ("deny", (0..20).map(network).collect()),
            _ => ("allow", (0..10).map(email).chain((0..10).map(group)).collect()),
        };
        format!(
            r#"{{"name": "p{at}", "decision": "{decision}", "include": [{}],
                "exclude": [{{"ip": {{"ip": "192.0.2.0/24"}}}}]}}"#,
            rules.join(",")
        )
    };
    let policies = (0..10).map(policy).collect::<Vec<_>>().join(",");
    format!(r#"[{{"id": "a", "domain": "app0.example.com", "policies": [{policies}]}}]"#)
}

/// An application that admits 10,000 addresses or 200 groups, from 1,000 networks.
fn large() -> String {
    let emails = (0..10_000).map(|n| format!(r#"{{"email": {{"email": "u{n}@example.com"}}}}"#));
    let groups = (0..200)
        .map(|n| format!(r#"{{"okta": {{"name": "team-{n}", "identity_provider_id": "idp"}}}}"#));
    let members = emails.chain(groups).collect::<Vec<_>>().join(",");
    let network = |n: usize| format!(r#"{{"ip": {{"ip": "10.{}.{}.0/24"}}}}"#, n / 250, n % 250);
    let networks = (0..1_000).map(network).collect::<Vec<_>>().join(",");
    format!(
        r#"{{"applications": [{{"id": "a", "domain": "app0.example.com", "policies": [
              {{"name": "p", "decision": "allow", "include": [{members}],
                "require": [{{"group": {{"id": "g"}}}}]}}]}}],
            "groups": [{{"id": "g", "name": "g", "include": [{networks}]}}]}}"#
    )
}
