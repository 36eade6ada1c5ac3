//! Crashes, lost answers and wrong clocks: no code is accepted twice, none after its end, and nobody is
//! locked out for ever. All in simulated time.
#![expect(clippy::unwrap_used, reason = "a test")]

mod faults;
mod support;

use std::sync::Arc;
use std::time::Duration;

use faults::{FAULTS, Fault, Faulty, run};
use otp_auth::login::{Admission, Login, Reason, Refusal, Resend, Verdict};
use otp_auth::timestamp::Timestamp;
use proptest::prelude::*;
use support::{START, Visitor, after, login_with, sign_in};

const ALICE: &str = "alice@example.jp";

fn fresh() -> (Arc<Faulty>, Login) {
    let store = Arc::new(Faulty::default());
    (store.clone(), login_with(store))
}

fn begin(login: &Login, admission: Admission, now: Timestamp) -> Option<Visitor> {
    let begun = run(login.begin(&sign_in(ALICE, admission), now));
    begun.and_then(Result::ok).map(Visitor::of)
}

/// `Some(true)` if proven, `Some(false)` if refused, `None` where nobody can tell.
fn submit(login: &Login, visitor: &Visitor, input: &str, now: Timestamp) -> Option<Verdict> {
    run(login.submit(&visitor.nonce, &visitor.cookie, input, now)).and_then(Result::ok)
}

fn is_proven(verdict: Option<&Verdict>) -> bool {
    matches!(verdict, Some(Verdict::Proven(_)))
}

/// How many steps an action takes when all goes well.
fn steps(act: impl Fn(&Faulty, &Login)) -> usize {
    let (store, login) = fresh();
    store.heal();
    act(&store, &login);
    store.heal()
}

#[test]
fn a_fault_between_any_two_steps_of_a_submission_lets_nobody_in_twice() {
    let steps = steps(|store, login| {
        let alice = begin(login, Admission::Admitted, START).unwrap();
        store.heal();
        assert!(is_proven(submit(login, &alice, alice.code(), START).as_ref()));
    });
    assert_eq!(
        steps, 11,
        "three budgets, reserve, consume, refunds of those and of three for the mail"
    );
    for fault in FAULTS {
        for at in 0..steps {
            let (store, login) = fresh();
            let alice = begin(&login, Admission::Admitted, START).unwrap();
            store.fail_at(at, fault);
            let first = submit(&login, &alice, alice.code(), after(1));
            store.heal();
            let mut accepted = u32::from(is_proven(first.as_ref()));
            for second in 2..5 {
                let again = submit(&login, &alice, alice.code(), after(second));
                accepted += u32::from(is_proven(again.as_ref()));
            }
            assert!(accepted <= 1, "{fault:?} at {at}: accepted {accepted} times");
            // What was not used up is still good.
            if at < 4 {
                assert_eq!(accepted, 1, "{fault:?} at {at}");
            }
            gets_in(&login, after(100), &format!("{fault:?} at {at}"));
        }
    }
}

#[test]
fn a_fault_between_any_two_steps_of_a_failed_try_gives_no_try_back() {
    for fault in FAULTS {
        for at in 0..4 {
            let (store, login) = fresh();
            let alice = begin(&login, Admission::Admitted, START).unwrap();
            let mut compared = 0;
            for _ in 0..20 {
                store.fail_at(at, fault);
                let _lost = submit(&login, &alice, &alice.wrong_code(), after(1));
                store.heal();
                let verdict = submit(&login, &alice, &alice.wrong_code(), after(1));
                let reason = verdict.as_ref().and_then(Verdict::refusal).map(Refusal::reason);
                compared += u32::from(reason == Some(Reason::Wrong));
            }
            assert!(compared <= 5, "{fault:?} at {at}: {compared} compared");
            gets_in(&login, after(7 * 3_600), &format!("{fault:?} at {at}"));
        }
    }
}

#[test]
fn a_fault_between_any_two_steps_of_a_beginning_leaves_no_second_code() {
    for fault in FAULTS {
        // Three looks, a start, three for the mail, the record.
        for at in 0..8 {
            let (store, login) = fresh();
            store.fail_at(at, fault);
            assert!(begin(&login, Admission::Admitted, START).is_none());
            store.heal();
            gets_in(&login, after(61), &format!("{fault:?} at {at}"));
        }
    }
}

/// A crash after the store took the new code and before the mail left: asking once more helps.
#[test]
fn a_fault_between_any_two_steps_of_a_resend_leaves_one_code_at_most() {
    for fault in FAULTS {
        // Look-up, three looks, three for the mail, the record.
        for at in 0..8 {
            let (store, login) = fresh();
            let mut alice = begin(&login, Admission::Admitted, START).unwrap();
            let first = alice.code().to_owned();
            store.fail_at(at, fault);
            assert!(resend(&login, &alice, after(60)).is_none());
            store.heal();
            // The first code may be void or not; no mail brought another.
            alice.code = resend(&login, &alice, after(400)).unwrap();
            let name = format!("{fault:?} at {at}");
            assert!(alice.code.is_some(), "{name}");
            if first != alice.code() {
                let old = submit(&login, &alice, &first, after(401));
                assert!(!is_proven(old.as_ref()), "{name}");
            }
            let new = submit(&login, &alice, alice.code(), after(402));
            assert!(is_proven(new.as_ref()), "{name}");
        }
    }
}

/// Never delivered: the process ended between the answer to the visitor and the mail.
#[test]
fn a_mail_that_never_left_is_made_good_by_a_resend() {
    let (_, login) = fresh();
    let mut alice = begin(&login, Admission::Admitted, START).unwrap();
    alice.code = None;
    alice.code = resend(&login, &alice, after(60)).unwrap();
    assert!(is_proven(submit(&login, &alice, alice.code(), after(61)).as_ref()));
}

#[test]
fn a_store_that_is_down_signs_nobody_in_and_then_everybody() {
    let (store, login) = fresh();
    let alice = begin(&login, Admission::Admitted, START).unwrap();
    for second in 0..100 {
        store.fail_at(0, Fault::Fails);
        assert!(submit(&login, &alice, alice.code(), after(second)).is_none());
        store.fail_at(0, Fault::Fails);
        assert!(begin(&login, Admission::Admitted, after(second)).is_none());
    }
    store.heal();
    assert!(is_proven(submit(&login, &alice, alice.code(), after(100)).as_ref()));
}

#[test]
fn a_clock_that_jumps_stretches_no_life_and_locks_nobody_out() {
    const HOUR: i64 = 3_600;
    for jump in [HOUR, -HOUR, 10 * 365 * 24 * HOUR, 45, -45, 1, -1, -6, -7] {
        let (_, login) = fresh();
        let alice = begin(&login, Admission::Admitted, START).unwrap();
        let jumped = moved(after(1), jump);
        let verdict = submit(&login, &alice, alice.code(), jumped);
        let may = (-6..599).contains(&jump);
        assert_eq!(is_proven(verdict.as_ref()), may, "jump of {jump} s");
        // And back: what was dead stays dead.
        if !may {
            let verdict = submit(&login, &alice, alice.code(), after(2));
            assert!(!is_proven(verdict.as_ref()), "jump of {jump} s and back");
        }
        gets_in(&login, after(120), &format!("jump of {jump} s"));
    }
}

fn moved(at: Timestamp, secs: i64) -> Timestamp {
    let by = Duration::from_secs(secs.unsigned_abs());
    if secs < 0 { at.minus(by) } else { at.plus(by) }
}

/// The inner code, or `None` where no mail was due; the outer `None` where nobody can tell.
#[expect(clippy::option_option, reason = "three outcomes, told apart in the tests")]
fn resend(login: &Login, visitor: &Visitor, now: Timestamp) -> Option<Option<String>> {
    let resend = Resend::new([203, 0, 113, 7].into(), "saito.example.jp".parse().unwrap());
    let admit = |_: &otp_auth::address::EmailAddress| Admission::Admitted;
    let answer = run(login.resend(&visitor.nonce, &visitor.cookie, &resend, admit, now));
    let dispatch = answer.and_then(Result::ok)?;
    let code = dispatch.as_ref().and_then(|it| it.mail());
    Some(code.map(|mail| mail.code().expose().to_owned()))
}

/// Whatever happened, the owner of the mailbox gets in within four days of trying each six hours.
fn gets_in(login: &Login, from: Timestamp, after_what: &str) {
    let hours = (0..=96).step_by(6).map(|hour| from.plus(Duration::from_secs(hour * 3_600)));
    let got_in = hours.into_iter().any(|now| {
        let visitor = begin(login, Admission::Admitted, now);
        let visitor = visitor.filter(|visitor| visitor.code.is_some());
        visitor.is_some_and(|it| is_proven(submit(login, &it, it.code(), now).as_ref()))
    });
    assert!(got_in, "locked out after {after_what}");
}

#[derive(Debug, Clone)]
enum Event {
    Begin(Admission),
    Resend(usize),
    Submit { flow: usize, code: Typed },
    Clock(i64),
    Fault(usize, Fault),
    Heal,
}

#[derive(Debug, Clone, Copy)]
enum Typed {
    Newest,
    Older,
    Wrong,
    OfAnother,
    Malformed,
}

fn event() -> impl Strategy<Value = Event> {
    let admission = prop_oneof![4 => Just(Admission::Admitted), 1 => Just(Admission::Denied)];
    let typed = prop_oneof![
        5 => Just(Typed::Newest),
        2 => Just(Typed::Older),
        3 => Just(Typed::Wrong),
        1 => Just(Typed::OfAnother),
        1 => Just(Typed::Malformed),
    ];
    let clock = prop_oneof![
        6 => 0..90i64,
        2 => 100..1_000i64,
        1 => -30..0i64,
        1 => Just(-100_000i64),
        1 => Just(86_400i64),
        1 => Just(315_360_000i64),
        1 => Just(-315_360_000i64),
    ];
    let fault = prop_oneof![
        Just(Fault::Fails),
        Just(Fault::LosesAnswer),
        Just(Fault::CrashBefore),
        Just(Fault::CrashAfter),
    ];
    prop_oneof![
        3 => admission.prop_map(Event::Begin),
        2 => any::<usize>().prop_map(Event::Resend),
        8 => (any::<usize>(), typed).prop_map(|(flow, code)| Event::Submit { flow, code }),
        4 => clock.prop_map(Event::Clock),
        1 => (0..9usize, fault).prop_map(|(step, fault)| Event::Fault(step, fault)),
        2 => Just(Event::Heal),
    ]
}

/// What the model knows of a flow.
struct Flow {
    visitor: Visitor,
    issued: Timestamp,
    /// The codes that were mailed, oldest first.
    mailed: Vec<String>,
    accepted: u32,
    compared: u32,
    /// Whether all went well for it so far, so that the model knows the answer to the newest code.
    is_certain: bool,
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn any_sequence_of_events_keeps_the_promises(events in prop::collection::vec(event(), 1..50)) {
        let (store, login) = fresh();
        let mut now = START.plus(Duration::from_secs(400_000_000));
        let mut latest = now;
        let mut flows: Vec<Flow> = Vec::new();
        let mut is_faulty = false;
        for event in events {
            match event {
                Event::Begin(admission) => {
                    if let Some(visitor) = begin(&login, admission, now) {
                        prop_assert!(admission == Admission::Admitted || visitor.code.is_none());
                        let mailed = visitor.code.clone().into_iter().collect();
                        flows.push(Flow {
                            visitor, issued: now, mailed, accepted: 0, compared: 0,
                            is_certain: !is_faulty,
                        });
                    }
                }
                Event::Resend(flow) => {
                    let count = flows.len().max(1);
                    let Some(flow) = flows.get_mut(flow % count) else { continue };
                    // A decoy of a denied address may become real: the policy says yes now.
                    match resend(&login, &flow.visitor, now) {
                        Some(Some(code)) => flow.mailed.push(code),
                        Some(None) => {}
                        None => flow.is_certain = false,
                    }
                }
                Event::Submit { flow, code } => {
                    let count = flows.len().max(1);
                    let index = flow % count;
                    let other = flows.get((index + 1) % count).and_then(|it| it.mailed.last()).cloned();
                    let Some(flow) = flows.get_mut(index) else { continue };
                    let newest = flow.mailed.last().cloned();
                    let wrong = wrong_code(&flow.mailed);
                    let input = match code {
                        Typed::Newest => newest.clone().unwrap_or(wrong),
                        Typed::Older => flow.mailed.first().cloned().unwrap_or(wrong),
                        Typed::OfAnother => other.unwrap_or(wrong),
                        Typed::Wrong => wrong,
                        Typed::Malformed => "48291x".to_owned(),
                    };
                    let verdict = submit(&login, &flow.visitor, &input, now);
                    let reason = verdict.as_ref().and_then(Verdict::refusal).map(Refusal::reason);
                    let proven = is_proven(verdict.as_ref());
                    if verdict.is_none() {
                        flow.is_certain = false;
                    }
                    flow.compared += u32::from(proven || reason == Some(Reason::Wrong));
                    prop_assert!(flow.compared <= 5, "{} comparisons", flow.compared);
                    if proven {
                        flow.accepted += 1;
                        prop_assert!(flow.accepted == 1, "accepted {} times", flow.accepted);
                        prop_assert!(flow.mailed.contains(&input), "accepted what no mail brought");
                        prop_assert!(newest.as_ref() == Some(&input) || !flow.is_certain, "an old code");
                        prop_assert!(now.since(flow.issued) < Duration::from_secs(600), "too old");
                        let early = flow.issued.since(now);
                        prop_assert!(early <= Duration::from_secs(5), "accepted {early:?} before issued");
                    }
                    // Where nothing went wrong, the newest code is refused for a reason only.
                    if flow.is_certain && !proven && newest.as_ref() == Some(&input) {
                        let known = matches!(
                            reason,
                            Some(Reason::Used | Reason::Exhausted | Reason::Expired | Reason::Unknown
                                | Reason::FailureBudget | Reason::ShortCode)
                        );
                        let malformed = matches!(verdict, Some(Verdict::Malformed(_)));
                        prop_assert!(known || malformed, "the newest code was refused: {verdict:?}");
                        if reason == Some(Reason::Used) {
                            prop_assert_eq!(flow.accepted, 1, "used up by nobody");
                        }
                    }
                }
                Event::Clock(secs) => {
                    now = moved(now, secs);
                    latest = latest.max(now);
                }
                Event::Fault(step, fault) => {
                    store.fail_at(step, fault);
                    is_faulty = true;
                }
                Event::Heal => {
                    store.heal();
                    is_faulty = false;
                }
            }
        }
        store.heal();
        gets_in(&login, now, "all that");
        // Also where the clock is right again, which it was at its latest or is now.
        gets_in(&login, latest.plus(Duration::from_secs(400_000)), "all that, later");
    }
}

/// A well-formed code that no mail of the flow brought.
fn wrong_code(mailed: &[String]) -> String {
    let digits = mailed.last().map_or(6, String::len);
    let codes = (0..).map(|number: u32| format!("{number:0digits$}"));
    codes.into_iter().find(|code| !mailed.contains(code)).unwrap_or_default()
}

/// `OTP_AUTH_CASES`, or a few hundred.
fn cases() -> u32 {
    let asked = std::env::var("OTP_AUTH_CASES").ok();
    asked.map_or(500, |asked| asked.parse().expect("a number"))
}
