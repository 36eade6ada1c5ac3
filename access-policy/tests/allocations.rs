//! A decision with its trace allocates nothing on the heap, whatever it comes to.

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

    // The measurement itself must be able to fail.
    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    drop(black_box(Box::new(7_u8)));
    assert_ne!(HEAP.peak_usage(), before);
}

fn identity(email: &str) -> Identity {
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
