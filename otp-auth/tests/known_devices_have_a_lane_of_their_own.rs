//! Who has signed in before is not locked out by those who have not.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use otp_auth::challenge::{DecoyReason, DeviceCookie};
use otp_auth::login::{Admission, Event, Login, Observer, Reason, Refusal, Verdict};
use otp_auth::random::SystemRandom;
use otp_auth::store::MemoryStore;
use otp_auth::throttle::{Budget, Rule};
use support::{START, Visitor, after, builder, is_counted, login, sign_in, sign_in_from};

const ALICE: &str = "alice@example.jp";

async fn known_device(login: &Login, address: &str, secs: u64) -> DeviceCookie {
    let now = after(secs);
    let visitor = Visitor::begin(login, address, Admission::Admitted, now).await;
    let Verdict::Proven(proven) = visitor.submit(login, visitor.code(), now).await else {
        panic!("refused")
    };
    login.device_cookie(&proven, now).unwrap()
}

async fn begin_with(login: &Login, device: &str, secs: u64) -> Visitor {
    let begin = sign_in(ALICE, Admission::Admitted).device(Some(device));
    Visitor::of(login.begin(&begin, after(secs)).await.unwrap())
}

fn reason(verdict: &Verdict) -> Option<Reason> {
    verdict.refusal().map(Refusal::reason)
}

/// Strangers from everywhere use up mails and failures of the address.
async fn besiege(login: &Login, secs: u64) {
    for network in 0..40 {
        let begin = sign_in_from(ALICE, Admission::Admitted, &format!("198.18.{network}.1"));
        let now = after(secs + network * 61);
        let visitor = Visitor::of(login.begin(&begin, now).await.unwrap());
        let wrong = if visitor.code.as_deref() == Some("000000") { "000001" } else { "000000" };
        for _ in 0..5 {
            let _verdict = visitor.submit(login, wrong, now).await;
        }
    }
}

#[tokio::test]
async fn a_besieged_address_opens_to_its_own_device_and_to_no_stranger() {
    let login = login();
    let device = known_device(&login, ALICE, 0).await;
    besiege(&login, 3_600).await;
    let now = 3_600 + 40 * 61;
    // No mail is left for strangers, and no failure either.
    let stranger = Visitor::begin(&login, ALICE, Admission::Admitted, after(now)).await;
    assert!(stranger.code.is_none());
    let verdict = stranger.submit(&login, "000000000", after(now)).await;
    assert!(!matches!(verdict, Verdict::Proven(_)));

    let owner = begin_with(&login, &device.expose(), now).await;
    assert_eq!(owner.code().len(), 6, "codes of known devices stay short");
    let wrong = owner.submit(&login, &owner.wrong_code(), after(now)).await;
    assert_eq!(reason(&wrong), Some(Reason::Wrong));
    let right = owner.submit(&login, owner.code(), after(now + 1)).await;
    assert!(matches!(right, Verdict::Proven(_)));
}

/// Flows of five wrong guesses each: how many guesses counted, by the length of the code.
async fn guesses_that_count(login: &Login, device: &str, flows: u64, pause: u64) -> [u32; 2] {
    let mut counted = [0, 0];
    for number in 0..flows {
        let secs = 1_000 + number * pause;
        let begin = sign_in(ALICE, Admission::Admitted).device(Some(device));
        let (begun, dispatch) = login.begin(&begin, after(secs)).await.unwrap();
        let length = begun.code_length.digits();
        let visitor = Visitor::of((begun, dispatch));
        let starts_with_zero = visitor.code.as_deref().is_some_and(|code| code.starts_with('0'));
        let wrong = if starts_with_zero { "1" } else { "0" }.repeat(length);
        for _ in 0..5 {
            let verdict = visitor.submit(login, &wrong, after(secs)).await;
            counted[usize::from(length > 6)] += u32::from(is_counted(&verdict));
        }
    }
    counted
}

/// Somebody who has lost the mailbox keeps cookies of it, as many as they liked.
#[tokio::test]
async fn many_device_cookies_guess_no_more_than_one_and_the_computed_bound_covers_both_lanes() {
    let login = login();
    let mut devices = Vec::new();
    for number in 0..20 {
        devices.push(known_device(&login, ALICE, number * 20).await.expose());
    }
    let mut counted = [0, 0];
    for round in 0..28 * 24 {
        let device = &devices[round % devices.len()];
        let [short, long] = guesses_that_count(&login, device, 1, 0).await;
        counted = [counted[0] + short, counted[1] + long];
    }
    // At one moment: what either lane has at once.
    assert!(counted[0] + counted[1] <= 12, "{counted:?}");
    let [short, long] = guesses_that_count(&login, &devices[0], 28 * 24, 3_600).await;
    assert!((30..=44).contains(&short), "two lanes of 20 and what a month refills: {short}");
    let chance = f64::from(short) * 1e-6 + f64::from(long) * 1e-9;
    assert!(chance < login.risk().of_one_address_in_a_year, "{short} {long}: {chance}");
}

/// What a device in wrong hands uses up is the devices' account. Its owner is a stranger then, not shut out.
#[tokio::test]
async fn a_device_whose_account_is_used_up_is_served_as_a_stranger() {
    let login = login();
    let stolen = known_device(&login, ALICE, 0).await.expose();
    let own = known_device(&login, ALICE, 60).await.expose();
    for minute in 2..4 {
        let begin = sign_in_from(ALICE, Admission::Admitted, "198.51.100.1").device(Some(&stolen));
        let visitor = Visitor::of(login.begin(&begin, after(minute * 60)).await.unwrap());
        for _ in 0..3 {
            let wrong = visitor.submit(&login, &visitor.wrong_code(), after(minute * 60)).await;
            assert_eq!(reason(&wrong), Some(Reason::Wrong));
        }
    }
    let owner = begin_with(&login, &own, 240).await;
    let verdict = owner.submit(&login, owner.code(), after(250)).await;
    assert!(matches!(verdict, Verdict::Proven(_)), "{verdict:?}");
}

/// Their own typing errors alone: the page offers a new code, and that is good.
#[tokio::test]
async fn a_device_whose_account_runs_out_within_a_flow_starts_over() {
    let login = login();
    let device = known_device(&login, ALICE, 0).await.expose();
    let first = begin_with(&login, &device, 100).await;
    for _ in 0..5 {
        let _wrong = first.submit(&login, &first.wrong_code(), after(100)).await;
    }
    let second = begin_with(&login, &device, 200).await;
    let wrong = second.submit(&login, &second.wrong_code(), after(200)).await;
    assert_eq!(reason(&wrong), Some(Reason::Wrong));
    let refused = second.submit(&login, second.code(), after(200)).await;
    assert!(matches!(refused, Verdict::StartOver(_)), "{refused:?}");
    assert_eq!(reason(&refused), Some(Reason::FailureBudget));
    assert!(second.resend(&login, Admission::Admitted, after(300)).await.is_none());
    let third = begin_with(&login, &device, 300).await;
    let right = third.submit(&login, third.code(), after(300)).await;
    assert!(matches!(right, Verdict::Proven(_)), "{right:?}");
}

/// An office shares one network: what one of its devices begins is no matter of the others.
#[tokio::test]
async fn known_devices_of_one_network_do_not_share_their_starts() {
    let login = login();
    let mut devices = Vec::new();
    for person in 0..70 {
        let address = format!("user{person}@example.jp");
        let begin = sign_in_from(&address, Admission::Admitted, &format!("10.0.{person}.1"));
        let visitor = Visitor::of(login.begin(&begin, START).await.unwrap());
        let Verdict::Proven(proven) = visitor.submit(&login, visitor.code(), START).await else {
            panic!("refused")
        };
        devices.push((address, login.device_cookie(&proven, START).unwrap().expose()));
    }
    let begin = |(address, device): &(String, String)| {
        sign_in(address, Admission::Admitted).device(Some(device))
    };
    for _ in 0..100 {
        let (_, _) = login.begin(&begin(&devices[0]), after(86_400)).await.unwrap();
    }
    for device in &devices[1..] {
        let (_, dispatch) = login.begin(&begin(device), after(86_400)).await.unwrap();
        assert!(dispatch.mail().is_some());
    }
}

/// Counts the flows of known devices.
#[derive(Debug, Default)]
struct Flows(AtomicUsize);

impl Observer for Flows {
    fn observe(&self, event: &Event<'_>) {
        if matches!(event, Event::Asked { is_known_device: true, .. }) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A store that is full keeps room for known devices, so one mailbox must not fill that room, from wherever and
/// with as many cookies as it likes.
#[tokio::test]
async fn one_address_begins_few_flows_as_a_known_device() {
    let flows = Arc::new(Flows::default());
    let random = Arc::new(SystemRandom::new());
    let wide = Budget::try_new(vec![Rule::try_new(60_000, DeviceCookie::LIFETIME).unwrap()]);
    let login = builder(Arc::new(MemoryStore::new()), random).mail_budget(wide.unwrap());
    let login = login.observer(flows.clone()).build().unwrap();
    let device = known_device(&login, ALICE, 0).await.expose();
    for number in 0..2_000u32 {
        let client = format!("10.{}.{}.1", number / 256, number % 256);
        let begin = sign_in_from(ALICE, Admission::Admitted, &client).device(Some(&device));
        let (_, _) = login.begin(&begin, after(100)).await.unwrap();
    }
    assert_eq!(flows.0.load(Ordering::Relaxed), 20);
}

#[tokio::test]
async fn a_cookie_of_another_address_or_none_makes_a_stranger() {
    let login = login();
    let bobs = known_device(&login, "bob@example.jp", 0).await.expose();
    let alices = known_device(&login, ALICE, 0).await;
    besiege(&login, 3_600).await;
    let now = 3_600 + 40 * 61;
    for device in [bobs.as_str(), "", "A", &"A".repeat(54), &"A".repeat(1_000_000)] {
        let visitor = begin_with(&login, device, now).await;
        assert!(visitor.code.is_none(), "{}", &device[..device.len().min(60)]);
    }
    // An old one as well: thirty days and a moment.
    let old = after(30 * 86_400);
    besiege(&login, 30 * 86_400 - 40 * 61).await;
    let begin = sign_in(ALICE, Admission::Admitted).device(Some(alices.expose()));
    let (_, dispatch) = login.begin(&begin, old).await.unwrap();
    assert_eq!(dispatch.decoy_reason(), Some(DecoyReason::MailBudget), "a stranger's");
}

#[tokio::test]
async fn the_lane_cannot_be_changed_on_the_way() {
    let login = login();
    let device = known_device(&login, ALICE, 0).await.expose();
    let owner = begin_with(&login, &device, 100).await;
    let stranger = Visitor::begin(&login, ALICE, Admission::Admitted, after(100)).await;
    // The stranger's nonce with the device's flow cookie.
    let mixed = Visitor { nonce: stranger.nonce, cookie: owner.cookie, code: None };
    let verdict = mixed.submit(&login, "123456", after(101)).await;
    assert_eq!(reason(&verdict), Some(Reason::OtherBrowser));
}
