//! What holds for everybody at an authority: its patience, its clock, and where it lives.

use super::*;
use crate::acme::session::{Call, Goal, To};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

/// An order, up to what its first act is now.
fn first_act(session: &mut Session, now: SystemTime) -> Result<Act, Failure> {
    let mut order = Order::new(attempt(), by_http());
    order.stored();
    order.poll(session, now)
}

fn refuse(response: &mut Response, status: u16, kind: &str) {
    problem(response, status, kind);
    response.retry_after = Some("3600".to_owned());
}

#[test]
fn nobody_asks_for_an_account_or_an_order_while_the_authority_wants_peace() {
    for thing in ["directory", "nonce", "account", "new order"] {
        let limited: fn(&mut Response) = |response| refuse(response, 429, "rateLimited");
        let mut authority = Authority::with(&[(thing, 1, limited)]);
        let mut session = session();
        let mut order = Order::new(attempt(), by_http());
        let failure = run(&mut authority, &mut order, &mut session).unwrap_err();
        assert_eq!(failure.class, FailureClass::Hold, "{thing}");
        let held = first_act(&mut session, at(3599)).unwrap_err();
        assert_eq!((held.class, held.not_before), (failure.class, failure.not_before), "{thing}");
        assert!(matches!(first_act(&mut session, at(3601)), Ok(Act::Send(_))), "{thing}");
    }
}

#[test]
fn a_certificate_is_revoked_while_nothing_may_be_ordered() {
    let limited: fn(&mut Response) = |response| refuse(response, 429, "rateLimited");
    let overloaded: fn(&mut Response) = |response| refuse(response, 503, "overload");
    for (kind, fault, is_revoked) in [("429", limited, true), ("503", overloaded, false)] {
        let (mut authority, mut session) = (Authority::with(&[("new order", 1, fault)]), session());
        let mut order = Order::new(attempt(), by_http());
        assert!(run(&mut authority, &mut order, &mut session).is_err());
        let mut ask = |to: To| {
            let goal = Goal { to, payload: "{}".to_owned(), doing: "ask" };
            session.request(&mut Call::default(), &goal, at(1)).map(drop)
        };
        assert!(ask(To::NewOrder).is_err(), "{kind}");
        assert!(ask(To::Url("https://ca/order/1".to_owned())).is_ok(), "{kind}");
        // It is asked, and has no place for that.
        let refused = ask(To::RevokeCertificate).unwrap_err();
        assert_eq!(refused.class == FailureClass::Request, is_revoked, "{kind}: {refused}");
    }
}

#[test]
fn a_refusal_that_names_what_was_ordered_holds_nobody_else() {
    let about_a: fn(&mut Response) = |response| {
        refuse(response, 429, "rateLimited");
        response.body = br#"{"type":"urn:ietf:params:acme:error:rateLimited",
            "detail":"too many certificates already issued for a.example"}"#
            .to_vec();
    };
    let mut authority = Authority::with(&[("new order", 1, about_a)]);
    let mut session = session();
    let mut order = Order::new(attempt(), by_http());
    assert!(run(&mut authority, &mut order, &mut session).is_err());
    assert!(matches!(first_act(&mut session, at(1)), Ok(Act::Send(_))));
}

/// A directory whose answer is dated so many seconds after the test's beginning.
fn dated(response: &mut Response, seconds: u64) {
    response.date = Some(httpdate::fmt_http_date(at(seconds)));
    let directory = json!({"newNonce": "https://ca/nonce", "newAccount": "https://ca/account",
        "newOrder": "https://ca/order"});
    response.body = directory.to_string().into_bytes();
}

#[test]
fn nothing_is_ordered_by_a_clock_that_is_hours_wrong() {
    // It was set right, or nothing is known of it any more: the directory's answer shows.
    for right in [(|it| dated(it, 0)) as fn(&mut Response), |it| {
        dated(it, 0);
        it.date = None;
    }] {
        let faults: [Fault; 3] = [
            ("directory", 1, |it| dated(it, 7200)),
            ("directory", 2, |it| dated(it, 7200)),
            ("directory", 3, right),
        ];
        let (mut authority, mut session) = (Authority::with(&faults), session());
        for _ in 0..2 {
            let mut order = Order::new(attempt(), by_http());
            let failure = run(&mut authority, &mut order, &mut session).unwrap_err();
            let text = failure.to_string();
            assert!(text.contains("this machine's clock is 120 minutes behind"), "{text}");
            assert_eq!((failure.class, authority.orders), (FailureClass::Network, 0));
        }
        run(&mut authority, &mut Order::new(attempt(), by_http()), &mut session).unwrap();
        assert_eq!((authority.orders, authority.asked["directory"]), (1, 3));
    }
}

#[test]
fn an_authority_that_moved_house_is_found_again() {
    let gone: fn(&mut Response) = |response| response.status = 404;
    let mut authority = Authority::with(&[("new order", 2, gone)]);
    let mut session = session();
    run(&mut authority, &mut Order::new(attempt(), by_http()), &mut session).unwrap();
    (authority.is_answered, authority.is_finalized) = (false, false);
    let failure = run(&mut authority, &mut Order::new(attempt(), by_http()), &mut session);
    assert_eq!(failure.unwrap_err().class, FailureClass::OrderGone);
    run(&mut authority, &mut Order::new(attempt(), by_http()), &mut session).unwrap();
    assert_eq!(authority.asked["directory"], 2, "read again");
}

#[test]
fn an_authorization_that_is_dead_ends_the_order_at_once() {
    for status in ["deactivated", "expired", "revoked"] {
        let mut authority = Authority { authorization: Some(status), ..Authority::default() };
        let mut order = Order::new(attempt(), by_http());
        let failure = run(&mut authority, &mut order, &mut session()).unwrap_err();
        assert_eq!(failure.class, FailureClass::OrderGone, "{status}");
        assert!(failure.to_string().contains(status), "{failure}");
        assert_eq!(authority.asked.get("challenge"), None);
    }
}
