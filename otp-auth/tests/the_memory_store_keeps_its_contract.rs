//! Bounds and atomic steps of the store in memory, seen through a login.

mod support;

use std::sync::Arc;

use otp_auth::login::{Admission, Verdict};
use otp_auth::store::{MemoryStore, MemoryStoreLimits, Store};
use support::{START, Visitor, after, login_with, sign_in_from};

#[tokio::test]
async fn a_full_store_refuses_new_flows_and_keeps_open_ones() {
    let limits = MemoryStoreLimits::default().challenges(16).budgets(10_000);
    let store = Arc::new(MemoryStore::with_limits(limits));
    let login = login_with(store.clone());
    let alice = Visitor::begin(&login, "alice@example.jp", Admission::Admitted, START).await;
    let mut refused = 0;
    for number in 0..200 {
        let (address, client) = (format!("u{number}@example.jp"), format!("10.0.{number}.1"));
        let request = sign_in_from(&address, Admission::Admitted, &client);
        if let Err(error) = login.begin(&request, START).await {
            assert!(error.is_store_full() && error.is_retryable());
            refused += 1;
        }
    }
    assert!(refused >= 185, "{refused}");
    assert!(store.challenge_count() <= 16);
    assert!(matches!(alice.submit(&login, alice.code(), START).await, Verdict::Proven(_)));
    // Ten minutes later (and one of grace) there is room again.
    for number in 0..8 {
        let request =
            sign_in_from("bob@example.jp", Admission::Admitted, &format!("10.1.{number}.1"));
        let _begun = login.begin(&request, after(700)).await;
    }
    assert!(store.challenge_count() <= 16);
}

#[tokio::test]
async fn a_full_table_of_budgets_fails_closed() {
    let limits = MemoryStoreLimits::default().budgets(16);
    let store = Arc::new(MemoryStore::with_limits(limits));
    let login = login_with(store.clone());
    let mut mails = 0;
    for number in 0..500 {
        let (address, client) =
            (format!("u{number}@example.jp"), format!("10.{}.{}.1", number / 250, number % 250));
        let request = sign_in_from(&address, Admission::Admitted, &client);
        let (_, dispatch) = login.begin(&request, START).await.unwrap();
        mails += usize::from(dispatch.mail().is_some());
    }
    assert!(store.budget_count() <= 16);
    assert!(mails <= 16, "{mails}");
}

#[tokio::test]
async fn budgets_that_are_full_again_take_no_room() {
    let store = Arc::new(MemoryStore::new());
    let login = login_with(store.clone());
    for number in 0..1_000u64 {
        let address = format!("u{number}@example.jp");
        let request = sign_in_from(&address, Admission::Admitted, "203.0.113.9");
        let _begun = login.begin(&request, after(number * 86_400)).await.unwrap();
    }
    assert!(store.budget_count() < 100, "{}", store.budget_count());
    assert!(store.challenge_count() < 100, "{}", store.challenge_count());
}

#[tokio::test]
async fn it_serves_as_a_trait_object_across_threads() {
    fn shareable<T: Send + Sync + 'static>(_: &T) {}
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    shareable(&store);
    let login = Arc::new(login_with(store));
    shareable(&login);
    let task = tokio::spawn(async move {
        let alice = Visitor::begin(&login, "alice@example.jp", Admission::Admitted, START).await;
        matches!(alice.submit(&login, alice.code(), START).await, Verdict::Proven(_))
    });
    assert!(task.await.unwrap());
}
