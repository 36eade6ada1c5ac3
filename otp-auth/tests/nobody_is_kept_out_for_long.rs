//! What strangers do without end keeps nobody out: the owner signs in while it goes on.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use std::sync::Arc;

use otp_auth::challenge::DecoyReason;
use otp_auth::code::CodeLength;
use otp_auth::login::{Admission, Login, Reason, Refusal, Verdict};
use otp_auth::random::SystemRandom;
use otp_auth::store::{MemoryStore, MemoryStoreLimits};
use support::{START, Visitor, after, builder, login, login_with, sign_in, sign_in_from};

const ALICE: &str = "alice@example.jp";

const DAY: u64 = 86_400;

/// The owner, on a device that is new each time, once: whether they got in.
async fn owner_gets_in(login: &Login, client: &str, secs: u64) -> bool {
    let begin = sign_in_from(ALICE, Admission::Admitted, client);
    let owner = Visitor::of(login.begin(&begin, after(secs)).await.unwrap());
    let Some(code) = &owner.code else { return false };
    matches!(owner.submit(login, code, after(secs + 20)).await, Verdict::Proven(_))
}

/// Asks each minute and guesses at whatever it opens; what an attacker does who wants the owner out.
async fn besiege(login: &Login, client: &str, secs: u64) {
    let begin = sign_in_from(ALICE, Admission::Admitted, client);
    let (begun, dispatch) = login.begin(&begin, after(secs)).await.unwrap();
    let digits = begun.code_length.digits();
    let visitor = Visitor::of((begun, dispatch));
    let wrong =
        if visitor.code.as_deref().is_some_and(|code| code.starts_with('0')) { "1" } else { "0" };
    for _ in 0..5 {
        let _verdict = visitor.submit(login, &wrong.repeat(digits), after(secs)).await;
    }
}

#[tokio::test]
async fn one_client_that_asks_each_minute_for_a_month_does_not_keep_a_new_device_out() {
    let login = login();
    let (mut tried, mut got_in) = (0, 0);
    for minute in 0..30 * 24 * 60 {
        besiege(&login, "198.51.100.1", minute * 60).await;
        // The owner tries each hour of the working day.
        if minute % 60 == 30 && minute / 60 % 24 < 9 {
            tried += 1;
            got_in += u32::from(owner_gets_in(&login, "203.0.113.7", minute * 60 + 30).await);
        }
    }
    assert_eq!((tried, got_in), (270, 270));
}

#[tokio::test]
async fn guesses_that_cannot_win_take_nothing_from_those_that_can() {
    let login = login();
    // Three mails, which is what the network may have of Alice's, and then flows without.
    for minute in 0..40 {
        besiege(&login, "198.51.100.1", minute * 60).await;
    }
    let begin = sign_in_from(ALICE, Admission::Admitted, "198.51.100.1");
    let (_, dispatch) = login.begin(&begin, after(2_400)).await.unwrap();
    assert_eq!(dispatch.decoy_reason(), Some(DecoyReason::MailShare));
    let visitor = Visitor::of(login.begin(&begin, after(2_460)).await.unwrap());
    for _ in 0..5 {
        let verdict = visitor.submit(&login, "000000", after(2_460)).await;
        let reason = verdict.refusal().map(Refusal::reason);
        assert_eq!(reason, Some(Reason::Decoy(DecoyReason::MailShare)), "not over the budget");
    }
    assert!(owner_gets_in(&login, "203.0.113.7", 2_500).await);
}

#[tokio::test]
async fn a_network_has_its_share_of_mails_and_colleagues_elsewhere_theirs() {
    let login = login();
    let (mut mails, mut last) = (0, None);
    for number in 0..25 {
        let address = format!("user{number}@example.jp");
        let begin = sign_in_from(&address, Admission::Admitted, "198.51.100.1");
        let (_, dispatch) = login.begin(&begin, after(number)).await.unwrap();
        mails += usize::from(dispatch.mail().is_some());
        last = dispatch.decoy_reason();
    }
    assert_eq!((mails, last), (15, Some(DecoyReason::NetworkMails)));
    assert!(owner_gets_in(&login, "203.0.113.7", 30).await);
}

/// Fifty people of one office on new devices within ten minutes' worth of starts: whoever types the code in
/// gives the mail back.
#[tokio::test]
async fn an_office_that_signs_in_gives_its_mails_back() {
    let login = login();
    for number in 0..50 {
        let (address, now) = (format!("user{number}@example.jp"), after(number * 20));
        let begin = sign_in_from(&address, Admission::Admitted, "203.0.113.7");
        let visitor = Visitor::of(login.begin(&begin, now).await.unwrap());
        let verdict = visitor.submit(&login, visitor.code(), now).await;
        assert!(matches!(verdict, Verdict::Proven(_)), "person {number}");
    }
}

/// And one person who keeps no cookies signs in twenty times a day.
#[tokio::test]
async fn a_person_without_cookies_is_not_out_of_mails() {
    let login = login();
    for number in 0..20 {
        assert!(owner_gets_in(&login, "203.0.113.7", number * 1_200).await, "{number}");
    }
}

#[tokio::test]
async fn a_memory_store_that_strangers_have_filled_still_serves_known_devices() {
    let limits = MemoryStoreLimits::default().budgets(1_600).challenges(160);
    let store = Arc::new(MemoryStore::with_limits(limits));
    let login = login_with(store.clone());
    let alice = Visitor::begin(&login, ALICE, Admission::Admitted, START).await;
    let Verdict::Proven(proven) = alice.submit(&login, alice.code(), START).await else {
        panic!("refused")
    };
    let device = login.device_cookie(&proven, START).unwrap().expose();
    let mut refused = 0;
    for number in 0..20_000u32 {
        let address = format!("user{number}@evil.test");
        let client = format!("10.{}.{}.1", number / 256, number % 256);
        let begin = sign_in_from(&address, Admission::Denied, &client);
        refused += u32::from(login.begin(&begin, after(1)).await.is_err());
    }
    assert!(refused > 0 && store.budget_count() >= 1_600, "{refused}, {}", store.budget_count());
    let begin = sign_in(ALICE, Admission::Admitted).device(Some(device));
    let alice = Visitor::of(login.begin(&begin, after(2)).await.unwrap());
    assert!(matches!(alice.submit(&login, alice.code(), after(3)).await, Verdict::Proven(_)));
}

/// What `MemoryStoreLimits::budgets` says.
#[tokio::test]
async fn a_network_brings_no_more_budgets_into_use_than_is_said() {
    for (most, clients) in [(200, 1), (2_000, 256)] {
        let store = Arc::new(MemoryStore::new());
        // Failures at six digits are bounded for the deployment, and last longer.
        let login = builder(store.clone(), Arc::new(SystemRandom::new()));
        let login = login.code_length(CodeLength::Nine).build().unwrap();
        let mut found = 0;
        for number in 0..2 * DAY / 10 {
            let address = format!("user{number}@example.jp");
            let client = match clients {
                1 => "198.51.100.1".to_owned(),
                _ => format!("2001:db8:1:{:x}::1", (number % 256) << 8),
            };
            let begin = sign_in_from(&address, Admission::Admitted, &client);
            let (begun, dispatch) = login.begin(&begin, after(number * 10)).await.unwrap();
            let digits = begun.code_length.digits();
            let visitor = Visitor::of((begun, dispatch));
            for _ in 0..5 {
                let wrong = if visitor.code.as_deref().is_some_and(|c| c.starts_with('0')) {
                    "1"
                } else {
                    "0"
                };
                let _verdict =
                    visitor.submit(&login, &wrong.repeat(digits), after(number * 10)).await;
            }
            found = found.max(store.budget_count());
        }
        assert!(found <= most && found > most / 2, "{found} of {most}");
        println!("{found} from {clients} networks");
    }
}
