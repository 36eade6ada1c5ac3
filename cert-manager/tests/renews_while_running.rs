//! The manager issues what is missing, renews in time, and survives suspended machines, wrong clocks, failing issuers and
//! failing stores.
#![cfg(all(any(feature = "ring", feature = "aws-lc-rs"), feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]

#[path = "support/faults.rs"]
mod faults;
mod support;

use std::{sync::Arc, time::Duration};

use cert_manager::{
    Failure, FailureClass, Manager, PrivateCa, Resolver,
    lifecycle::Health,
    manager::{Event, Ledger, NextStep, PrivateIssuer, SelfSigned, Source},
    storage::{DirectoryStore, MemoryStore, Storage},
};
use faults::{Clock, Faulty, FlakyStore};
use support::{DAY, Pair, client, server, start};
use tokio::time::sleep;

const MINUTE: Duration = Duration::from_secs(60);

fn ca() -> Arc<PrivateCa> {
    Arc::new(PrivateCa::generate("Test CA", start()).unwrap())
}

fn serial(manager: &Manager, name: &str) -> String {
    manager.resolver().get(Some(name)).unwrap().serial().to_string()
}

#[tokio::test(start_paused = true)]
async fn a_month_of_weekly_certificates() {
    let (ca, clock) = (ca(), Clock::new());
    let manager =
        Manager::builder().private_ca(ca.clone()).name("a.jp").clock(clock.read()).start().await;
    let manager = manager.unwrap();
    let mut serials = vec![serial(&manager, "a.jp")];
    for hour in 0..30 * 24 {
        sleep(Duration::from_secs(3600)).await;
        let leaf = manager.resolver().get(Some("a.jp")).unwrap();
        assert!(!leaf.is_expired(clock.now()), "hour {hour}");
        let server = server(manager.resolver());
        Pair::handshake(&client(&ca, clock.now()), &server, "a.jp").unwrap();
        if serials.last() != Some(&leaf.serial().to_string()) {
            serials.push(leaf.serial().to_string());
        }
    }
    // One at the start, and one each three and a half days or slightly sooner.
    assert!((9..=11).contains(&serials.len()), "{}", serials.len());
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_suspended_machine_renews_within_a_minute_of_waking() {
    let clock = Clock::new();
    let manager = Manager::builder().private_ca(ca()).name("a.jp").clock(clock.read());
    let manager = manager.start().await.unwrap();
    let before = serial(&manager, "a.jp");
    sleep(10 * MINUTE).await;
    // The wall clock jumps, the timers do not notice.
    clock.jump(20 * DAY);
    assert!(manager.resolver().get(Some("a.jp")).unwrap().is_expired(clock.now()));
    sleep(MINUTE + Duration::from_secs(1)).await;
    assert_ne!(serial(&manager, "a.jp"), before);
    assert_eq!(manager.snapshot().counters.clock_jumps, 1);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_falls_back_causes_one_warning_and_no_renewal() {
    let clock = Clock::new();
    let manager = Manager::builder().private_ca(ca()).name("a.jp").clock(clock.read());
    let manager = manager.start().await.unwrap();
    let before = serial(&manager, "a.jp");
    let mut events = manager.events();
    clock.fall_back(2 * DAY);
    sleep(DAY).await;
    assert_eq!(serial(&manager, "a.jp"), before, "before its first second: nothing is issued");
    assert!(matches!(events.next().await, Some(Event::ClockJumped { is_forwards: false, .. })));
    assert_eq!(manager.snapshot().counters.clock_jumps, 1);
    assert_eq!(manager.snapshot().certificates[0].health, Health::NotYetValid);
    sleep(7 * DAY).await;
    assert_ne!(serial(&manager, "a.jp"), before, "later it is renewed as ever");
}

#[tokio::test(start_paused = true)]
async fn names_come_and_go_while_it_runs() {
    let clock = Clock::new();
    let manager = Manager::builder().private_ca(ca()).name("a.jp").clock(clock.read());
    let manager = manager.start().await.unwrap();
    manager.add(["b.jp", "*.b.jp"]).unwrap();
    assert!(manager.add(["c.jp", "B.jp."]).unwrap_err().is_name_conflict());
    assert!(manager.add(["c jp"]).unwrap_err().is_name());
    sleep(Duration::from_secs(1)).await;
    assert!(manager.resolver().knows(Some("x.b.jp")), "at once, not at the next look");
    assert!(!manager.resolver().knows(Some("c.jp")));
    assert!(manager.remove("*.b.jp").unwrap());
    assert!(!manager.remove("*.b.jp").unwrap());
    assert!(!manager.resolver().knows(Some("b.jp")));
    assert!(manager.resolver().knows(Some("a.jp")));
    for number in 0..300 {
        manager.add([format!("n{number}.example")]).unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(manager.resolver().names().len(), 301);
    sleep(8 * DAY).await;
    assert!(!manager.resolver().knows(Some("b.jp")), "it does not come back");
}

#[tokio::test(start_paused = true)]
async fn the_default_name_is_served_without_sni_and_follows_renewals() {
    let clock = Clock::new();
    let builder = Manager::builder().private_ca(ca()).names(["a.jp", "127.0.0.1"]);
    let manager = builder.default_name("127.0.0.1").clock(clock.read()).start().await.unwrap();
    let first = manager.resolver().get(None).unwrap();
    sleep(4 * DAY).await;
    assert_ne!(manager.resolver().get(None).unwrap().serial(), first.serial());
    manager.remove("a.jp").unwrap();
    assert!(manager.resolver().get(None).is_none());
}

#[tokio::test]
async fn wrong_descriptions_are_refused() {
    let builder = || Manager::builder().issuer(SelfSigned::new());
    assert!(builder().name("a b").start().await.unwrap_err().is_name());
    let twice = builder().name("a.jp").names(["b.jp", "A.jp"]).start().await;
    assert!(twice.unwrap_err().is_name_conflict());
    assert!(builder().names([] as [&str; 0]).start().await.is_err());
    assert!(builder().name("a.jp").default_name("b.jp").start().await.is_err());
    assert!(Manager::builder().name("a.jp").start().await.is_err(), "nobody to ask");
    builder().names(["a.jp", "a.jp."]).start().await.unwrap();
    builder().start().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_first_start_waits_for_the_issuer_that_steps_in() {
    for class in [FailureClass::Network, FailureClass::Trouble, FailureClass::Account] {
        let (clock, first) = (Clock::new(), Faulty::new(ca()));
        first.fail_with(Some(Failure::new(class, "order")));
        let builder = Manager::builder().issuer(first.clone()).issuer(SelfSigned::new());
        let manager = builder.name("a.jp").clock(clock.read()).start().await.unwrap();
        assert!(manager.resolver().knows(Some("a.jp")), "{class:?}");
        assert_eq!(first.requests(), 1, "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_would_be_refused_again_is_not_asked_for_each_minute_until_somebody_acts() {
    use FailureClass::{Account, Certificate, Rejected, Request, Validation};
    let clock = Clock::new();
    for (class, most) in
        [(Account, 5), (Certificate, 5), (Rejected, 5), (Request, 5), (Validation, 33)]
    {
        let (issuer, store) = (Faulty::new(ca()), Arc::new(MemoryStore::new()));
        let builder = Manager::builder().issuer(issuer.clone()).storage(store.clone());
        let manager = builder.clock(clock.read()).start().await.unwrap();
        issuer.fail_with(Some(Failure::new(class, "order")));
        manager.add(["a.jp"]).unwrap();
        sleep(DAY).await;
        assert!((3..=most).contains(&issuer.requests()), "{class:?}: {}", issuer.requests());
        issuer.fail_with(None);
        if class != Validation {
            sleep(Duration::from_secs(60)).await;
            assert!(!manager.resolver().knows(Some("a.jp")), "{class:?}");
            let ledger = Ledger::new(store);
            assert!(ledger.renew("a.jp").await.unwrap(), "{class:?}");
            assert!(!ledger.renew("b.jp").await.unwrap());
            sleep(Duration::from_secs(120)).await;
            assert!(manager.resolver().knows(Some("a.jp")), "{class:?}");
        }
        manager.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_issuer_keeps_the_old_certificate_serving_and_the_next_one_steps_in() {
    let (clock, first, second) = (Clock::new(), Faulty::new(ca()), Faulty::new(ca()));
    let manager = Manager::builder()
        .issuer(first.clone())
        .issuer(second.clone())
        .name("a.jp")
        .clock(clock.read());
    let manager = manager.start().await.unwrap();
    let before = serial(&manager, "a.jp");
    first.fail_with(Some(Failure::because(FailureClass::Validation, "validate the names", "no")));
    sleep(3 * DAY).await;
    while manager.snapshot().certificates[0].failures == 0 {
        assert!(clock.now() < start() + 4 * DAY, "it is tried");
        sleep(Duration::from_secs(5)).await;
    }
    let status = manager.snapshot().certificates.remove(0);
    assert_eq!((status.failures, status.next_step), (1, NextStep::Order), "{status:?}");
    let error = status.last_error.unwrap();
    assert_eq!(error.class, Some(FailureClass::Validation));
    assert_eq!(error.issuer.as_deref(), Some(first.id()));
    assert!(error.text.contains("failed to validate the names: error: no"), "{}", error.text);
    assert_eq!(serial(&manager, "a.jp"), before, "it keeps serving");
    sleep(5 * MINUTE).await;
    assert_ne!(serial(&manager, "a.jp"), before);
    let status = manager.snapshot().certificates.remove(0);
    assert_eq!(status.source, Some(Source::Issuer(second.id().to_owned())));
    assert_eq!((status.failures, status.last_error), (0, None));
    // At the next renewal it begins with the first again.
    first.fail_with(None);
    sleep(4 * DAY).await;
    let status = manager.snapshot().certificates.remove(0);
    assert_eq!(status.source, Some(Source::Issuer(first.id().to_owned())));
}

#[tokio::test(start_paused = true)]
async fn work_that_panics_is_reported_and_done_again() {
    let (clock, issuer) = (Clock::new(), Faulty::new(ca()));
    let describe = || {
        let builder = Manager::builder().issuer(issuer.clone()).clock(clock.read());
        builder.name("a.jp").name("b.jp")
    };
    issuer.panic(true);
    let error = describe().start().await.unwrap_err();
    assert!(error.to_string().contains("panicked: a bug in an issuer"), "{error}");
    issuer.panic(false);
    let manager = describe().start().await.unwrap();
    let before = serial(&manager, "a.jp");
    sleep(3 * DAY).await;
    issuer.panic(true);
    let mut events = manager.events();
    let (names, retry_at) = loop {
        if let Event::Panicked { names, retry_at, .. } = events.next().await.unwrap() {
            break (names, retry_at);
        }
    };
    assert_eq!(names.len(), 1);
    assert!(retry_at > clock.now() && retry_at <= clock.now() + MINUTE);
    // Either may be the first.
    let mut statuses = manager.snapshot().certificates.into_iter();
    let status = statuses.find(|it| it.names == names).unwrap();
    assert!(status.last_error.unwrap().text.contains("a bug in an issuer"));
    assert_eq!(serial(&manager, "a.jp"), before, "it keeps serving");
    let before = issuer.requests();
    sleep(DAY / 2).await;
    let asked = issuer.requests() - before;
    assert!((10..60).contains(&asked), "pauses grow to an hour: {asked}");
    issuer.panic(false);
    sleep(2 * Duration::from_secs(3600)).await;
    let snapshot = manager.snapshot();
    assert!(snapshot.certificates.iter().all(|it| it.health == Health::Good), "{snapshot:?}");
    assert!(snapshot.certificates.iter().all(|it| it.last_error.is_none()), "{snapshot:?}");
    assert!(snapshot.counters.panics > 10);
}

#[tokio::test(start_paused = true)]
async fn what_an_issuer_asks_for_holds_for_all_nodes_and_over_restarts() {
    let (clock, issuer, store) = (Clock::new(), Faulty::new(ca()), Arc::new(MemoryStore::new()));
    let describe = || {
        let builder = Manager::builder().issuer(issuer.clone()).storage(store.clone());
        builder.name("a.jp").clock(clock.read())
    };
    let (one, two) = (describe().start().await.unwrap(), describe().start().await.unwrap());
    sleep(3 * DAY).await;
    let (told_at, until) = (clock.now(), clock.now() + DAY);
    issuer.fail_with(Some(Failure::new(FailureClass::Hold, "order").not_before(until)));
    sleep(DAY / 2 + MINUTE).await;
    assert_eq!(issuer.requests(), 2, "once, by either");
    let three = describe().start().await.unwrap();
    let since = clock.now().duration_since(told_at).unwrap();
    sleep(DAY.saturating_sub(since + MINUTE)).await;
    assert_eq!(issuer.requests(), 2, "nobody asks before it wants to be asked");
    three.shutdown().await;
    issuer.fail_with(None);
    sleep(10 * MINUTE).await;
    assert_eq!(issuer.requests(), 3, "then one does");
    assert_eq!(serial(&one, "a.jp"), serial(&two, "a.jp"));
}

#[tokio::test(start_paused = true)]
async fn nodes_that_share_a_store_order_each_certificate_once() {
    let (clock, issuer, store) = (Clock::new(), Faulty::new(ca()), Arc::new(MemoryStore::new()));
    issuer.take(Duration::from_secs(1));
    let describe = || {
        let builder = Manager::builder().issuer(issuer.clone()).storage(store.clone());
        (0..100).fold(builder.clock(clock.read()), |it, at| it.name(format!("n{at}.example")))
    };
    let (one, two) = tokio::join!(describe().start(), describe().start());
    let (one, two) = (one.unwrap(), two.unwrap());
    sleep(Duration::from_secs(10)).await;
    for at in 0..100 {
        let name = format!("n{at}.example");
        assert_eq!(serial(&one, &name), serial(&two, &name));
    }
    assert_eq!(issuer.requests(), 100);
    sleep(4 * DAY).await;
    assert_eq!(issuer.requests(), 200, "a renewal later");
    // The one that orders dies; the other takes over when the lease has ended.
    let before = serial(&one, "n0.example");
    drop(two);
    sleep(4 * DAY).await;
    assert_ne!(serial(&one, "n0.example"), before);
    assert_eq!(issuer.requests(), 300);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_keeps_nobody_from_serving() {
    let (clock, issuer) = (Clock::new(), Faulty::new(ca()));
    let store = Arc::new(FlakyStore::default());
    let builder = Manager::builder().issuer(issuer.clone()).storage(store.clone());
    let manager = builder.name("a.jp").clock(clock.read()).start().await.unwrap();
    let before = serial(&manager, "a.jp");
    // A full disk: what is issued serves, and is stored when there is room, without another order.
    sleep(3 * DAY).await;
    store.refuse_certificates(true);
    sleep(DAY / 2 + MINUTE).await;
    let renewed = serial(&manager, "a.jp");
    assert_ne!(renewed, before);
    let status = manager.snapshot().certificates.remove(0);
    assert_eq!(status.next_step, NextStep::Store, "{status:?}");
    sleep(DAY).await;
    assert_eq!(issuer.requests(), 2);
    store.refuse_certificates(false);
    sleep(2 * MINUTE).await;
    let listed = Ledger::new(store.clone()).list().await.unwrap();
    assert_eq!(listed.certificates[0].serial, renewed);
    assert_eq!(manager.snapshot().certificates[0].last_error, None);
    // It is away: nothing is ordered, because another node may be at it.
    store.fail(true);
    sleep(4 * DAY).await;
    assert_eq!((serial(&manager, "a.jp"), issuer.requests()), (renewed.clone(), 2));
    assert!(manager.snapshot().counters.store_failures > 0);
    store.fail(false);
    sleep(2 * MINUTE).await;
    assert_ne!(serial(&manager, "a.jp"), renewed);
}

#[tokio::test]
async fn what_loads_serves_and_what_is_damaged_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path()).unwrap();
    let (issuer, names) = (Faulty::new(ca()), ["a.jp", "b.jp", "c.jp", "d.jp", "e.jp"]);
    let describe = || {
        let builder = Manager::builder().issuer(issuer.clone()).storage(store.clone());
        let builder = builder.clock(start);
        names.iter().fold(builder, |builder, name| builder.name(*name))
    };
    let manager = describe().start().await.unwrap();
    wait_for(&manager, 5).await;
    let before = names.map(|name| serial(&manager, name));
    manager.shutdown().await;

    let keys = store.list("certificates").await.unwrap();
    let path = |at: usize| folder.path().join(keys[at].as_str());
    let read = |at| std::fs::read_to_string(path(at)).unwrap();
    let (whole, other) = (read(0), read(1));
    std::fs::write(path(0), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(path(1), "").unwrap();
    // Key and chain of another name: a mismatched pair, and a pair at the wrong place.
    let swapped: serde_json::Value = serde_json::from_str(&other).unwrap();
    let mut mixed: serde_json::Value = serde_json::from_str(&read(2)).unwrap();
    mixed["key"] = swapped["key"].clone();
    std::fs::write(path(2), mixed.to_string()).unwrap();
    std::fs::write(path(3), &other).unwrap();

    let manager = describe().start().await.unwrap();
    wait_for(&manager, 5).await;
    let after = names.map(|name| serial(&manager, name));
    let kept = before.iter().filter(|serial| after.contains(serial)).count();
    assert_eq!(kept, 1, "the one that loads");
    assert_eq!(issuer.requests(), 9);
    assert_eq!(manager.snapshot().counters.set_aside, 4);
    assert_eq!(folder.path().join("quarantine").read_dir().unwrap().count(), 4);
}

async fn wait_for(manager: &Manager, count: usize) {
    let deadline = sleep(MINUTE);
    tokio::pin!(deadline);
    while manager.resolver().names().len() < count {
        assert!(!deadline.is_elapsed(), "{:?}", manager.snapshot());
        tokio::select! {
            () = &mut deadline => {}
            () = sleep(Duration::from_millis(10)) => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn wishes_in_the_store_are_fulfilled_within_a_minute() {
    let (clock, store) = (Clock::new(), Arc::new(MemoryStore::new()));
    let builder = Manager::builder().issuer(PrivateIssuer::new(ca())).storage(store.clone());
    let builder = builder.name("a.jp").name("b.jp").clock(clock.read());
    let manager = builder.start().await.unwrap();
    sleep(2 * MINUTE).await;
    let ledger = Ledger::new(store);
    for wish in ["renew", "replace"] {
        let before = ["a.jp", "b.jp"].map(|name| serial(&manager, name));
        let is_found = match wish {
            "renew" => ledger.renew("B.jp").await,
            _ => ledger.replace("b.jp").await,
        };
        assert!(is_found.unwrap());
        sleep(MINUTE + Duration::from_secs(1)).await;
        assert_eq!(serial(&manager, "a.jp"), before[0]);
        assert_ne!(serial(&manager, "b.jp"), before[1]);
        let listed = ledger.list().await.unwrap();
        assert!(listed.certificates.iter().all(|it| !it.is_wished), "once");
    }
    assert!(!ledger.renew("c.jp").await.unwrap());
}

#[tokio::test]
async fn files_are_served_and_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let ca = ca();
    let issue = |name: &str| {
        let names = [name.parse().unwrap()];
        ca.issue(&names, cert_manager::Profile::server(), start()).unwrap()
    };
    let one = issue("a.jp");
    std::fs::write(path("chain.pem"), one.chain_pem()).unwrap();
    let builder = || Manager::builder().files(path("chain.pem"), path("key.pem")).clock(start);
    assert!(builder().start().await.unwrap_err().is_store(), "there is no key");
    std::fs::write(path("key.pem"), one.key_pem().expose()).unwrap();
    let manager = builder().resolver(Resolver::new()).start().await.unwrap();
    assert_eq!(serial(&manager, "a.jp"), one.serial().to_string());

    let mut events = manager.events();
    let two = issue("b.jp");
    std::fs::write(path("key.pem"), two.key_pem().expose()).unwrap();
    let refused = tokio::time::timeout(MINUTE, events.next()).await.unwrap();
    assert!(matches!(refused, Some(Event::FileRefused { .. })), "{refused:?}");
    assert_eq!(serial(&manager, "a.jp"), one.serial().to_string(), "the old one keeps serving");
    let status = manager.snapshot().certificates.remove(0);
    assert_eq!(status.source, Some(Source::File(path("chain.pem"))));
    assert!(status.last_error.unwrap().text.contains("belongs to the private key"));

    std::fs::write(path("chain.pem"), two.chain_pem()).unwrap();
    let loaded = tokio::time::timeout(MINUTE, events.next()).await.unwrap();
    assert!(matches!(loaded, Some(Event::FileLoaded { .. })), "{loaded:?}");
    assert_eq!(serial(&manager, "b.jp"), two.serial().to_string());
    assert!(!manager.resolver().knows(Some("a.jp")), "names that are gone are not served");
}
