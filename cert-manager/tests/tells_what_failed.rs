//! Whoever looks into the store learns why there is no certificate, or no new one, and when it is tried again.
#![cfg(all(any(feature = "ring", feature = "aws-lc-rs"), feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]

#[path = "support/faults.rs"]
mod faults;

use std::{sync::Arc, time::Duration};

use cert_manager::{
    Failure, FailureClass, Manager, PrivateCa,
    manager::{Ledger, Listed},
    storage::MemoryStore,
};
use faults::{Clock, Faulty};
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn failures_are_told_from_the_store_until_they_end() {
    let clock = Clock::new();
    let ca = Arc::new(PrivateCa::generate("Test CA", clock.now()).unwrap());
    let (issuer, store) = (Faulty::new(ca), Arc::new(MemoryStore::new()));
    let ledger = Ledger::new(store.clone());
    let builder = Manager::builder().issuer(issuer.clone()).storage(store);
    let manager = builder.name("a.jp").clock(clock.read()).start().await.unwrap();

    // About one name, and about the authority as a whole.
    for (class, text) in [
        (FailureClass::Validation, "nobody answers at a stranger's door"),
        (FailureClass::Network, "no route to the authority"),
    ] {
        issuer.fail_with(Some(Failure::because(class, "get a certificate", text)));
        let name = format!("{}.jp", text.len());
        manager.add([&name]).unwrap();
        sleep(Duration::from_secs(2)).await;
        let Listed { missing, .. } = ledger.list().await.unwrap();
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert_eq!(missing[0].names[0].as_str(), name);
        assert!(missing[0].error.contains(text), "{missing:?}");
        assert_eq!(missing[0].issuer, issuer.id());
        assert!(missing[0].at <= clock.now() && missing[0].retry_at > missing[0].at);
        manager.remove(&name).unwrap();
        issuer.fail_with(None);
        manager.add([&name]).unwrap();
        sleep(Duration::from_secs(7200)).await;
        assert_eq!(ledger.list().await.unwrap().missing, []);
        manager.remove(&name).unwrap();
    }

    // What serves goes on, and says what keeps it from being renewed.
    let before = ledger.list().await.unwrap().certificates;
    assert!(before.iter().all(|stored| stored.failed.is_none()), "{before:?}");
    issuer.fail_with(Some(Failure::because(FailureClass::Request, "order", "not today")));
    assert!(ledger.renew("a.jp").await.unwrap());
    sleep(Duration::from_secs(90)).await;
    let stored = ledger.list().await.unwrap().certificates;
    let mut all = stored.into_iter();
    let stored = all.find(|it| it.names[0].as_str() == "a.jp").unwrap();
    assert!(stored.is_wished);
    let failed = stored.failed.unwrap();
    assert!(failed.error.contains("not today") && failed.failures >= 1, "{failed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wish_is_seen_as_soon_as_the_manager_looks() {
    let clock = Clock::new();
    let ca = Arc::new(PrivateCa::generate("Test CA", clock.now()).unwrap());
    let store = Arc::new(MemoryStore::new());
    let manager = Manager::builder().private_ca(ca).storage(store.clone()).name("a.jp");
    let manager = manager.clock(clock.read()).look_every(Duration::from_secs(2));
    let manager = manager.start().await.unwrap();
    sleep(Duration::from_secs(5)).await;
    let serial = || manager.resolver().get(Some("a.jp")).unwrap().serial().to_string();
    let before = serial();
    assert!(Ledger::new(store).renew("a.jp").await.unwrap());
    sleep(Duration::from_secs(3)).await;
    assert_ne!(serial(), before);
}
