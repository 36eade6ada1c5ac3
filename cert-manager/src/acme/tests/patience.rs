//! What holds for everybody at an authority: its patience, its clock, and where it lives.

use super::*;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

/// An order, up to what its first act is now.
fn first_act(session: &mut Session, now: SystemTime) -> Result<Act, Failure> {
    let mut order = Order::new(attempt(), by_http());
    order.stored();
    order.poll(session, now)
}

#[test]
fn nobody_asks_for_an_account_or_an_order_while_the_authority_wants_peace() {
    for thing in ["directory", "nonce", "account", "new order"] {
        let refuse: fn(&mut Response) = |response| {
            problem(response, 429, "rateLimited");
            response.retry_after = Some("3600".to_owned());
        };
        let mut authority = Authority::with(&[(thing, 1, refuse)]);
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
fn a_refusal_that_names_what_was_ordered_holds_nobody_else() {
    let refuse: fn(&mut Response) = |response| {
        problem(response, 429, "rateLimited");
        response.retry_after = Some("3600".to_owned());
        response.body = br#"{"type":"urn:ietf:params:acme:error:rateLimited",
            "detail":"too many certificates already issued for a.example"}"#
            .to_vec();
    };
    let mut authority = Authority::with(&[("new order", 1, refuse)]);
    let mut session = session();
    let mut order = Order::new(attempt(), by_http());
    assert!(run(&mut authority, &mut order, &mut session).is_err());
    assert!(matches!(first_act(&mut session, at(1)), Ok(Act::Send(_))));
}

#[test]
fn nothing_is_ordered_by_a_clock_that_is_hours_wrong() {
    let dated: fn(&mut Response) = |response| {
        // Two hours ahead of the test's time.
        response.date = Some(httpdate::fmt_http_date(at(7200)));
        response.body = json!({"newNonce": "https://ca/nonce", "newAccount": "https://ca/account",
            "newOrder": "https://ca/order"})
        .to_string()
        .into_bytes();
    };
    let mut authority = Authority::with(&[("directory", 1, dated)]);
    let mut session = session();
    let mut order = Order::new(attempt(), by_http());
    let failure = run(&mut authority, &mut order, &mut session).unwrap_err();
    let text = failure.to_string();
    assert!(text.contains("this machine's clock is 120 minutes behind"), "{text}");
    assert_eq!((failure.class, authority.orders), (FailureClass::Network, 0));
    // It was set right, which the directory's answer shows.
    let mut order = Order::new(attempt(), by_http());
    let right: fn(&mut Response) = |response| {
        response.date = Some(httpdate::fmt_http_date(at(0)));
        response.body = json!({"newNonce": "https://ca/nonce", "newAccount": "https://ca/account",
            "newOrder": "https://ca/order"})
        .to_string()
        .into_bytes();
    };
    authority.faults = vec![("directory", 2, right)];
    run(&mut authority, &mut order, &mut session).unwrap();
    assert_eq!((authority.orders, authority.asked["directory"]), (1, 2));
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
