//! Admitted and denied addresses cannot be told apart from outside.

mod support;

use std::sync::Arc;
use std::time::Duration;

use otp_auth::locale::Locale;
use otp_auth::login::{Admission, Delivery, Dispatch, Reason, Refusal, Verdict};
use otp_auth::mail::TerminalMailer;
use otp_auth::random::SystemRandom;
use otp_auth::store::MemoryStore;
use otp_auth::throttle::{Budget, Rule};
use support::{
    Constant, Recording, START, Visitor, after, builder, login, login_from, login_with, sign_in,
    sign_in_from,
};

/// What the visitor sees of a verdict.
fn outward(verdict: &Verdict) -> (&'static str, &'static str) {
    (verdict.message(Locale::En), verdict.message(Locale::Ja))
}

#[tokio::test]
async fn both_take_the_same_steps_and_see_the_same_answers() {
    let mut histories = Vec::new();
    for (address, admission) in
        [("alice@example.jp", Admission::Admitted), ("bob@evil.test", Admission::Denied)]
    {
        let store = Arc::new(Recording::default());
        let login = login_with(store.clone());
        let (mut steps, mut seen) = (Vec::new(), Vec::new());

        // 1. Resend too early, resend in time, then use all tries up.
        let visitor = Visitor::begin(&login, address, admission, START).await;
        seen.push(format!("{} {}", visitor.nonce.len(), visitor.cookie.len()));
        for secs in [30, 60] {
            let resent = visitor.resend(&login, admission, after(secs)).await;
            seen.push(format!("{}", resent.is_some()));
        }
        for secs in 70..77 {
            // A guess that misses with certainty would need the code; six in a million will do.
            let verdict = visitor.submit(&login, "123456", after(secs)).await;
            seen.push(format!("{:?}", outward(&verdict)));
        }
        // 2. Malformed input, then too late.
        let visitor = Visitor::begin(&login, address, admission, after(200)).await;
        for (input, secs) in [("12a", 201), ("123456", 799), ("123456", 800), ("123456", 2_000)] {
            let verdict = visitor.submit(&login, input, after(secs)).await;
            seen.push(format!("{:?}", outward(&verdict)));
        }
        let resent = visitor.resend(&login, admission, after(2_001)).await;
        seen.push(format!("{}", resent.is_some()));
        // 3. Until the budget of failures is spent.
        for round in 0..4 {
            let visitor = Visitor::begin(&login, address, admission, after(3_000 + round)).await;
            for _ in 0..6 {
                let verdict = visitor.submit(&login, "123456", after(3_000 + round)).await;
                seen.push(format!("{:?}", outward(&verdict)));
            }
        }
        steps.extend(store.take_steps());
        histories.push((steps, seen));
    }
    assert_eq!(histories[0], histories[1]);
    assert!(histories[0].0.len() > 40);
}

/// 200 conversations drawn at random: exhausted, expired, resent too early and in time, malformed, over each
/// budget, guessed at until codes are longer.
#[tokio::test]
async fn no_conversation_tells_admitted_from_denied() {
    let mut longer = 0;
    for seed in 0..200u64 {
        let mut histories = Vec::new();
        for admission in [Admission::Admitted, Admission::Denied] {
            let store = Arc::new(Recording::default());
            let login = builder(store.clone(), Arc::new(SystemRandom::new()));
            // Few, so that codes get longer within one conversation.
            let rule = Rule::try_new(3, Duration::from_secs(86_400 * 365)).unwrap();
            let few = Budget::try_new(vec![rule]).unwrap();
            let login = login.short_code_budget(few).build().unwrap();
            let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut below = |bound: u64| {
                dice ^= dice << 13;
                dice ^= dice >> 7;
                dice ^= dice << 17;
                dice % bound
            };
            let (mut secs, mut seen, mut visitor) = (0, Vec::new(), None);
            for step in 0..60 {
                secs += match below(6) {
                    0 => 1,
                    1 => 5,
                    2 | 3 => 61,
                    4 => 300,
                    _ => 4_000,
                };
                match (&visitor, below(8)) {
                    (None, _) | (_, 0) => {
                        let client = format!("203.0.{}.7", below(40));
                        let begin = sign_in_from("alice@example.jp", admission, &client);
                        let (begun, dispatch) = login.begin(&begin, after(secs)).await.unwrap();
                        let digits = begun.code_length.digits();
                        longer += usize::from(digits == 9);
                        seen.push(format!("{step} {digits} {}", begun.expires));
                        assert!(admission == Admission::Admitted || dispatch.mail().is_none());
                        visitor = Some((Visitor::of((begun, dispatch)), digits));
                    }
                    (Some((visitor, _)), 1) => {
                        let resent = visitor.resend(&login, admission, after(secs)).await;
                        seen.push(format!("{step} {}", resent.is_some()));
                    }
                    (Some((visitor, digits)), typed) => {
                        let input = if typed == 2 { "12a" } else { &"123456789"[..*digits] };
                        let verdict = visitor.submit(&login, input, after(secs)).await;
                        seen.push(format!("{step} {:?}", outward(&verdict)));
                    }
                }
            }
            histories.push((store.take_steps(), seen));
        }
        assert_eq!(histories[0], histories[1], "seed {seed}");
    }
    assert!(longer > 10, "{longer} of the codes were longer");
}

#[tokio::test]
async fn a_denied_address_gets_no_mail_and_the_operator_hears_why() {
    let login = login();
    let (_, dispatch) =
        login.begin(&sign_in("bob@evil.test", Admission::Denied), START).await.unwrap();
    assert!(dispatch.is_decoy());
    assert!(dispatch.mail().is_none());
    assert_eq!(dispatch.describe(), "no code sent to bob@evil.test: no rule admits it");
    let delivery = dispatch.deliver(&TerminalMailer::to_writer(Unwritable)).await.unwrap();
    assert!(matches!(delivery, Delivery::Decoy(_)));
}

/// The generator gives the same bytes each time, so the decoy's code is known: that of the mail.
#[tokio::test]
async fn a_decoy_refuses_even_its_own_code() {
    let login = login_from(Arc::new(MemoryStore::new()), Arc::new(Constant(1)));
    let alice = Visitor::begin(&login, "alice@example.jp", Admission::Admitted, START).await;
    assert_eq!(alice.code(), "843009"); // 0x01010101 modulo 1,000,000
    let bob = Visitor::begin(&login, "bob@evil.test", Admission::Denied, START).await;
    let verdict = bob.submit(&login, alice.code(), START).await;
    assert!(matches!(verdict.refusal().map(Refusal::reason), Some(Reason::Decoy(_))));
    assert!(matches!(alice.submit(&login, alice.code(), START).await, Verdict::Proven(_)));
}

#[tokio::test]
async fn wrong_code_and_decoy_have_one_text() {
    let login = login();
    let alice = Visitor::begin(&login, "alice@example.jp", Admission::Admitted, START).await;
    let bob = Visitor::begin(&login, "bob@evil.test", Admission::Denied, START).await;
    for _ in 0..5 {
        let wrong = alice.submit(&login, &alice.wrong_code(), after(1)).await;
        let decoy = bob.submit(&login, "123456", after(1)).await;
        assert_eq!(outward(&wrong), outward(&decoy));
        assert_ne!(wrong.refusal().unwrap().reason(), decoy.refusal().unwrap().reason());
        assert_eq!(decoy.refusal().unwrap().address().unwrap().key(), "bob@evil.test");
    }
}

#[tokio::test]
async fn budgets_of_mails_hold_across_flows_and_networks() {
    let login = login();
    let mut mails = 0;
    for second in 0..86_400u64 {
        if second % 20 != 0 {
            continue;
        }
        let client = format!("198.51.{}.1", (second / 20) % 250);
        let request = sign_in_from("alice@example.jp", Admission::Admitted, &client);
        let (_, dispatch) = login.begin(&request, after(second)).await.unwrap();
        mails += usize::from(dispatch.mail().is_some());
    }
    assert!((9..=10).contains(&mails), "{mails} mails in a day");
}

#[tokio::test]
async fn a_network_over_budget_sees_the_same_page_and_fills_no_store() {
    let store = Arc::new(MemoryStore::new());
    let login = login_with(store.clone());
    for number in 0..1_000 {
        let address = format!("user{number}@example.jp");
        let client = format!("203.0.113.{}", number % 256);
        let request = sign_in_from(&address, Admission::Admitted, &client);
        let (begun, dispatch): (_, Dispatch) = login.begin(&request, START).await.unwrap();
        assert_eq!(begun.flow_cookie.expose().len(), 76);
        assert_eq!(begun.expires, after(600));
        assert_eq!(dispatch.mail().is_some(), number < 15, "the network's mails are fewer");
    }
    assert_eq!(store.challenge_count(), 30);
    // Another network is not disturbed.
    let request = sign_in_from("carol@example.jp", Admission::Admitted, "198.51.100.1");
    let (_, dispatch) = login.begin(&request, START).await.unwrap();
    assert!(dispatch.mail().is_some());
}

#[tokio::test]
async fn six_failures_at_once_close_an_address_even_for_the_right_code() {
    let login = login();
    for (round, tries) in [(0, 5), (1, 1)] {
        let visitor =
            Visitor::begin(&login, "alice@example.jp", Admission::Admitted, after(round * 60))
                .await;
        for _ in 0..tries {
            let _verdict = visitor.submit(&login, &visitor.wrong_code(), after(round * 60)).await;
        }
    }
    let visitor = Visitor::begin(&login, "alice@example.jp", Admission::Admitted, after(120)).await;
    let verdict = visitor.submit(&login, visitor.code(), after(121)).await;
    assert!(matches!(verdict, Verdict::Again(_)));
    assert_eq!(verdict.refusal().unwrap().reason(), Reason::FailureBudget);
    // After a quarter of an hour one try is earned; no try of a flow is spent meanwhile.
    let verdict = visitor.submit(&login, visitor.code(), after(719)).await;
    assert_eq!(verdict.refusal().unwrap().reason(), Reason::FailureBudget);
    let now = after(960);
    let visitor = Visitor::begin(&login, "alice@example.jp", Admission::Admitted, now).await;
    assert!(visitor.code.is_none(), "three mails within half an hour");
    let elsewhere = sign_in_from("alice@example.jp", Admission::Admitted, "198.51.100.1");
    let visitor = Visitor::of(login.begin(&elsewhere, after(1_800)).await.unwrap());
    assert!(matches!(
        visitor.submit(&login, visitor.code(), after(1_801)).await,
        Verdict::Proven(_)
    ));
}

#[tokio::test]
async fn successes_do_not_count_as_failures() {
    let login = login();
    for day in 0..40 {
        let now = after(day * 86_400);
        let visitor = Visitor::begin(&login, "alice@example.jp", Admission::Admitted, now).await;
        assert!(matches!(visitor.submit(&login, visitor.code(), now).await, Verdict::Proven(_)));
        for _ in 0..20 {
            assert!(matches!(visitor.submit(&login, "123456", now).await, Verdict::StartOver(_)));
        }
    }
}

struct Unwritable;

impl std::io::Write for Unwritable {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        panic!("a decoy was written")
    }

    fn flush(&mut self) -> std::io::Result<()> {
        panic!("a decoy was flushed")
    }
}
