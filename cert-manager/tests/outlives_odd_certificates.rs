//! What an issuer signs may be due at once, end sooner than what it replaces, or be refused for one customer: no loop, no
//! step back, no harm to others.
#![cfg(all(any(feature = "ring", feature = "aws-lc-rs"), feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]

#[path = "support/faults.rs"]
mod faults;
mod support;

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use cert_manager::{
    Certificate, Failure, FailureClass, Manager, PrivateCa, Profile,
    lifecycle::{Health, RenewalInfo, RenewalWindow},
    manager::{Issuer, Issuing, Ledger, Request},
    storage::{MemoryStore, Storage},
};
use faults::{Clock, Faulty};
use support::{DAY, start};
use tokio::time::sleep;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// An authority with a clock of its own.
#[derive(Clone, Debug)]
struct Authority(Arc<State>);

#[derive(Debug)]
struct State {
    ca: PrivateCa,
    clock: Clock,
    life: Mutex<Duration>,
    window: Mutex<Option<RenewalWindow>>,
    orders: AtomicUsize,
}

impl Authority {
    fn new(clock: &Clock, life: Duration) -> Self {
        let ca = PrivateCa::generate("Test CA", start()).unwrap();
        let (window, orders) = (Mutex::default(), AtomicUsize::new(0));
        Self(Arc::new(State { ca, clock: clock.clone(), life: Mutex::new(life), window, orders }))
    }

    fn orders(&self) -> usize {
        self.0.orders.load(Ordering::Relaxed)
    }

    fn set_life(&self, life: Duration) {
        *self.0.life.lock().unwrap() = life;
    }

    fn set_window(&self, window: Option<RenewalWindow>) {
        *self.0.window.lock().unwrap() = window;
    }
}

impl Issuer for Authority {
    fn id(&self) -> &'static str {
        "odd"
    }

    fn issue<'a>(&'a self, request: &'a Request) -> Issuing<'a, Certificate> {
        Box::pin(async {
            self.0.orders.fetch_add(1, Ordering::Relaxed);
            let profile = Profile::server().life(*self.0.life.lock().unwrap());
            self.0.ca.issue(&request.names, profile, self.0.clock.now())
        })
    }

    fn says_when_to_renew(&self) -> bool {
        true
    }

    fn renewal_info<'a>(
        &'a self,
        _certificate: &'a Certificate,
    ) -> Issuing<'a, Option<RenewalInfo>> {
        Box::pin(async { Ok(Some(RenewalInfo::new(*self.0.window.lock().unwrap()))) })
    }
}

fn ahead(clock: &Clock, by: Duration) -> impl Fn() -> SystemTime + Send + Sync + 'static {
    let clock = clock.read();
    move || clock() + by
}

fn serial(manager: &Manager, name: &str) -> String {
    manager.resolver().get(Some(name)).unwrap().serial().to_string()
}

#[tokio::test(start_paused = true)]
async fn a_clock_far_ahead_orders_once_in_a_while() {
    let true_clock = Clock::new();
    let authority = Authority::new(&true_clock, 45 * DAY);
    let builder = Manager::builder().issuer(authority.clone()).name("a.jp");
    let manager = builder.clock(ahead(&true_clock, 60 * DAY)).start().await.unwrap();
    sleep(7 * DAY).await;
    // After 1, 10 and 100 minutes, then daily.
    assert!((8..=11).contains(&authority.orders()), "{}", authority.orders());
    let status = manager.snapshot().certificates.remove(0);
    assert_eq!(status.health, Health::Expired);
    let words = status.last_error.unwrap().text;
    assert!(words.contains("is this machine's clock right"), "{words}");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_due_when_it_comes_is_used_for_half_of_what_is_left() {
    let true_clock = Clock::new();
    let authority = Authority::new(&true_clock, DAY);
    let builder = Manager::builder().issuer(authority.clone()).name("a.jp");
    let manager = builder.clock(ahead(&true_clock, 14 * HOUR)).start().await.unwrap();
    sleep(DAY).await;
    assert!((5..=6).contains(&authority.orders()), "each five hours: {}", authority.orders());
    assert!(manager.resolver().knows(Some("a.jp")));
}

#[tokio::test(start_paused = true)]
async fn lives_of_a_minute_or_two_do_not_make_it_spin() {
    for life in [100, 119, 121, 180] {
        let clock = Clock::new();
        let authority = Authority::new(&clock, Duration::from_secs(life));
        let builder = Manager::builder().issuer(authority.clone()).name("a.jp");
        let manager = builder.clock(clock.read()).start().await.unwrap();
        for _ in 0..60 {
            sleep(MINUTE / 6).await;
            let leaf = manager.resolver().get(Some("a.jp")).unwrap();
            assert!(!leaf.is_expired(clock.now()), "{life} s");
        }
        assert!(
            (5..=40).contains(&authority.orders()),
            "{life} s: {} in ten minutes",
            authority.orders()
        );
        manager.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_certificate_is_not_replaced_by_one_that_ends_sooner() {
    let clock = Clock::new();
    let authority = Authority::new(&clock, 90 * DAY);
    let store = Arc::new(MemoryStore::new());
    let builder = Manager::builder().issuer(authority.clone()).name("a.jp").storage(store.clone());
    let manager = builder.clock(clock.read()).start().await.unwrap();
    let before = serial(&manager, "a.jp");
    authority.set_life(20 * MINUTE);
    sleep(62 * DAY).await;
    assert_eq!(serial(&manager, "a.jp"), before);
    assert!((2..12).contains(&authority.orders()), "{}", authority.orders());
    let words = manager.snapshot().certificates[0].last_error.clone().unwrap().text;
    assert!(words.contains("ends sooner"), "{words}");
    // A person knows why.
    assert!(Ledger::new(store).renew("a.jp").await.unwrap());
    sleep(DAY).await;
    assert_ne!(serial(&manager, "a.jp"), before);
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_a_wrong_clock_noted_holds_nobody() {
    let clock = Clock::new();
    let issuer = Faulty::new(Arc::new(PrivateCa::generate("Test CA", start()).unwrap()));
    let store = Arc::new(MemoryStore::new());
    let describe = |clock| {
        Manager::builder().issuer(issuer.clone()).name("a.jp").storage(store.clone()).clock(clock)
    };
    issuer.fail_with(Some(Failure::new(FailureClass::Network, "order")));
    let failed =
        describe(Box::new(ahead(&clock, 20_000 * DAY)) as Box<dyn Fn() -> _ + Send + Sync>);
    failed.start().await.unwrap_err();
    issuer.fail_with(None);
    let manager = describe(Box::new(clock.read())).start().await.unwrap();
    assert!(manager.resolver().knows(Some("a.jp")));
    // Nor does the next one grow from it.
    sleep(4 * DAY).await;
    issuer.fail_with(Some(Failure::new(FailureClass::Network, "order")));
    sleep(HOUR).await;
    issuer.fail_with(None);
    sleep(HOUR).await;
    assert_eq!(manager.snapshot().certificates[0].health, Health::Good);
}

#[tokio::test(start_paused = true)]
async fn rate_limits_of_one_domain_hold_nobody_else() {
    let clock = Clock::new();
    let issuer = Faulty::new(Arc::new(PrivateCa::generate("Test CA", start()).unwrap()));
    let manager = Manager::builder().issuer(issuer.clone()).clock(clock.read());
    let manager = manager.start().await.unwrap();
    let refuse = |words: &str| {
        let failure = Failure::because(FailureClass::Hold, "order", words);
        issuer.fail_with(Some(failure.not_before(clock.now() + 34 * HOUR)));
    };
    refuse("too many certificates (50) already issued for \"evil.example\" in the last 168h0m0s");
    for at in 0..5 {
        manager.add([format!("n{at}.evil.example")]).unwrap();
        sleep(MINUTE).await;
    }
    issuer.fail_with(None);
    manager.add(["www.good.example"]).unwrap();
    sleep(MINUTE).await;
    assert!(manager.resolver().knows(Some("www.good.example")));

    refuse("too many new orders (300) from this account in the last 3h0m0s");
    for at in 0..3 {
        manager.add([format!("m{at}.example")]).unwrap();
        sleep(MINUTE).await;
    }
    issuer.fail_with(None);
    manager.add(["later.example"]).unwrap();
    sleep(HOUR).await;
    assert!(!manager.resolver().knows(Some("later.example")), "that is about the account");
    sleep(35 * HOUR).await;
    assert!(manager.resolver().knows(Some("later.example")));
}

#[tokio::test(start_paused = true)]
async fn an_authority_in_trouble_has_not_changed_its_mind_about_a_renewal() {
    let clock = Clock::new();
    let authority = Authority::new(&clock, 90 * DAY);
    let asked = clock.now() + 10 * DAY;
    authority.set_window(Some(RenewalWindow { start: asked, end: asked + HOUR }));
    let builder = Manager::builder().issuer(authority.clone()).name("a.jp");
    let manager = builder.clock(clock.read()).start().await.unwrap();
    sleep(DAY).await;
    // What an answer of 503 is read as.
    authority.set_window(None);
    sleep(8 * DAY).await;
    let renew_at = manager.snapshot().certificates[0].renew_at.unwrap();
    assert!((asked..=asked + HOUR).contains(&renew_at));
    sleep(2 * DAY).await;
    assert_eq!(authority.orders(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_pair_of_files_gives_a_name_back_that_it_had_taken() {
    let clock = Clock::new();
    let authority = Authority::new(&clock, 90 * DAY);
    let ca = PrivateCa::generate("Files", start()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    let write = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| name.parse().unwrap()).collect();
        let life = Profile::server().life(90 * DAY);
        let pair = ca.issue(&names, life, clock.now()).unwrap();
        fs::write(&chain, pair.chain_pem()).unwrap();
        fs::write(&key, pair.key_pem().expose()).unwrap();
    };
    write(&["a.jp", "b.jp"]);
    let builder = Manager::builder().issuer(authority.clone()).name("a.jp").files(&chain, &key);
    let manager = builder.clock(clock.read()).start().await.unwrap();
    write(&["b.jp"]);
    // A disk takes real time, in which paused time stands still.
    for _ in 0..1_000 {
        sleep(Duration::from_secs(1)).await;
        let names = |name| manager.resolver().get(Some(name)).map(|it| it.names().len());
        if names("b.jp") == Some(1) && names("a.jp") == Some(1) {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(manager.resolver().knows(Some("b.jp")));
    assert!(manager.resolver().knows(Some("a.jp")), "the manager has one");
    assert_eq!(authority.orders(), 1, "and needs no other");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_wrong_about_its_leaf_is_set_aside() {
    let clock = Clock::new();
    let authority = Authority::new(&clock, 90 * DAY);
    let store = Arc::new(MemoryStore::new());
    let start = || {
        let builder = Manager::builder().issuer(authority.clone()).name("a.jp");
        builder.storage(store.clone()).clock(clock.read()).start()
    };
    start().await.unwrap().shutdown().await;
    let key = store.list("certificates").await.unwrap().remove(0);
    let entry = store.get(&key).await.unwrap().unwrap();
    let mut object: serde_json::Value = serde_json::from_slice(&entry.value).unwrap();
    object["not_after"] = 253_402_300_799_u64.into();
    let object = object.to_string();
    store.put(&key, object.as_bytes(), Some(entry.version)).await.unwrap();

    let manager = start().await.unwrap();
    assert_eq!(manager.snapshot().counters.set_aside, 1);
    assert_eq!(authority.orders(), 2);
    assert!(manager.snapshot().certificates[0].not_after.unwrap() < clock.now() + 91 * DAY);
}
