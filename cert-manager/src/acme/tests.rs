//! An authority in memory that misbehaves as it is told, in time that is made up.

mod patience;
mod profiles;

use std::time::{Duration, SystemTime};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{
    account::AccountKey,
    attempt::Attempt,
    challenge::ChallengeKind,
    http::{Method, Request, Response},
    order::{Act, Order, Wishes},
    session::{Session, Settings},
};
use crate::failure::{Failure, FailureClass};

/// What an authority answers to the n-th request for a thing, in place of what it should.
type Fault = (&'static str, usize, fn(&mut Response));

#[derive(Default)]
struct Authority {
    faults: Vec<Fault>,
    /// How often each thing was asked for.
    asked: std::collections::BTreeMap<&'static str, usize>,
    nonces: usize,
    accounts: usize,
    orders: usize,
    order_payload: Value,
    is_answered: bool,
    is_finalized: bool,
    /// How often an order is still being worked on.
    processing: usize,
    challenges: Option<Value>,
    /// The state of an authorization, if it is none that follows from the rest.
    authorization: Option<&'static str>,
    /// What it says when a challenge is started.
    retry_after: Option<String>,
    csr: String,
}

impl Authority {
    fn with(faults: &[Fault]) -> Self {
        Self { faults: faults.to_vec(), ..Self::default() }
    }

    fn answer(&mut self, request: &Request) -> Response {
        let thing = match (request.method, &*request.url) {
            (Method::Get, "https://ca/dir") => "directory",
            (Method::Head, _) => "nonce",
            (_, "https://ca/account") => "account",
            (_, "https://ca/order") => "new order",
            (_, "https://ca/order/1") => "order",
            (_, "https://ca/authorization/1") => "authorization",
            (_, "https://ca/challenge/1") => "challenge",
            (_, "https://ca/finalize/1") => "finalize",
            (_, "https://ca/certificate/1") => "certificate",
            other => panic!("nobody should ask for {other:?}"),
        };
        let count = self.asked.entry(thing).or_default();
        *count += 1;
        let fault = self.faults.iter().find(|(what, at, _)| *what == thing && at == count);
        let mut response = match fault {
            Some((_, _, change)) => {
                let mut response = Response { status: 200, ..Response::default() };
                change(&mut response);
                response
            }
            None => self.right_answer(thing, request),
        };
        if thing != "directory" {
            self.nonces += 1;
            response.replay_nonce = Some(format!("nonce{}", self.nonces));
        }
        response
    }

    fn right_answer(&mut self, thing: &str, request: &Request) -> Response {
        let jws: Value = serde_json::from_str(&request.body).unwrap_or_default();
        let payload = jws["payload"].as_str().map(|text| URL_SAFE_NO_PAD.decode(text).unwrap());
        let payload: Value =
            serde_json::from_slice(&payload.unwrap_or_default()).unwrap_or_default();
        let mut response = Response { status: 200, ..Response::default() };
        let body = match thing {
            "directory" => {
                json!({"newNonce": "https://ca/nonce", "newAccount": "https://ca/account",
                "newOrder": "https://ca/order", "unknown": {"a": 1},
                "meta": {"profiles": {"classic": "as ever", "shortlived": "for six days"}}})
            }
            "nonce" => Value::Null,
            "account" => {
                self.accounts += 1;
                response.location = Some(format!("https://ca/account/{}", self.accounts));
                json!({"status": "valid"})
            }
            "new order" => {
                self.orders += 1;
                self.order_payload = payload;
                response.location = Some("https://ca/order/1".to_owned());
                self.order()
            }
            "order" => self.order(),
            "authorization" => json!({
                "identifier": {"type": "dns", "value": "a.example"},
                "status": self.authorization.unwrap_or(if self.is_answered { "valid" } else { "pending" }),
                "challenges": self.challenges.clone().unwrap_or_else(|| json!([
                    {"type": "dns-persist-02", "url": "https://ca/none", "status": "pending"},
                    {"type": "http-01", "url": "https://ca/challenge/1", "status": "pending",
                     "token": "abcdefghijklmnopqrstuv"}])),
            }),
            "challenge" => {
                self.is_answered = true;
                response.retry_after = self.retry_after.clone();
                json!({"status": "processing"})
            }
            "finalize" => {
                self.is_finalized = true;
                self.csr = payload["csr"].as_str().unwrap().to_owned();
                self.order()
            }
            "certificate" => {
                response.body = b"-----BEGIN CERTIFICATE-----\n".to_vec();
                return response;
            }
            other => panic!("{other}"),
        };
        response.body = body.to_string().into_bytes();
        response
    }

    fn order(&mut self) -> Value {
        let status = if self.is_finalized && self.processing > 0 {
            self.processing -= 1;
            "processing"
        } else if self.is_finalized {
            "valid"
        } else if self.is_answered {
            "ready"
        } else {
            "pending"
        };
        json!({"status": status, "authorizations": ["https://ca/authorization/1"],
            "finalize": "https://ca/finalize/1", "certificate": "https://ca/certificate/1"})
    }
}

/// Leads an order to its end; how long it took, and what was stored on the way.
fn run(
    authority: &mut Authority,
    order: &mut Order,
    session: &mut Session,
) -> Result<Duration, Failure> {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let mut now = start;
    for _ in 0..500 {
        match order.poll(session, now)? {
            Act::Store => order.stored(),
            Act::StoreAndSend(request) => {
                order.stored();
                let response = authority.answer(&request);
                order.handle(session, response, now)?;
            }
            Act::Send(request) => {
                let response = authority.answer(&request);
                order.handle(session, response, now)?;
            }
            Act::Show => order.shown(),
            Act::Wait(until) => {
                assert!(until > now, "it does not wait");
                now = until;
            }
            Act::Done(_) => return Ok(now.duration_since(start).unwrap()),
        }
    }
    panic!("it never ends");
}

fn attempt() -> Attempt {
    Attempt {
        version: 1,
        names: vec!["a.example".to_owned()],
        directory_url: "https://ca/dir".to_owned(),
        profile: None,
        replaces: None,
        key: String::new(),
        csr: "Y3Ny".to_owned(),
        order_url: None,
        challenges: Vec::new(),
    }
}

fn session_settings() -> Settings {
    Settings {
        directory_url: "https://ca/dir".to_owned(),
        contacts: Vec::new(),
        agrees_to_terms: true,
        external_account: None,
    }
}

fn by_http() -> Wishes {
    Wishes { kinds: vec![ChallengeKind::Http01], ..Wishes::default() }
}

fn session() -> Session {
    Session::new(session_settings(), AccountKey::generate().unwrap(), None, None)
}

fn obtain(authority: &mut Authority) -> Result<Duration, Failure> {
    let mut order = Order::new(attempt(), by_http());
    run(authority, &mut order, &mut session())
}

fn problem(response: &mut Response, status: u16, kind: &str) {
    response.status = status;
    response.body =
        format!(r#"{{"type":"urn:ietf:params:acme:error:{kind}","detail":"so it is"}}"#)
            .into_bytes();
}

#[test]
fn an_order_without_trouble_asks_for_each_thing_once() {
    let mut authority = Authority::default();
    let took = obtain(&mut authority).unwrap();
    assert!(took < Duration::from_millis(10), "{took:?}");
    let expected = [
        ("account", 1),
        ("authorization", 1),
        ("certificate", 1),
        ("challenge", 1),
        ("directory", 1),
        ("finalize", 1),
        ("new order", 1),
        ("nonce", 1),
        ("order", 1),
    ];
    assert_eq!(authority.asked.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(authority.csr, "Y3Ny", "the stored request is what is sent");
}

#[test]
fn an_order_that_is_not_ready_is_finalized_again_when_it_is_asked_for() {
    let refuse: fn(&mut Response) = |response| {
        problem(response, 403, "orderNotReady");
        response.retry_after = Some("30".to_owned());
    };
    let mut authority = Authority::with(&[("finalize", 1, refuse), ("finalize", 2, refuse)]);
    let took = obtain(&mut authority).unwrap();
    assert!(took >= Duration::from_secs(60), "{took:?}");
    assert_eq!(authority.asked["finalize"], 3);
}

#[test]
fn an_authority_that_forgets_that_it_was_asked_is_asked_slowly() {
    let forget: fn(&mut Response) = |response| {
        response.body =
            json!({"status": "ready", "finalize": "https://ca/finalize/1"}).to_string().into();
    };
    let faults: Vec<Fault> =
        (1..=40).flat_map(|at| [("finalize", at, forget), ("order", at, forget)]).collect();
    let mut authority = Authority::with(&faults);
    let took = obtain(&mut authority).unwrap();
    assert!(took > Duration::from_secs(60), "{took:?}");
}

#[test]
fn an_order_that_has_expired_is_given_up() {
    let expire: fn(&mut Response) = |response| {
        response.body = br#"{"status":"processing","expires":"2027-01-15T07:00:00Z"}"#.to_vec();
    };
    let failure = obtain(&mut Authority::with(&[("order", 1, expire)])).unwrap_err();
    assert_eq!(failure.class, FailureClass::OrderGone);
    // By the authority's clock: ours may be wrong.
    let earlier: fn(&mut Response) = |response| {
        response.date = Some("Fri, 15 Jan 2027 06:00:00 GMT".to_owned());
        response.body = br#"{"status":"processing","expires":"2027-01-15T07:00:00Z"}"#.to_vec();
    };
    obtain(&mut Authority::with(&[("order", 1, earlier)])).unwrap();
}

#[test]
fn an_order_is_about_what_was_ordered() {
    let many: fn(&mut Response) = |response| {
        let all = vec!["https://ca/authorization/1"; 20_000];
        response.location = Some("https://ca/order/1".to_owned());
        response.body = json!({"status": "pending", "authorizations": all}).to_string().into();
    };
    let mut authority = Authority::with(&[("new order", 1, many)]);
    assert_eq!(obtain(&mut authority).unwrap_err().class, FailureClass::Rejected);
    assert_eq!(authority.asked.get("authorization"), None);
    let other: fn(&mut Response) = |response| {
        let offer = json!({"type": "http-01", "url": "https://ca/challenge/1", "status": "pending",
            "token": "abcdefghijklmnopqrstuv"});
        let identifier = json!({"type": "dns", "value": "victim.example"});
        let body = json!({"identifier": identifier, "status": "pending", "challenges": [offer]});
        response.body = body.to_string().into();
    };
    let mut authority = Authority::with(&[("authorization", 1, other)]);
    assert_eq!(obtain(&mut authority).unwrap_err().class, FailureClass::Rejected);
    assert_eq!(authority.asked.get("challenge"), None, "nothing is shown");
}

#[test]
fn refused_nonces_cost_a_request_and_nothing_else() {
    let refuse: fn(&mut Response) = |response| problem(response, 400, "badNonce");
    let faults: Vec<Fault> = (1..=10).map(|at| ("finalize", at, refuse)).collect();
    let mut authority = Authority::with(&faults);
    obtain(&mut authority).unwrap();
    assert_eq!(authority.asked["finalize"], 11);
    // After ten in a row it takes a rest, and goes on.
    let faults: Vec<Fault> = (1..=25).map(|at| ("new order", at, refuse)).collect();
    let mut authority = Authority::with(&faults);
    let took = obtain(&mut authority).unwrap();
    assert_eq!((authority.asked["new order"], authority.orders), (26, 1));
    assert!(took >= Duration::from_secs(2), "{took:?}");
}

#[test]
fn patience_that_is_asked_for_is_told() {
    for (value, seconds) in [
        (Some("120"), 120),
        (Some("Fri, 15 Jan 2027 08:10:00 GMT"), 600),
        (None, 3_600),
        (Some("soon"), 3_600),
        (Some("864000"), 259_200),
    ] {
        let mut authority =
            Authority::with(&[("new order", 1, |response| problem(response, 429, "rateLimited"))]);
        let mut order = Order::new(attempt(), by_http());
        let mut session = session();
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let failure = loop {
            match order.poll(&mut session, start).unwrap() {
                Act::Send(request) => {
                    let mut response = authority.answer(&request);
                    if response.status == 429 {
                        response.retry_after = value.map(ToOwned::to_owned);
                    }
                    if let Err(failure) = order.handle(&mut session, response, start) {
                        break failure;
                    }
                }
                Act::Store => order.stored(),
                act => panic!("{act:?}"),
            }
        };
        assert_eq!(failure.class, FailureClass::Hold);
        assert_eq!(failure.not_before, Some(start + Duration::from_secs(seconds)), "{value:?}");
    }
}

#[test]
fn trouble_ends_in_its_class() {
    type Case = (&'static str, fn(&mut Response), FailureClass);
    let cases: [Case; 12] = [
        ("directory", |r| r.body = b"<html>".to_vec(), FailureClass::Network),
        ("directory", |r| r.status = 503, FailureClass::Trouble),
        ("nonce", |r| r.status = 500, FailureClass::Trouble),
        ("account", |r| problem(r, 403, "unauthorized"), FailureClass::Account),
        ("account", |_| {}, FailureClass::Network),
        ("new order", |r| problem(r, 400, "rejectedIdentifier"), FailureClass::Rejected),
        ("new order", |r| r.body = b"{}".to_vec(), FailureClass::Network),
        ("authorization", |r| r.body = b"{\"status\": 1}".to_vec(), FailureClass::Network),
        ("order", |r| r.status = 404, FailureClass::OrderGone),
        ("finalize", |r| problem(r, 400, "badCSR"), FailureClass::Request),
        ("certificate", |r| r.body = vec![0xff], FailureClass::Certificate),
        ("certificate", |r| r.status = 502, FailureClass::Trouble),
    ];
    for (thing, change, class) in cases {
        let mut authority = Authority::with(&[(thing, 1, change)]);
        let failure = obtain(&mut authority).unwrap_err();
        assert_eq!(failure.class, class, "{thing}: {failure}");
    }
}

#[test]
fn a_certificate_that_has_a_successor_is_ordered_without_saying_so() {
    let mut authority =
        Authority::with(&[("new order", 1, |response| problem(response, 409, "alreadyReplaced"))]);
    let mut attempt = attempt();
    attempt.replaces = Some("a.b".to_owned());
    let mut order = Order::new(attempt, by_http());
    run(&mut authority, &mut order, &mut session()).unwrap();
    assert_eq!(authority.orders, 1);
    assert!(authority.order_payload.get("replaces").is_none());
}

#[test]
fn an_order_that_was_finalized_before_is_looked_at_again() {
    let mut authority =
        Authority::with(&[("finalize", 1, |response| problem(response, 403, "orderNotReady"))]);
    obtain(&mut authority).unwrap();
    assert_eq!(authority.asked["finalize"], 2);
}

#[test]
fn an_order_is_not_looked_at_before_the_challenge_wants_it() {
    let mut authority = Authority { retry_after: Some("7".to_owned()), ..Authority::default() };
    let took = obtain(&mut authority).unwrap();
    assert_eq!((took, authority.asked["order"]), (Duration::from_secs(7), 1));
}

#[test]
fn waits_grow_while_the_authority_works() {
    let mut authority = Authority { processing: 30, ..Authority::default() };
    let took = obtain(&mut authority).unwrap();
    assert!(took > Duration::from_secs(60) && took < Duration::from_secs(150), "{took:?}");
    assert!(authority.asked["order"] <= 31);
}

#[test]
fn an_account_that_the_authority_forgot_is_opened_again_once() {
    let forget: fn(&mut Response) = |response| problem(response, 400, "accountDoesNotExist");
    let mut authority = Authority::with(&[("new order", 1, forget)]);
    obtain(&mut authority).unwrap();
    assert_eq!(authority.accounts, 2);
    let mut authority = Authority::with(&[("new order", 1, forget), ("new order", 2, forget)]);
    assert_eq!(obtain(&mut authority).unwrap_err().class, FailureClass::Account);
}

/// A change of keys was cut short: nobody here knows which of the two is in force. Authorities say "malformed" then.
#[test]
fn of_two_keys_the_one_in_force_is_found_and_none_is_lost() {
    let keys = [AccountKey::generate().unwrap(), AccountKey::generate().unwrap()];
    let [first, second] = [0, 1].map(|at: usize| keys[at].thumbprint());
    let account = || Some("https://ca/account/1".to_owned());
    let session = || {
        let [key, spare] = keys.clone();
        Session::new(session_settings(), key, Some(spare), account())
    };
    let obtain = |authority: &mut Authority, session: &mut Session| {
        let mut order = Order::new(attempt(), by_http());
        run(authority, &mut order, session)
    };
    for kind in ["malformed", "unauthorized"] {
        let refuse: fn(&mut Response) = match kind {
            "malformed" => |response| problem(response, 400, "malformed"),
            _ => |response| problem(response, 403, "unauthorized"),
        };
        let mut found = session();
        obtain(&mut Authority::with(&[("new order", 1, refuse)]), &mut found).unwrap();
        assert_eq!(found.key().thumbprint(), second, "{kind}");
        assert!(found.spare().is_none(), "{kind}: it is certain now");

        // It was not the key.
        let mut kept = session();
        let both = [("new order", 1, refuse), ("new order", 2, refuse)];
        obtain(&mut Authority::with(&both), &mut kept).unwrap_err();
        assert_eq!(kept.key().thumbprint(), first, "{kind}");
        assert_eq!(kept.spare().unwrap().thumbprint(), second, "{kind}");
    }
    let mut unharmed = session();
    obtain(&mut Authority::default(), &mut unharmed).unwrap();
    assert_eq!(unharmed.key().thumbprint(), first);
}

#[test]
fn a_token_that_is_no_token_is_not_used() {
    for token in ["../../etc/passwd", "short", "abcdefghijklmnop/rstuv", ""] {
        let challenges = json!([{"type": "http-01", "url": "https://ca/challenge/1",
            "status": "pending", "token": token}]);
        let mut authority = Authority { challenges: Some(challenges), ..Authority::default() };
        assert_eq!(obtain(&mut authority).unwrap_err().class, FailureClass::Rejected, "{token}");
    }
}

#[test]
fn a_name_that_failed_is_told_with_its_reason() {
    let mut authority = Authority::with(&[
        ("order", 1, |response| {
            response.body =
                br#"{"status": "invalid", "authorizations": ["https://ca/authorization/1"]}"#
                    .to_vec();
        }),
        ("authorization", 2, |response| {
            response.body =
                br#"{"identifier": {"type": "dns", "value": "a.example"}, "status": "invalid",
                "challenges": [{"type": "http-01", "status": "invalid", "error":
                {"type": "urn:ietf:params:acme:error:connection", "detail": "Timeout"}}]}"#
                    .to_vec();
        }),
    ]);
    let failure = obtain(&mut authority).unwrap_err();
    assert_eq!(failure.class, FailureClass::Validation);
    assert_eq!(failure.to_string(), "failed to validate the names: connection: a.example: Timeout");
}

#[test]
fn an_attempt_goes_on_from_what_was_stored() {
    let mut authority = Authority::default();
    let mut attempt = attempt();
    attempt.order_url = Some("https://ca/order/1".to_owned());
    let mut order = Order::new(attempt, by_http());
    run(&mut authority, &mut order, &mut session()).unwrap();
    assert_eq!(authority.orders, 0, "the order that is there is taken up");
    let mut order = Order::new(order.attempt().clone(), by_http());
    run(&mut authority, &mut order, &mut session()).unwrap();
    let asked = |thing| authority.asked[thing];
    assert_eq!(
        (asked("finalize"), asked("certificate")),
        (1, 2),
        "what is there is downloaded again"
    );
}
