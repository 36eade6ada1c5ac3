//! Who has signed in before is not locked out by those who have not.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use otp_auth::challenge::{DecoyReason, DeviceCookie};
use otp_auth::login::{Admission, Login, Reason, Refusal, Verdict};
use support::{START, Visitor, after, is_counted, login, sign_in, sign_in_from};

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

#[tokio::test]
async fn a_device_has_budgets_too() {
    let login = login();
    let device = known_device(&login, ALICE, 0).await.expose();
    let other = known_device(&login, ALICE, 60).await.expose();
    let mut compared = 0;
    for minute in 2..=20 {
        let visitor = begin_with(&login, &device, minute * 61).await;
        for _ in 0..5 {
            let wrong = visitor.submit(&login, "999999", after(minute * 61)).await;
            compared += usize::from(is_counted(&wrong));
        }
    }
    assert!((5..=10).contains(&compared), "{compared} within 20 minutes");
    // Another device of the same address is not concerned.
    let owner = begin_with(&login, &other, 3 * 3_600).await;
    assert!(matches!(owner.submit(&login, owner.code(), after(10_801)).await, Verdict::Proven(_)));
}

/// 60 flows in ten minutes instead of 30, counted apart.
#[tokio::test]
async fn a_busy_office_of_known_devices_begins_more_flows() {
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
    let mut mails = 0;
    for (address, device) in &devices {
        let begin = sign_in(address, Admission::Admitted).device(Some(device));
        let (_, dispatch) = login.begin(&begin, after(86_400)).await.unwrap();
        mails += usize::from(dispatch.mail().is_some());
    }
    assert_eq!(mails, 60);
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
