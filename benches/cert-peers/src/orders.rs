//! Orders from a real Pebble by HTTP-01: ours, stock instant-acme, and instant-acme asking more often.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use cert_manager::{
    acme::{Acme, Http01},
    storage::{MemoryStore, Storage},
};
use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder, RetryPolicy,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};

use crate::{
    Bar, Figures, name,
    pebble::{Pebble, Settings},
};

pub fn run(figures: &mut Figures) {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        one_by_one(figures).await;
        for (who, is_on_disk) in [(IN_MEMORY, false), (ON_DISK, true)] {
            for _ in 0..LABS {
                // A fresh one for each, see below.
                let lab = Lab::start().await;
                let acme = if is_on_disk { lab.on_disk() } else { lab.in_memory() };
                obtain(&acme, "warm-up").await;
                let (done, rate) = at_once(&acme).await;
                if done == ORDERS {
                    let what = format!("16 at once, {ORDERS} orders");
                    figures.note(&what, who, rate, "/s", Some(Bar::AtLeast(250.0)));
                    break;
                }
                eprintln!("Pebble has deadlocked after {done} of {ORDERS} orders; once more");
            }
        }
    });
}

async fn one_by_one(figures: &mut Figures) {
    let lab = Lab::start().await;
    let (in_memory, on_disk) = (lab.in_memory(), lab.on_disk());
    let stock = lab.stock(RetryPolicy::new()).await;
    let often = RetryPolicy::new().initial_delay(Duration::from_millis(10)).backoff(1.0);
    let often = lab.stock(often).await;

    obtain(&in_memory, "warm-up-a").await;
    obtain(&on_disk, "warm-up-b").await;
    let mut all: [Vec<f64>; 4] = Default::default();
    for round in 0..ROUNDS {
        let host = |who: &str, at: u32| format!("{who}{round}-{at}");
        let [memory, disk, stocks, oftens] = &mut all;
        memory.extend(times(10, async |at| obtain(&in_memory, &host("a", at)).await).await);
        disk.extend(times(10, async |at| obtain(&on_disk, &host("b", at)).await).await);
        stocks.extend(times(1, async |at| stock.obtain(&host("c", at)).await).await);
        oftens.extend(times(2, async |at| often.obtain(&host("d", at)).await).await);
    }
    let what = "one order, median";
    let [memory, disk, stocks, oftens] = all.map(median);
    figures.note(what, IN_MEMORY, memory, "ms", Some(Bar::AtMost(12.0)));
    figures.note(what, ON_DISK, disk, "ms", Some(Bar::AtMost(12.0)));
    figures.note(what, "instant-acme, stock", stocks, "ms", None);
    figures.note(what, "instant-acme, asking each 10 ms", oftens, "ms", None);
}

/// A Pebble, and answers to all challenges.
struct Lab {
    pebble: Pebble,
    answers: Arc<Http01>,
    theirs: Answers,
}

impl Lab {
    async fn start() -> Self {
        let pebble = Pebble::start(&Settings { refused_nonces: 0, ..Settings::default() });
        let (answers, theirs) = (Http01::new(), Answers::default());
        serve(&pebble, answers.clone(), theirs.clone()).await;
        Self { pebble, answers, theirs }
    }

    /// As instant-acme, which stores nothing.
    fn in_memory(&self) -> Arc<Acme> {
        self.account(Arc::new(MemoryStore::new()))
    }

    fn on_disk(&self) -> Arc<Acme> {
        self.account(self.pebble.store("store"))
    }

    fn account(&self, store: Arc<dyn Storage>) -> Arc<Acme> {
        let builder = Acme::builder(self.pebble.directory(), store).agree_to_terms(true);
        let builder = builder.roots(self.pebble.roots.as_str()).solver(self.answers.clone());
        Arc::new(builder.request_timeout(Duration::from_secs(2)).build().expect("good roots"))
    }

    async fn stock(&self, policy: RetryPolicy) -> Stock {
        let roots = self.pebble.folder.path().join("roots.pem");
        std::fs::write(&roots, &self.pebble.roots).expect("a disk");
        Stock::new(&self.pebble, &roots, self.theirs.clone(), policy).await
    }
}

/// How many orders came to their end, and how many a second.
///
/// Pebble 2.4.0 may stop to answer anybody when authorizations are read while other orders are made (letsencrypt/pebble#554).
async fn at_once(acme: &Arc<Acme>) -> (u32, f64) {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for worker in 0..16 {
        let acme = acme.clone();
        tasks.spawn(async move {
            let (mut done, mut last) = (0_u32, start);
            for at in 0..ORDERS / 16 {
                let names = [name(&format!("{worker}-{at}.example"))];
                if acme.obtain(&names).await.is_err() {
                    break;
                }
                (done, last) = (done + 1, Instant::now());
            }
            (done, last)
        });
    }
    let ended = tasks.join_all().await;
    let done = ended.iter().map(|(done, _)| done).sum();
    let last = ended.iter().map(|(_, last)| *last).max().unwrap_or(start);
    (done, f64::from(done) / last.duration_since(start).as_secs_f64())
}

async fn obtain(acme: &Acme, host: &str) {
    let names = [name(&format!("{host}.example"))];
    acme.obtain(&names).await.expect("a good order");
}

struct Stock {
    account: Account,
    answers: Answers,
    policy: RetryPolicy,
}

/// By token.
type Answers = Arc<Mutex<HashMap<String, String>>>;

impl Stock {
    async fn new(
        pebble: &Pebble,
        roots: &std::path::Path,
        answers: Answers,
        policy: RetryPolicy,
    ) -> Self {
        let account =
            NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
        let (account, _) = Account::builder_with_root(roots)
            .expect("good roots")
            .create(&account, pebble.directory(), None)
            .await
            .expect("a good account");
        Self { account, answers, policy }
    }

    async fn obtain(&self, host: &str) {
        let names = [Identifier::Dns(format!("{host}.example"))];
        let mut order = self.account.new_order(&NewOrder::new(&names)).await.expect("an order");
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.expect("an authorization");
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let mut challenge = authorization.challenge(ChallengeType::Http01).expect("offered");
            let answer = challenge.key_authorization().as_str().to_owned();
            self.answers.lock().expect("no panic").insert(challenge.token.clone(), answer);
            challenge.set_ready().await.expect("a challenge");
        }
        order.poll_ready(&self.policy).await.expect("validated");
        order.finalize().await.expect("finalized");
        order.poll_certificate(&self.policy).await.expect("a certificate");
    }
}

async fn times(count: u32, order: impl AsyncFn(u32)) -> Vec<f64> {
    let mut times = Vec::new();
    for at in 0..count {
        let start = Instant::now();
        order(at).await;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Answers both clients' challenges.
async fn serve(pebble: &Pebble, ours: Arc<Http01>, theirs: Answers) {
    let listener = TcpListener::bind(("127.0.0.1", pebble.http)).await.expect("a free port");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (ours, theirs) = (ours.clone(), theirs.clone());
            tokio::spawn(async move {
                let mut request = [0; 2048];
                let len = stream.read(&mut request).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..len]).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default();
                let token = path.rsplit('/').next().unwrap_or_default();
                let known = || theirs.lock().expect("no panic").get(token).cloned();
                let text = ours.answer(path).or_else(known).unwrap_or_default();
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    text.len()
                );
                let _ = stream.write_all((head + &text).as_bytes()).await;
            });
        }
    });
}

/// At once, in all.
const ORDERS: u32 = 800;
/// So often it is tried again.
const LABS: u32 = 8;
const ROUNDS: u32 = 15;
const IN_MEMORY: &str = "ours, nothing on disk";
const ON_DISK: &str = "ours, each step on disk";
