//! A guesser makes codes longer, and locks nobody out.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use otp_auth::code::CodeLength;
use otp_auth::error::Error;
use otp_auth::login::{Admission, Event, Login, LoginBuilder, Observer, Reason, Refusal, Verdict};
use otp_auth::random::SystemRandom;
use otp_auth::secret::Pepper;
use otp_auth::store::MemoryStore;
use otp_auth::throttle::{Budget, Rule};
use support::{START, Visitor, after, sign_in_from};

const DAY: u64 = 86_400;

fn builder() -> LoginBuilder {
    let random = SystemRandom::new();
    let pepper = Pepper::generate(&random).unwrap();
    let host = "auth.example.jp".parse().unwrap();
    Login::builder(Arc::new(MemoryStore::new()), pepper, Arc::new(random), host)
}

fn reason(verdict: &Verdict) -> Option<Reason> {
    verdict.refusal().map(Refusal::reason)
}

/// One wrong guess at a code of `length`, from a network of its own; whether it was compared.
async fn guess(login: &Login, address: &str, number: u64, secs: u64) -> (CodeLength, bool) {
    let client = format!("10.{}.{}.1", number / 256 % 256, number % 256);
    let begin = sign_in_from(address, Admission::Admitted, &client);
    let (begun, dispatch) = login.begin(&begin, after(secs)).await.unwrap();
    let length = begun.code_length;
    let visitor = Visitor::of((begun, dispatch));
    let wrong = match (&visitor.code, length) {
        (Some(code), CodeLength::Six) if code == "000000" => "000001",
        (Some(code), CodeLength::Nine) if code == "000000000" => "000000001",
        (_, CodeLength::Six) => "000000",
        _ => "000000000",
    };
    let verdict = visitor.submit(login, wrong, after(secs)).await;
    (length, matches!(reason(&verdict), Some(Reason::Wrong | Reason::Decoy(_))))
}

#[tokio::test]
async fn after_twenty_failures_an_address_gets_nine_digits_and_still_gets_in() {
    let login = builder().build().unwrap();
    let (mut short, mut long) = (0, 0);
    for hour in 0..48 {
        match guess(&login, "alice@example.jp", hour, hour * 3_600).await {
            (CodeLength::Six, true) => short += 1,
            (CodeLength::Nine, true) => long += 1,
            other => panic!("hour {hour}: {other:?}"),
        }
    }
    assert_eq!(short, 20);
    assert_eq!(long, 28);
    let now = after(60 * 3_600);
    let alice = Visitor::begin(&login, "alice@example.jp", Admission::Admitted, now).await;
    assert_eq!(alice.code().len(), 9);
    assert!(matches!(alice.submit(&login, alice.code(), now).await, Verdict::Proven(_)));
    // The owner's success buys the guesser nothing.
    let (length, _) = guess(&login, "alice@example.jp", 1, 61 * 3_600).await;
    assert_eq!(length, CodeLength::Nine);
    // Others are not concerned, and half a year later ten short tries have been earned.
    let (length, _) = guess(&login, "bob@example.jp", 2, 61 * 3_600).await;
    assert_eq!(length, CodeLength::Six);
    let (length, _) = guess(&login, "alice@example.jp", 3, 183 * DAY).await;
    assert_eq!(length, CodeLength::Six);
}

/// A year of unlimited attack on one address stays below what `risk` says.
#[tokio::test]
async fn a_year_of_guesses_at_one_address_stays_within_the_computed_bound() {
    let login = builder().build().unwrap();
    let (mut short, mut long) = (0u32, 0u32);
    for quarter in 0..365 * 24 * 4 {
        match guess(&login, "alice@example.jp", quarter, quarter * 900).await {
            (CodeLength::Six, true) => short += 1,
            (_, true) => long += 1,
            (_, false) => {}
        }
    }
    let chance = f64::from(short) * 1e-6 + f64::from(long) * 1e-9;
    let bound = login.risk().of_one_address_in_a_year;
    assert!(
        chance <= bound && bound <= 1e-4,
        "{short} at six, {long} at nine: {chance} of {bound}"
    );
    assert!((30..=40).contains(&short) && long > 5_000, "{short} at six, {long} at nine");
}

#[derive(Debug, Default)]
struct Alarms(Mutex<usize>);

impl Observer for Alarms {
    fn observe(&self, event: &Event<'_>) {
        if matches!(event, Event::UnderAttack) {
            *self.0.lock().unwrap() += 1;
        }
    }
}

#[tokio::test]
async fn spraying_makes_all_strangers_codes_longer_and_raises_an_alarm() {
    let alarms = Arc::new(Alarms::default());
    let login = builder().observer(alarms.clone()).build().unwrap();
    // One flow is open with a code of six digits before the attack.
    let early = Visitor::begin(&login, "carol@example.jp", Admission::Admitted, START).await;
    let mut short = 0;
    for number in 0..2_000 {
        let address = format!("user{number}@example.jp");
        let (length, compared) = guess(&login, &address, number, 1 + number / 10).await;
        assert!(compared);
        short += usize::from(length == CodeLength::Six);
    }
    assert!((300..=301).contains(&short), "{short}");
    assert!(*alarms.0.lock().unwrap() >= 1_600);
    // The short code that is still out is not compared any more; the next one is longer, and good.
    let verdict = early.submit(&login, early.code(), after(202)).await;
    assert_eq!(reason(&verdict), Some(Reason::ShortCode));
    assert!(matches!(verdict, Verdict::StartOver(_)));
    let carol = Visitor::begin(&login, "carol@example.jp", Admission::Admitted, after(203)).await;
    assert_eq!(carol.code().len(), 9);
    assert!(matches!(carol.submit(&login, carol.code(), after(204)).await, Verdict::Proven(_)));
    // A day later it is over.
    let (length, _) = guess(&login, "dave@example.jp", 7, DAY + 300).await;
    assert_eq!(length, CodeLength::Six);
}

#[tokio::test]
async fn nine_digits_are_read_as_leniently_as_six() {
    let login = builder().code_length(CodeLength::Nine).build().unwrap();
    let alice = Visitor::begin(&login, "alice@example.jp", Admission::Admitted, START).await;
    let malformed = alice.submit(&login, "482913", START).await;
    assert!(matches!(malformed, Verdict::Malformed(_)));
    let code = alice.code();
    let spaced = format!(" {}-{}\u{3000}{} ", &code[..3], &code[3..6], &code[6..]);
    assert!(matches!(alice.submit(&login, &spaced, START).await, Verdict::Proven(_)));
}

#[test]
fn settings_that_lose_accounts_are_refused() {
    let refused = |builder: LoginBuilder| {
        let error: Error = builder.build().unwrap_err();
        assert!(error.is_caller_fault());
        error.to_string()
    };
    let budget = |count, days| {
        let rule = Rule::try_new(count, Duration::from_secs(days * DAY)).unwrap();
        Budget::try_new(vec![rule]).unwrap()
    };
    // Each in turn: what other libraries do by default, more doors, no bound on the spray.
    let text = refused(builder().short_code_budget(budget(7_200, 1)));
    assert_eq!(text, "setting `risk` is refused: an address is guessed too likely within a year");
    refused(builder().short_code_budget(budget(60, 365)));
    let text = refused(builder().deployment_budget(budget(1_000, 1)));
    assert_eq!(text, "setting `risk` is refused: some address is guessed too likely within a day");
    refused(builder().addresses(7_000));
    assert!(builder().addresses(6_500).build().is_ok());
    assert!(builder().addresses(0).build().is_ok());
    assert!(builder().deployment_budget(budget(100, 1)).addresses(13_000).build().is_ok());
    // Eight digits carry what six do not.
    let wide =
        || builder().short_code_budget(budget(1_000, 365)).deployment_budget(budget(5_000, 1));
    refused(wide());
    assert!(wide().code_length(CodeLength::Eight).build().is_ok());
    assert!(wide().danger_accept_risk(1e-2, 1e-1).build().is_ok());
    assert!(wide().risk().of_one_address_in_a_year > 1e-3);
    assert!(builder().danger_accept_risk(f64::NAN, 1.0).build().is_err(), "no bound is no bound");
}
