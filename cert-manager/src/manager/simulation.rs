//! Years in seconds: the real core, shell and storage, with an authority and a clock that are made up.
//!
//! Two nodes share a store. The authority has outages, fails at random, and tells some to come back later; each request that
//! comes too early, each certificate that is issued though none was due, and each that ends while it is served, is counted.

#![expect(clippy::disallowed_methods, reason = "the clock is paused")]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::{
    error::Error,
    failure::{Failure, FailureClass, Problem},
    lifecycle::{Leaf, RenewalInfo, due_at},
    manager::{
        shell::{Progress, Shell},
        status::Teller,
        tracked::Tracked,
        worker::{Known, Worker, World},
    },
    name::Name,
    record::Record,
    storage::{MemoryStore, Storage},
};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// What the made-up world is like.
#[derive(Clone, Debug)]
struct Settings {
    certificates: usize,
    life: Duration,
    length: Duration,
    /// Beginnings, and how long each lasts.
    outages: Vec<(Duration, Duration)>,
    /// Of a hundred requests.
    failing: u64,
    refused: u64,
    longest_refusal: Duration,
    /// Whether both nodes have the same store. They must.
    share: bool,
    /// Whether what the authority says about waiting is passed on. It must be.
    passes_on: bool,
}

impl Settings {
    fn year() -> Self {
        Self {
            certificates: 10_000,
            life: 45 * DAY,
            length: 365 * DAY,
            outages: [40, 150, 290].map(|day| (day * DAY, 72 * HOUR)).to_vec(),
            failing: 5,
            refused: 2,
            longest_refusal: 3 * DAY,
            share: true,
            passes_on: true,
        }
    }

    fn short() -> Self {
        Self {
            certificates: 1_000,
            life: 160 * HOUR,
            outages: vec![(100 * DAY, 60 * HOUR)],
            // Told twice to wait for days, nobody could keep such a certificate alive.
            longest_refusal: 12 * HOUR,
            ..Self::year()
        }
    }

    fn small() -> Self {
        Self { certificates: 50, outages: Vec::new(), ..Self::year() }
    }
}

#[test]
fn a_year_of_45_days_with_three_outages() {
    let end = simulate(&Settings::year());
    end.assert_good();
    // 30 days each, or a little less.
    assert!((11..=13).contains(&(end.issued / 10_000)), "{end:?}");
}

#[test]
fn a_year_of_160_hours_with_an_outage_of_60() {
    let end = simulate(&Settings::short());
    end.assert_good();
    assert!((98..=118).contains(&(end.issued / 1_000)), "{end:?}");
}

/// A whole year of them takes two minutes.
#[test]
fn ten_thousand_of_160_hours_for_four_weeks_with_an_outage_of_60() {
    let outages = vec![(14 * DAY, 60 * HOUR)];
    let settings =
        Settings { certificates: 10_000, length: 28 * DAY, outages, ..Settings::short() };
    let end = simulate(&settings);
    end.assert_good();
    assert!(end.issued > 60_000, "{end:?}");
}

#[test]
fn an_outage_longer_than_the_rest_of_a_life_is_seen() {
    let settings = Settings { outages: vec![(20 * DAY, 30 * DAY)], ..Settings::small() };
    let end = simulate(&settings);
    assert!(end.expired > 0, "{end:?}");
}

#[test]
fn nodes_that_share_nothing_order_twice_and_that_is_seen() {
    let settings = Settings { share: false, ..Settings::small() };
    let end = simulate(&settings);
    assert!(end.duplicates > 0, "{end:?}");
    assert!(end.orders_per_renewal() > 1.02, "{end:?}");
}

#[test]
fn a_retry_after_that_is_not_passed_on_is_seen() {
    let settings = Settings { passes_on: false, ..Settings::small() };
    let end = simulate(&settings);
    assert!(end.too_early > 0, "{end:?}");
}

/// What was counted.
#[derive(Clone, Debug, Default)]
struct Counted {
    requests: u64,
    orders: u64,
    issued: u64,
    /// Issued though what there was had not been due.
    duplicates: u64,
    /// Requests before the authority wanted to be asked.
    too_early: u64,
    /// Certificates that ended while a node served them.
    expired: u64,
}

impl Counted {
    fn orders_per_renewal(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "far below 2 to the 52nd")]
        let (orders, renewals) = (self.orders as f64, (self.issued - self.duplicates) as f64);
        orders / renewals
    }

    fn assert_good(&self) {
        assert_eq!(self.expired, 0, "{self:?}");
        assert_eq!(self.duplicates, 0, "{self:?}");
        assert_eq!(self.too_early, 0, "{self:?}");
        assert!(self.orders_per_renewal() <= 1.02, "{self:?}");
        assert!(self.requests > self.issued + self.issued / 20, "it did fail: {self:?}");
        println!("{self:?}: {:.4} orders per renewal", self.orders_per_renewal());
    }
}

fn simulate(settings: &Settings) -> Counted {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(live(settings))
}

async fn live(settings: &Settings) -> Counted {
    let authority = Arc::new(Mutex::new(Authority::new(settings)));
    let stores = [(); 2].map(|()| Arc::new(MemoryStore::new()));
    let store = |node: usize| Arc::clone(&stores[if settings.share { 0 } else { node }]);
    let mut nodes = [0, 1].map(|node| Node::start(&authority, store(node), 0));
    // They come little by little, over a tenth of the time.
    let mut count = 0;
    for hour in 0..GROWTH {
        let more = settings.certificates * (hour + 1) / GROWTH;
        for node in &nodes {
            node.add(count..more);
        }
        count = more;
        sleep(settings.length / 10 / u32::try_from(GROWTH).unwrap()).await;
    }
    // Later one dies, with all that it is doing, and starts again.
    sleep(settings.length / 10 * 4).await;
    nodes[0].task.abort();
    nodes[0] = Node::start(&authority, store(0), count);
    sleep(settings.length / 2).await;
    for node in nodes {
        node.stop.send_replace(true);
        node.task.await.unwrap();
    }
    let authority = authority.lock().unwrap();
    authority.counted.clone()
}

struct Node {
    stop: watch::Sender<bool>,
    shell: Arc<Shell<Simulated>>,
    task: JoinHandle<()>,
}

impl Node {
    fn start(authority: &Arc<Mutex<Authority>>, store: Arc<MemoryStore>, count: usize) -> Self {
        let (stop, stopped) = watch::channel(false);
        let world = Simulated { authority: Arc::clone(authority), served: Mutex::default() };
        let storage: Arc<dyn Storage> = store;
        let worker = Worker {
            world,
            storage,
            teller: Teller::new(),
            issuers: vec![ISSUER.to_owned()],
            asks: vec![false],
            node: "node".to_owned(),
            lease_life: Duration::from_secs(60),
            stopped,
            known: Mutex::new(vec![Known::default()]),
        };
        let shell = Shell {
            worker,
            keeper: Mutex::default(),
            woken: Notify::new(),
            progress: watch::Sender::new(Progress::default()),
            in_flight: 100,
            // No machine is suspended here.
            longest_pause: HOUR / 12,
        };
        let shell = Arc::new(shell);
        let node = Self { stop, task: tokio::spawn(Arc::clone(&shell).run()), shell };
        node.add(0..count);
        node
    }

    fn add(&self, numbers: std::ops::Range<usize>) {
        let now = self.shell.worker.world.now();
        for at in numbers {
            let names = vec![format!("n{at}.example").parse().unwrap()];
            self.shell.keeper().add(Tracked::new(names).unwrap(), now).unwrap();
        }
        self.shell.woken.notify_one();
    }
}

/// One node's world.
struct Simulated {
    authority: Arc<Mutex<Authority>>,
    /// Ends of what is served.
    served: Mutex<HashMap<Name, SystemTime>>,
}

impl Simulated {
    fn authority(&self) -> MutexGuard<'_, Authority> {
        self.authority.lock().unwrap()
    }
}

impl World for Simulated {
    fn now(&self) -> SystemTime {
        self.authority().now()
    }

    async fn issue(&self, _: usize, tracked: &Tracked) -> Result<Record, Error> {
        let names = &tracked.texts;
        let pause = self.authority().ask(&names[0]);
        sleep(pause).await;
        self.authority().answer(names)
    }

    async fn settle(&self, _: &[Name]) -> Result<(), Error> {
        Ok(())
    }

    async fn renewal_info(&self, _: usize, _: &Record) -> Result<Option<RenewalInfo>, Error> {
        Ok(None)
    }

    fn serve(&self, names: &[Name], record: &Record) -> Result<(), Error> {
        let now = self.now();
        let end = record.leaf().not_after;
        let before = self.served.lock().unwrap().insert(names[0].clone(), end);
        if before.is_some_and(|before| before < now) {
            self.authority().counted.expired += 1;
        }
        Ok(())
    }

    fn forget(&self, names: &[Name]) {
        self.served.lock().unwrap().remove(&names[0]);
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        let Ok(mut authority) = self.authority.lock() else { return };
        let now = authority.now();
        let served = self.served.lock().unwrap();
        authority.counted.expired += served.values().filter(|end| **end < now).count() as u64;
    }
}

struct Authority {
    settings: Settings,
    begun: Instant,
    random: u64,
    serial: u64,
    /// By first name: whether an order is open, the last certificate, and when it may ask again.
    customers: HashMap<String, Customer>,
    /// When anybody may ask again, and since when that holds.
    not_before: Option<(SystemTime, SystemTime)>,
    counted: Counted,
}

#[derive(Default)]
struct Customer {
    has_order: bool,
    leaf: Option<Leaf>,
    not_before: Option<(SystemTime, SystemTime)>,
}

impl Authority {
    fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            begun: Instant::now(),
            random: 0x5eed,
            serial: 0,
            customers: HashMap::new(),
            not_before: None,
            counted: Counted::default(),
        }
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + self.begun.elapsed()
    }

    /// A request comes in; says how long it takes.
    fn ask(&mut self, name: &str) -> Duration {
        let now = self.now();
        self.counted.requests += 1;
        let customer = self.customers.entry(name.to_owned()).or_default();
        for (since, until) in [self.not_before, customer.not_before].into_iter().flatten() {
            // What was answered in this very moment nobody can know yet.
            self.counted.too_early += u64::from(since < now && now < until);
        }
        Duration::from_millis(500 + self.below(9_500))
    }

    fn answer(&mut self, names: &[String]) -> Result<Record, Error> {
        let now = self.now();
        let since = self.begun.elapsed();
        let is_down =
            |(from, length): &(Duration, Duration)| (*from..*from + *length).contains(&since);
        if self.settings.outages.iter().any(is_down) || self.below(100) < self.settings.failing {
            return Err(self.trouble(now));
        }
        if self.below(100) < self.settings.refused {
            return Err(self.refusal(now, &names[0]));
        }
        let customer = self.customers.entry(names[0].clone()).or_default();
        if !std::mem::replace(&mut customer.has_order, true) {
            self.counted.orders += 1;
        }
        // It may break down between the order and the certificate; then the order is taken up again.
        if self.below(100) < self.settings.failing {
            return Err(self.trouble(now));
        }
        self.serial += 1;
        let serial = format!("{:016x}", self.serial);
        let not_before = now - HOUR;
        let not_after = not_before + self.settings.life - Duration::from_secs(1);
        let record = Record::of(
            (names, ISSUER, &serial),
            (not_before, not_after),
            "chain".to_owned(),
            "key".to_owned(),
        );
        let customer = self.customers.entry(names[0].clone()).or_default();
        customer.has_order = false;
        let is_early =
            customer.leaf.replace(record.leaf()).and_then(due_at).is_some_and(|due| now < due);
        self.counted.duplicates += u64::from(is_early);
        self.counted.issued += 1;
        Ok(record)
    }

    /// Silence, or an error of its own with some wish.
    fn trouble(&mut self, now: SystemTime) -> Error {
        if self.below(2) == 0 {
            return Failure::new(FailureClass::Network, "reach the authority").into();
        }
        let until = now + Duration::from_secs(1 + self.below(600));
        let later = self.not_before.map_or(until, |(_, before)| before.max(until));
        self.not_before = Some((now, later));
        self.with_wish(Failure::new(FailureClass::Trouble, "order a certificate"), until)
    }

    /// A rate limit, for one second or for days.
    fn refusal(&mut self, now: SystemTime, name: &str) -> Error {
        let longest = self.settings.longest_refusal.as_secs();
        let bits = self.below(u64::from(longest.ilog2()) + 1);
        let until = now + Duration::from_secs((1 + self.below(1 << (bits + 1))).min(longest));
        self.customers.entry(name.to_owned()).or_default().not_before = Some((now, until));
        let kind = "rateLimited".to_owned();
        let detail = format!("too many certificates for {name}");
        let problem = Problem { kind, detail, ..Problem::default() };
        let failure = Failure::new(FailureClass::Hold, "order a certificate");
        self.with_wish(Failure { problem: Some(problem), ..failure }, until)
    }

    fn with_wish(&self, failure: Failure, until: SystemTime) -> Error {
        if self.settings.passes_on { failure.not_before(until).into() } else { failure.into() }
    }

    /// An xorshift generator: the same numbers in each run.
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }
}

const GROWTH: usize = 1000;
const ISSUER: &str = "simulated";
