//! Life of a code, in simulated time.

mod support;

use std::sync::Arc;

use otp_auth::address::EmailAddress;
use otp_auth::login::{Admission, Reason, Resend, Verdict};
use otp_auth::store::MemoryStore;
use support::{Recording, START, Visitor, after, login, login_with};

const ALICE: &str = "alice@example.jp";

fn reason(verdict: &Verdict) -> Reason {
    verdict.refusal().unwrap_or_else(|| panic!("{verdict:?} is no refusal")).reason()
}

#[tokio::test]
async fn the_right_code_proves_the_address_once() {
    let login = login();
    let alice = Visitor::begin(&login, "Alice@example.jp", Admission::Admitted, START).await;
    let Verdict::Proven(proven) = alice.submit(&login, alice.code(), after(1)).await else {
        panic!("refused")
    };
    assert_eq!(proven.address().key(), ALICE);
    assert_eq!(proven.authenticated_at(), after(1));
    assert_eq!(proven.challenge().to_string(), alice.nonce);
    let second = alice.submit(&login, alice.code(), after(1)).await;
    assert!(matches!(second, Verdict::StartOver(_)));
    assert_eq!(reason(&second), Reason::Used);
}

#[tokio::test]
async fn it_ends_at_exactly_ten_minutes() {
    let login = login();
    let alice = Visitor::begin(&login, ALICE, Admission::Admitted, START).await;
    let bob = Visitor::begin(&login, "bob@example.jp", Admission::Admitted, START).await;
    let last_moment = after(600).minus(std::time::Duration::from_millis(1));
    assert!(matches!(alice.submit(&login, alice.code(), last_moment).await, Verdict::Proven(_)));
    assert_eq!(reason(&bob.submit(&login, bob.code(), after(600)).await), Reason::Expired);
    assert_eq!(reason(&bob.submit(&login, bob.code(), after(10_000)).await), Reason::Unknown);
}

#[tokio::test]
async fn five_wrong_tries_end_it() {
    let login = login();
    let alice = Visitor::begin(&login, ALICE, Admission::Admitted, START).await;
    let wrong = alice.wrong_code();
    for _ in 0..4 {
        let verdict = alice.submit(&login, &wrong, after(1)).await;
        assert!(matches!(verdict, Verdict::Again(_)));
        assert_eq!(reason(&verdict), Reason::Wrong);
    }
    let fifth = alice.submit(&login, &wrong, after(1)).await;
    assert!(matches!(fifth, Verdict::StartOver(_)));
    let right = alice.submit(&login, alice.code(), after(1)).await;
    assert!(matches!(right, Verdict::StartOver(_)));
    assert_eq!(reason(&right), Reason::Exhausted);
}

#[tokio::test]
async fn malformed_input_spends_no_try_and_asks_no_store() {
    let store = Arc::new(Recording::default());
    let login = login_with(store.clone());
    let alice = Visitor::begin(&login, ALICE, Admission::Admitted, START).await;
    store.take_steps();
    for input in ["12a", "48291", "", "4829130", "482913x"] {
        let verdict = alice.submit(&login, input, after(1)).await;
        assert!(matches!(verdict, Verdict::Malformed(_)), "{input}");
    }
    assert!(store.take_steps().is_empty());
    let spaced = format!(" {}-{} ", &alice.code()[..3], &alice.code()[3..]);
    assert!(matches!(alice.submit(&login, &spaced, after(1)).await, Verdict::Proven(_)));
}

#[tokio::test]
async fn resending_keeps_count_and_end() {
    let login = login();
    let mut alice = Visitor::begin(&login, ALICE, Admission::Admitted, START).await;
    let first = alice.code().to_owned();
    for _ in 0..3 {
        assert!(matches!(
            alice.submit(&login, &alice.wrong_code(), after(1)).await,
            Verdict::Again(_)
        ));
    }

    // Within the cool-down nothing goes out and the first code stays good.
    let early = alice.resend(&login, Admission::Admitted, after(59)).await.unwrap();
    assert!(early.is_decoy());
    assert_eq!(early.describe(), "no code sent to alice@example.jp: it has had its share of mails");

    let resent = alice.resend(&login, Admission::Admitted, after(60)).await.unwrap();
    alice.read(&resent);
    if alice.code() != first {
        // Fourth try: the first code is void.
        assert_eq!(reason(&alice.submit(&login, &first, after(61)).await), Reason::Wrong);
    }
    // The last try, not another five.
    let verdict = alice.submit(&login, &alice.wrong_code(), after(62)).await;
    let verdict = match verdict {
        Verdict::Again(_) => alice.submit(&login, &alice.wrong_code(), after(62)).await,
        over => over,
    };
    assert!(matches!(verdict, Verdict::StartOver(_)));
    assert_eq!(reason(&alice.submit(&login, alice.code(), after(62)).await), Reason::Exhausted);

    let mut bob = Visitor::begin(&login, "bob@example.jp", Admission::Admitted, START).await;
    let resent = bob.resend(&login, Admission::Admitted, after(539)).await;
    bob.read(&resent.unwrap());
    assert_eq!(reason(&bob.submit(&login, bob.code(), after(600)).await), Reason::Expired);
}

/// Each of these would be a mail whose code opens nothing.
#[tokio::test]
async fn no_code_is_sent_that_could_not_be_used() {
    let login = login();
    let tries_spent = Visitor::begin(&login, ALICE, Admission::Admitted, START).await;
    for _ in 0..5 {
        let _verdict = tries_spent.submit(&login, &tries_spent.wrong_code(), after(1)).await;
    }
    assert!(tries_spent.resend(&login, Admission::Admitted, after(100)).await.is_none());

    let ending = Visitor::begin(&login, "bob@example.jp", Admission::Admitted, START).await;
    assert!(ending.resend(&login, Admission::Admitted, after(540)).await.is_none());
}

#[tokio::test]
async fn the_first_code_stays_good_when_a_resend_is_over_budget() {
    let login = login();
    let alice = Visitor::begin(&login, ALICE, Admission::Admitted, START).await;
    let early = alice.resend(&login, Admission::Admitted, after(5)).await.unwrap();
    assert!(early.mail().is_none());
    assert!(matches!(alice.submit(&login, alice.code(), after(6)).await, Verdict::Proven(_)));
}

/// A form field must not lend one address the admission of another.
#[tokio::test]
async fn a_resend_asks_the_policy_about_the_address_of_the_flow() {
    let login = login();
    let bob = Visitor::begin(&login, "Bob@evil.test", Admission::Denied, START).await;
    let resend = Resend::new("203.0.113.7".parse().unwrap(), "saito.example.jp".parse().unwrap());
    let policy = |address: &EmailAddress| {
        assert_eq!(address.key(), "bob@evil.test");
        Admission::Denied
    };
    let dispatch = login.resend(&bob.nonce, &bob.cookie, &resend, policy, after(60)).await;
    let dispatch = dispatch.unwrap().unwrap();
    assert!(dispatch.mail().is_none());
    assert_eq!(dispatch.to().key(), "bob@evil.test");

    // The policy has changed in between: the flow follows it.
    let mut bob = bob;
    let dispatch = bob.resend(&login, Admission::Admitted, after(120)).await.unwrap();
    bob.read(&dispatch);
    assert!(matches!(bob.submit(&login, bob.code(), after(121)).await, Verdict::Proven(_)));
}

#[tokio::test]
async fn a_code_works_in_its_own_browser_only() {
    let store = Arc::new(Recording::default());
    let login = login_with(store.clone());
    let alice = Visitor::begin(&login, ALICE, Admission::Admitted, START).await;
    let mallory = Visitor::begin(&login, "mallory@example.jp", Admission::Admitted, START).await;
    store.take_steps();
    let forged = Visitor { cookie: "A".repeat(76), nonce: alice.nonce.clone(), code: None };
    let foreign =
        Visitor { cookie: mallory.cookie.clone(), nonce: alice.nonce.clone(), code: None };
    let missing = Visitor { cookie: String::new(), nonce: alice.nonce.clone(), code: None };
    for thief in [forged, foreign, missing] {
        for _ in 0..10 {
            let verdict = thief.submit(&login, alice.code(), after(1)).await;
            assert_eq!(reason(&verdict), Reason::OtherBrowser);
        }
        assert!(thief.resend(&login, Admission::Admitted, after(61)).await.is_none());
    }
    assert!(store.take_steps().is_empty(), "strangers do not reach the store");
    // Alice's code typed into Mallory's flow is a wrong code there.
    if alice.code() != mallory.code() {
        assert_eq!(reason(&mallory.submit(&login, alice.code(), after(2)).await), Reason::Wrong);
    }
    assert!(matches!(alice.submit(&login, alice.code(), after(2)).await, Verdict::Proven(_)));
}

#[tokio::test]
async fn cookies_of_another_pepper_do_not_reach_the_store() {
    let store = Arc::new(Recording::default());
    let (ours, theirs) = (login_with(store.clone()), login_with(Arc::new(MemoryStore::new())));
    let alice = Visitor::begin(&theirs, ALICE, Admission::Admitted, START).await;
    assert_eq!(reason(&alice.submit(&ours, alice.code(), after(1)).await), Reason::OtherBrowser);
    assert!(store.take_steps().is_empty());
}

#[tokio::test]
async fn a_clock_that_steps_back_revives_nothing() {
    let login = login();
    let alice = Visitor::begin(&login, ALICE, Admission::Admitted, START).await;
    // Seen as expired, then the clock goes back a little, then a lot.
    assert_eq!(reason(&alice.submit(&login, alice.code(), after(602)).await), Reason::Expired);
    for back in [599, 598, 300, 1] {
        let verdict = alice.submit(&login, alice.code(), after(back)).await;
        assert!(matches!(verdict, Verdict::StartOver(_)), "{back}: {verdict:?}");
    }
    // Not yet expired, and the clock goes back: nothing lives longer than ten minutes.
    let bob = Visitor::begin(&login, "bob@example.jp", Admission::Admitted, after(2_000)).await;
    let verdict = bob.submit(&login, bob.code(), after(1_000)).await;
    assert!(matches!(verdict, Verdict::StartOver(_)));
    let verdict = bob.submit(&login, bob.code(), after(2_001)).await;
    assert!(matches!(verdict, Verdict::StartOver(_)), "closed by the step");
    // Ten years ahead and back: new flows work.
    let far = after(10 * 365 * 86_400);
    let _carol = Visitor::begin(&login, "carol@example.jp", Admission::Admitted, far).await;
    for step in 0..3 {
        let now = after(5_000 + step);
        let dave = Visitor::begin(&login, "dave@example.jp", Admission::Admitted, now).await;
        if dave.code.is_some() {
            assert!(matches!(dave.submit(&login, dave.code(), now).await, Verdict::Proven(_)));
        }
    }
}

#[tokio::test]
async fn a_lost_answer_of_the_store_signs_nobody_in() {
    for failing in ["take", "reserve", "consume"] {
        let store = Arc::new(Recording::default());
        let login = login_with(store.clone());
        let alice = Visitor::begin(&login, ALICE, Admission::Admitted, START).await;
        *store.fails.lock().unwrap() = Some(failing);
        let answer = login.submit(&alice.nonce, &alice.cookie, alice.code(), after(1)).await;
        assert!(answer.unwrap_err().is_store_unavailable(), "{failing}");
        *store.fails.lock().unwrap() = None;
        let second = alice.submit(&login, alice.code(), after(2)).await;
        // `consume` happened although its answer was lost: the code is used up.
        assert_eq!(matches!(second, Verdict::Proven(_)), failing != "consume", "{failing}");
    }
    let store = Arc::new(Recording::default());
    let login = login_with(store.clone());
    let alice = Visitor::begin(&login, ALICE, Admission::Admitted, START).await;
    *store.fails.lock().unwrap() = Some("give_back");
    let verdict = alice.submit(&login, alice.code(), after(1)).await;
    assert!(matches!(verdict, Verdict::Proven(_)), "an unpaid refund is no refusal");
}
