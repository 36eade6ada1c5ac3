//! Profiles that the authority does not know.

use super::*;

fn refuse(response: &mut Response) {
    problem(response, 400, "invalidProfile");
}

/// What became of an order for a profile that is refused, and of its attempt.
fn order(wishes: Wishes) -> (Authority, Order, Result<Duration, Failure>) {
    let mut authority = Authority::with(&[("new order", 1, refuse)]);
    let mut asked = attempt();
    asked.profile = Some("tlsclient".to_owned());
    let mut order = Order::new(asked, wishes);
    let done = run(&mut authority, &mut order, &mut session());
    (authority, order, done)
}

#[test]
fn one_that_is_needed_and_not_known_orders_nothing_and_says_which_are() {
    let (authority, _, done) = order(by_http());
    let failure = done.unwrap_err();
    assert_eq!(failure.class, FailureClass::Request);
    let text = failure.to_string();
    assert!(text.ends_with("asked for `tlsclient`, known are: classic, shortlived"), "{text}");
    assert_eq!(authority.asked["new order"], 1);
}

#[test]
fn one_that_is_only_preferred_is_left_out() {
    let (authority, order, done) = order(Wishes { goes_without_profile: true, ..by_http() });
    done.unwrap();
    assert_eq!(authority.asked["new order"], 2);
    assert_eq!(authority.order_payload["profile"], Value::Null);
    assert_eq!(order.attempt().profile, None, "whoever comes after a crash asks for none either");
}
