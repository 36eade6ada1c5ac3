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
use support::{START, Visitor, after, is_counted, sign_in_from};

const DAY: u64 = 86_400;

const ALICE: &str = "alice@example.jp";

fn builder() -> LoginBuilder {
    let random = SystemRandom::new();
    let pepper = Pepper::generate(&random).unwrap();
    let host = "auth.example.jp".parse().unwrap();
    Login::builder(Arc::new(MemoryStore::new()), pepper, Arc::new(random), host)
}

fn reason(verdict: &Verdict) -> Option<Reason> {
    verdict.refusal().map(Refusal::reason)
}

/// Wrong guesses at one flow, from a network of its own: at codes of which length, and how many counted.
async fn guess(
    login: &Login,
    address: &str,
    tries: u32,
    number: u64,
    secs: u64,
) -> (CodeLength, u32) {
    let client = format!("10.{}.{}.1", number / 256 % 256, number % 256);
    let begin = sign_in_from(address, Admission::Admitted, &client);
    let (begun, dispatch) = login.begin(&begin, after(secs)).await.unwrap();
    let length = begun.code_length;
    let visitor = Visitor::of((begun, dispatch));
    let is_zeros = visitor.code.as_deref().is_some_and(|code| code.bytes().all(|it| it == b'0'));
    let wrong = if is_zeros { "1" } else { "0" }.repeat(length.digits());
    let mut counted = 0;
    for _ in 0..tries {
        counted += u32::from(is_counted(&visitor.submit(login, &wrong, after(secs)).await));
    }
    (length, counted)
}

#[tokio::test]
async fn after_twenty_failures_an_address_gets_nine_digits_and_still_gets_in() {
    let login = builder().build().unwrap();
    let (mut short, mut long) = (0, 0);
    for round in 0..40 {
        match guess(&login, ALICE, 1, round, round * 4 * 3_600).await {
            (CodeLength::Six, 1) => short += 1,
            (CodeLength::Nine, 1) => long += 1,
            other => panic!("round {round}: {other:?}"),
        }
    }
    assert_eq!((short, long), (20, 20));
    let now = after(7 * DAY);
    let alice = Visitor::begin(&login, "alice@example.jp", Admission::Admitted, now).await;
    assert_eq!(alice.code().len(), 9);
    assert!(matches!(alice.submit(&login, alice.code(), now).await, Verdict::Proven(_)));
    // The owner's success buys the guesser nothing.
    let (length, _) = guess(&login, ALICE, 1, 1, 7 * DAY + 3_600).await;
    assert_eq!(length, CodeLength::Nine);
    // Others are not concerned, and half a year later ten short tries have been earned.
    let (length, _) = guess(&login, "bob@example.jp", 1, 2, 7 * DAY + 3_600).await;
    assert_eq!(length, CodeLength::Six);
    let (length, _) = guess(&login, ALICE, 1, 3, 183 * DAY).await;
    assert_eq!(length, CodeLength::Six);
}

/// A year of unlimited attack on one address stays below what `risk` says.
#[tokio::test]
async fn a_year_of_guesses_at_one_address_stays_within_the_computed_bound() {
    let login = builder().build().unwrap();
    let (mut short, mut long) = (0u32, 0u32);
    for quarter in 0..365 * 24 * 4 {
        match guess(&login, ALICE, 5, quarter, quarter * 900).await {
            (CodeLength::Six, counted) => short += counted,
            (_, counted) => long += counted,
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
        let (length, counted) = guess(&login, &address, 1, number, 1 + number / 10).await;
        assert_eq!(counted, 1);
        short += usize::from(length == CodeLength::Six);
    }
    assert!((300..=301).contains(&short), "{short}");
    assert!(*alarms.0.lock().unwrap() >= 1_600);
    // The short code that is still out is not compared any more, and no other is sent; the next flow's is
    // longer, and good.
    assert!(early.resend(&login, Admission::Admitted, after(201)).await.is_none());
    let verdict = early.submit(&login, early.code(), after(202)).await;
    assert_eq!(reason(&verdict), Some(Reason::ShortCode));
    assert!(matches!(verdict, Verdict::StartOver(_)));
    let carol = Visitor::begin(&login, "carol@example.jp", Admission::Admitted, after(203)).await;
    assert_eq!(carol.code().len(), 9);
    assert!(matches!(carol.submit(&login, carol.code(), after(204)).await, Verdict::Proven(_)));
    // A day later it is over.
    let (length, _) = guess(&login, "dave@example.jp", 1, 7, DAY + 300).await;
    assert_eq!(length, CodeLength::Six);
}

/// A rule that admits a whole domain admits every address that somebody invents there.
#[tokio::test]
async fn a_day_of_guesses_at_invented_addresses_stays_within_the_computed_bound() {
    let alarms = Arc::new(Alarms::default());
    let few = |count| {
        let rule = Rule::try_new(count, Duration::from_secs(DAY)).unwrap();
        Budget::try_new(vec![rule]).unwrap()
    };
    let login = builder().deployment_budget(few(300)).nine_digit_budget(few(2_000));
    let login = login.observer(alarms.clone()).build().unwrap();
    let mut compared = [0u32; 3];
    let mut guesses = 0;
    // 256 networks, each as often as it may.
    for secs in (0..DAY).step_by(10) {
        let address = format!("user{secs}@example.jp");
        let (length, counted) = guess(&login, &address, 5, secs / 10 % 256, secs).await;
        guesses += 5;
        compared[match length {
            CodeLength::Six => 0,
            CodeLength::Nine => 1,
            _ => 2,
        }] += counted;
    }
    let [six, nine, twelve] = compared.map(f64::from);
    let chance = six * 1e-6 + nine * 1e-9 + twelve * 1e-12;
    let bound = login.risk().of_any_address_in_a_day;
    assert!(chance <= bound, "{compared:?} of {guesses}: {chance} of {bound}");
    assert!(six <= 600.0 && nine <= 4_000.0 && twelve > 5_000.0, "{compared:?} of {guesses}");
    assert!(*alarms.0.lock().unwrap() > 5_000);
    // A new device of somebody still gets in, with a longer code.
    let now = DAY - 9;
    let carol = sign_in_from("carol@example.jp", Admission::Admitted, "198.51.100.1");
    let carol = Visitor::of(login.begin(&carol, after(now)).await.unwrap());
    assert_eq!(carol.code().len(), 12);
    let spaced = format!("{}-{} {}", &carol.code()[..4], &carol.code()[4..8], &carol.code()[8..]);
    assert!(matches!(carol.submit(&login, &spaced, after(now)).await, Verdict::Proven(_)));
}

#[tokio::test]
async fn a_spent_budget_at_twelve_digits_refuses_strangers_and_no_known_device() {
    let rule = Rule::try_new(3, Duration::from_secs(DAY)).unwrap();
    let few = || Budget::try_new(vec![rule]).unwrap();
    let login = builder().code_length(CodeLength::Twelve).twelve_digit_budget(few());
    let login = login.build().unwrap();
    let alice = Visitor::begin(&login, "alice@example.jp", Admission::Admitted, START).await;
    let Verdict::Proven(proven) = alice.submit(&login, alice.code(), START).await else {
        panic!("refused")
    };
    let device = login.device_cookie(&proven, START).unwrap().expose();
    for number in 0..3 {
        let address = format!("user{number}@example.jp");
        assert_eq!(guess(&login, &address, 1, number, 100).await.1, 1);
    }
    let carol = Visitor::begin(&login, "carol@example.jp", Admission::Admitted, after(100)).await;
    let verdict = carol.submit(&login, carol.code(), after(100)).await;
    assert_eq!(reason(&verdict), Some(Reason::DeploymentBudget));
    assert!(matches!(verdict, Verdict::Again(_)), "later the same code may do");
    let begin = sign_in_from("alice@example.jp", Admission::Admitted, "203.0.113.7");
    let alice = Visitor::of(login.begin(&begin.device(Some(device)), after(100)).await.unwrap());
    assert!(matches!(alice.submit(&login, alice.code(), after(100)).await, Verdict::Proven(_)));
}

/// One provider's customer may hold 65,536 networks of /64, 256 of /56.
#[tokio::test]
async fn a_site_of_ipv6_begins_no_more_than_two_networks() {
    let login = builder().build().unwrap();
    let mut mails = 0;
    for network in 0..256u32 {
        for host in 0..4 {
            let address = format!("user{network}-{host}@example.jp");
            let client = format!("2001:db8:1:{:x}::{host}", network << 8);
            let begin = sign_in_from(&address, Admission::Admitted, &client);
            let (_, dispatch) = login.begin(&begin, after(u64::from(network))).await.unwrap();
            mails += usize::from(dispatch.mail().is_some());
        }
    }
    assert!((60..=86).contains(&mails), "{mails} within 256 seconds");
    let begin = sign_in_from("carol@example.jp", Admission::Admitted, "2001:db8:2::1");
    let (_, dispatch) = login.begin(&begin, after(256)).await.unwrap();
    assert!(dispatch.mail().is_some());
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
    refused(builder().nine_digit_budget(budget(200_000, 1)));
    refused(builder().twelve_digit_budget(budget(86_400_000, 1)).deployment_budget(budget(400, 1)));
    assert!(builder().deployment_budget(budget(350, 1)).build().is_ok());
    // Eight digits carry what six do not.
    let wide =
        || builder().short_code_budget(budget(1_000, 365)).deployment_budget(budget(5_000, 1));
    refused(wide());
    assert!(wide().code_length(CodeLength::Eight).build().is_ok());
    assert!(wide().danger_accept_risk(1e-2, 1e-1).build().is_ok());
    assert!(wide().risk().of_one_address_in_a_year > 1e-3);
    assert!(builder().danger_accept_risk(f64::NAN, 1.0).build().is_err(), "no bound is no bound");
}
