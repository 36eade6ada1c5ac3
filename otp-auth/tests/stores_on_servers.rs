//! The stores against real servers: the contract, forced schedules, storms, and servers that go away.
#![cfg(all(feature = "conformance", feature = "postgres", feature = "redis"))]
#![expect(clippy::unwrap_used, reason = "a test")]

mod servers;
mod storms;
mod support;

use std::sync::Arc;
use std::time::Duration;

use otp_auth::challenge::ChallengeId;
use otp_auth::conformance::{Plan, Time as _, check};
use otp_auth::login::{Admission, Login, LoginBuilder, Reason, Refusal, Verdict};
use otp_auth::random::SystemRandom;
use otp_auth::secret::Pepper;
use otp_auth::store::{PostgresStore, RedisStore, Reserved, Store};
use otp_auth::throttle::{Budget, Rule};
use servers::{PATIENCE, Postgres, Redis, WallTime};
use support::Visitor;
use tokio::time::timeout;

const ALICE: &str = "alice@example.jp";

async fn redis(server: &Redis) -> RedisStore {
    RedisStore::connect(&server.url()).await.unwrap()
}

async fn postgres(server: &Postgres) -> PostgresStore {
    let store = PostgresStore::connect(&server.settings()).await.unwrap();
    store.create_tables().await.unwrap();
    store.create_tables().await.expect("they are there already");
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn redis_survives_forced_schedules() {
    let server = Redis::start().await;
    let store = Arc::new(redis(&server).await);
    let plan = Plan::full().seeds(storms::count("OTP_AUTH_SEEDS", 100) as u64);
    let report = check(store, &WallTime, &plan).await.unwrap();
    assert!(report.accepted * 4 > report.schedules, "{report:?}");
    println!("{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgresql"]
async fn postgres_survives_forced_schedules() {
    let server = Postgres::start().await;
    let store = Arc::new(postgres(&server).await);
    let plan = Plan::full().seeds(storms::count("OTP_AUTH_SEEDS", 100) as u64);
    let report = check(store, &WallTime, &plan).await.unwrap();
    assert!(report.accepted * 4 > report.schedules, "{report:?}");
    println!("{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn redis_survives_storms_from_two_nodes() {
    let server = Redis::start().await;
    let nodes: [Arc<dyn Store>; 2] =
        [Arc::new(redis(&server).await), Arc::new(redis(&server).await)];
    storms::weather(nodes, WallTime.now(), storms::count("OTP_AUTH_STORMS", 10), 10_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgresql"]
async fn postgres_survives_storms_from_two_nodes() {
    let server = Postgres::start().await;
    let nodes: [Arc<dyn Store>; 2] =
        [Arc::new(postgres(&server).await), Arc::new(postgres(&server).await)];
    storms::weather(nodes, WallTime.now(), storms::count("OTP_AUTH_STORMS", 2), 10_000).await;
}

fn builder(store: impl Store + 'static) -> LoginBuilder {
    let random = SystemRandom::new();
    let pepper = Pepper::generate(&random).unwrap();
    let host = "auth.example.jp".parse().unwrap();
    Login::builder(Arc::new(store), pepper, Arc::new(random), host)
}

fn login(store: impl Store + 'static) -> Login {
    builder(store).build().unwrap()
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_failed_try_is_one_round_trip_and_an_accepted_one_two() {
    let server = Redis::start().await;
    let login = login(redis(&server).await);
    let now = WallTime.now();
    let alice = Visitor::begin(&login, ALICE, Admission::Admitted, now).await;
    // The first of each kind taught the server its script.
    for _ in 0..2 {
        let before = server.calls().await;
        let wrong = alice.submit(&login, &alice.wrong_code(), now).await;
        assert_eq!(wrong.refusal().map(Refusal::reason), Some(Reason::Wrong));
        assert!(server.calls().await - before <= 2);
    }
    let before = server.calls().await;
    let wrong = alice.submit(&login, &alice.wrong_code(), now).await;
    assert!(matches!(wrong, Verdict::Again(_)));
    assert_eq!(server.calls().await - before, 1);
    let bob = Visitor::begin(&login, "bob@example.jp", Admission::Admitted, now).await;
    assert!(matches!(bob.submit(&login, bob.code(), now).await, Verdict::Proven(_)));
    let before = server.calls().await;
    let carol = Visitor::begin(&login, "carol@example.jp", Admission::Admitted, now).await;
    assert_eq!(server.calls().await - before, 2, "a beginning takes two");
    let before = server.calls().await;
    assert!(matches!(carol.submit(&login, carol.code(), now).await, Verdict::Proven(_)));
    assert_eq!(server.calls().await - before, 2);
    let loads = server.command(&["INFO", "commandstats"]).await;
    assert!(loads.contains("cmdstat_script|load:calls=4"), "each script once:\n{loads}");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_server_that_forgot_its_scripts_learns_them_again() {
    let server = Redis::start().await;
    for replicas in [0, 1] {
        let login = login(redis(&server).await.wait_for_replicas(replicas));
        let now = WallTime.now();
        let alice = Visitor::begin(&login, ALICE, Admission::Admitted, now).await;
        assert_eq!(server.command(&["SCRIPT", "FLUSH"]).await, "OK");
        let answer = login.submit(&alice.nonce, &alice.cookie, alice.code(), now).await;
        if replicas == 0 {
            assert!(matches!(answer.unwrap(), Verdict::Proven(_)));
        } else {
            // No replica is there to confirm it: refused, and the code is spent.
            assert!(answer.unwrap_err().is_store_unavailable());
            let again = alice.submit(&login, alice.code(), now).await;
            assert_eq!(again.refusal().map(Refusal::reason), Some(Reason::Used));
        }
        assert_eq!(server.command(&["FLUSHALL"]).await, "OK");
    }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_server_that_may_evict_is_refused() {
    let server = Redis::start_with(&["--maxmemory-policy", "allkeys-lru"]).await;
    let error = RedisStore::connect(&server.url()).await.unwrap_err();
    assert!(error.is_caller_fault());
    assert!(error.to_string().contains("noeviction"), "{error}");
    for url in ["", "http://x", "rediss://localhost", "localhost:6379:1"] {
        assert!(RedisStore::connect(url).await.unwrap_err().is_caller_fault(), "{url}");
    }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn namespaces_do_not_mix_and_keys_go_away_by_themselves() {
    let server = Redis::start().await;
    let pepper = Pepper::generate(&SystemRandom::new()).unwrap();
    let named = async |namespace: &str| {
        let store = redis(&server).await.namespace(namespace).unwrap();
        let host = "auth.example.jp".parse().unwrap();
        let random = Arc::new(SystemRandom::new());
        Login::builder(Arc::new(store), pepper.clone(), random, host).build().unwrap()
    };
    let (one, two) = (named("one").await, named("two").await);
    let now = WallTime.now();
    let alice = Visitor::begin(&one, ALICE, Admission::Admitted, now).await;
    let elsewhere = alice.submit(&two, alice.code(), now).await;
    assert_eq!(elsewhere.refusal().map(Refusal::reason), Some(Reason::Unknown));
    let wrong = alice.submit(&one, &alice.wrong_code(), now).await;
    assert_eq!(wrong.refusal().map(Refusal::reason), Some(Reason::Wrong));
    let keys = server.command(&["KEYS", "*"]).await;
    assert!(keys.lines().all(|key| key.starts_with("{one}:")), "{keys}");
    assert_eq!(
        keys.lines().count(),
        8,
        "challenge, starts, three of mails, three of failures:\n{keys}"
    );
    for key in keys.lines() {
        let lives: i64 = server.command(&["PTTL", key]).await.parse().unwrap();
        let longest = if key.contains("short-codes") { 366 * 86_400_000 } else { 86_400_000 };
        assert!((1..=longest).contains(&lives), "{key} {lives}");
        // Nothing names anybody, but the open challenge.
        let value = server.command(&["GET", key]).await;
        assert_eq!(value.contains(ALICE), key.starts_with("{one}:c:"), "{key}");
    }
    for refused in ["", "a b", "{x}", &"x".repeat(65)] {
        assert!(redis(&server).await.namespace(refused).is_err(), "{refused}");
    }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn while_redis_is_away_nobody_signs_in_and_afterwards_they_do() {
    let mut server = Redis::start().await;
    let login = login(redis(&server).await);
    let now = WallTime.now();
    let alice = Visitor::begin(&login, ALICE, Admission::Admitted, now).await;
    server.kill().await;
    for _ in 0..3 {
        let answer = login.submit(&alice.nonce, &alice.cookie, alice.code(), now);
        let answer = timeout(PATIENCE, answer).await.unwrap();
        assert!(answer.unwrap_err().is_store_unavailable());
    }
    server.restart_empty().await;
    let back = async {
        while login.begin(&support::sign_in(ALICE, Admission::Admitted), now).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, back).await.expect("the connection is made anew");
    // What was lost with the server stays lost.
    let verdict = alice.submit(&login, alice.code(), now).await;
    assert_eq!(verdict.refusal().map(Refusal::reason), Some(Reason::Unknown));
    let bob = Visitor::begin(&login, "bob@example.jp", Admission::Admitted, now).await;
    assert!(matches!(bob.submit(&login, bob.code(), now).await, Verdict::Proven(_)));
}

#[tokio::test]
#[ignore = "needs postgresql"]
async fn a_used_code_stays_used_when_postgres_crashes() {
    let mut server = Postgres::start().await;
    let login = login(postgres(&server).await);
    let now = WallTime.now();
    let alice = Visitor::begin(&login, ALICE, Admission::Admitted, now).await;
    let bob = Visitor::begin(&login, "bob@example.jp", Admission::Admitted, now).await;
    assert!(matches!(alice.submit(&login, alice.code(), now).await, Verdict::Proven(_)));
    server.crash().await;
    let verdict = async |visitor: &Visitor| {
        let answered = async {
            loop {
                // The first statement on each broken connection fails.
                let answer = login.submit(&visitor.nonce, &visitor.cookie, visitor.code(), now);
                match answer.await {
                    Ok(verdict) => break verdict,
                    Err(error) => assert!(error.is_store_unavailable(), "{error}"),
                }
            }
        };
        timeout(PATIENCE, answered).await.expect("the connections are made anew")
    };
    let again = verdict(&alice).await;
    assert_eq!(again.refusal().map(Refusal::reason), Some(Reason::Used));
    // What was committed before the synchronous commit is there too.
    let verdict = verdict(&bob).await;
    let is_in = matches!(verdict, Verdict::Proven(_));
    let is_spent = verdict.refusal().is_some_and(|it| it.reason() == Reason::Used);
    assert!(is_in || is_spent, "{verdict:?}");
}

/// Passes bytes between a socket and a server, and on demand stops to serve whoever is connected, without a word.
struct Passage {
    silence: tokio::sync::watch::Sender<u64>,
}

impl Passage {
    fn open(at: std::path::PathBuf, server: std::path::PathBuf) -> Self {
        let listener = tokio::net::UnixListener::bind(at).unwrap();
        let (silence, heard) = tokio::sync::watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (mut heard, server) = (heard.clone(), server.clone());
                heard.mark_unchanged();
                tokio::spawn(async move {
                    let mut server = tokio::net::UnixStream::connect(server).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = heard.changed() => std::future::pending().await,
                    }
                });
            }
        });
        Self { silence }
    }
}

/// The connections go silent, as behind a firewall that forgot them; new ones would work.
async fn comes_back_after_silence(login: &Login, passage: &Passage) {
    let now = WallTime.now();
    let begin = support::sign_in(ALICE, Admission::Admitted);
    let (_, _) = login.begin(&begin, now).await.unwrap();
    passage.silence.send_modify(|count| *count += 1);
    let back = async { while login.begin(&begin, now).await.is_err() {} };
    timeout(Duration::from_secs(120), back).await.expect("a silent connection is given up");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_connection_to_redis_that_goes_silent_is_made_anew() {
    let server = Redis::start().await;
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("socket");
    let real = server.url().strip_prefix("redis+unix://").unwrap().into();
    let passage = Passage::open(at.clone(), real);
    let store = RedisStore::connect(&format!("redis+unix://{}", at.display())).await.unwrap();
    comes_back_after_silence(&login(store), &passage).await;
}

#[tokio::test]
#[ignore = "needs postgresql"]
async fn a_connection_to_postgres_that_goes_silent_is_made_anew() {
    let server = Postgres::start().await;
    let _tables = postgres(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let settings = server.settings();
    let real = settings.strip_prefix("host=").unwrap().split(' ').next().unwrap();
    let socket = ".s.PGSQL.5432";
    let real = std::path::Path::new(real).join(socket);
    let passage = Passage::open(folder.path().join(socket), real);
    let through = format!("host={} user=otp dbname=postgres", folder.path().display());
    let store = PostgresStore::connect(&through).await.unwrap();
    comes_back_after_silence(&login(store), &passage).await;
}

/// Whoever hangs up at any moment of a try that is not granted leaves nothing taken.
#[tokio::test]
#[ignore = "needs postgresql"]
async fn hanging_up_at_any_moment_leaves_no_budget_of_postgres_taken() {
    let server = Postgres::start().await;
    let (store, login) = (postgres(&server).await, builder(postgres(&server).await));
    let one = || {
        let rule = Rule::try_new(1, Duration::from_secs(86_400)).unwrap();
        Budget::try_new(vec![rule]).unwrap()
    };
    let login = login.danger_without_budgets().failure_budget(one()).build().unwrap();
    let now = WallTime.now();
    let mut is_answered = false;
    for steps in 0.. {
        let address = format!("user{steps}@example.jp");
        let visitor = Visitor::begin(&login, &address, Admission::Admitted, now).await;
        let id: ChallengeId = visitor.nonce.parse().unwrap();
        while matches!(store.reserve(id, now).await.unwrap(), Reserved::Granted { .. }) {}
        {
            let submit = login.submit(&visitor.nonce, &visitor.cookie, visitor.code(), now);
            let mut submit = std::pin::pin!(submit);
            for _ in 0..steps {
                let polled = std::future::poll_fn(|context| {
                    std::task::Poll::Ready(submit.as_mut().poll(context))
                });
                if let std::task::Poll::Ready(answer) = polled.await {
                    let reason = answer.unwrap().refusal().map(Refusal::reason);
                    assert_eq!(reason, Some(Reason::Exhausted));
                    is_answered = true;
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        // A budget that stays taken refuses the next try before the challenge is asked.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let given_back = async {
            loop {
                let verdict = visitor.submit(&login, visitor.code(), now).await;
                if verdict.refusal().map(Refusal::reason) == Some(Reason::Exhausted) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, given_back).await.unwrap_or_else(|_| panic!("taken after {steps} steps"));
        if is_answered {
            assert!(steps > 2, "it waits now and then");
            break;
        }
    }
}

#[tokio::test]
#[ignore = "needs postgresql"]
async fn postgres_forgets_what_ended_and_says_who_is_at_fault() {
    let server = Postgres::start().await;
    let store = postgres(&server).await;
    let login = login(postgres(&server).await);
    let now = WallTime.now();
    let alice = Visitor::begin(&login, ALICE, Admission::Admitted, now).await;
    assert_eq!(store.sweep().await.unwrap(), 0, "what lives stays");
    // Budgets of a millisecond end by themselves.
    let short = Budget::try_new(vec![Rule::try_new(1, Duration::from_millis(1)).unwrap()]).unwrap();
    let builder = builder(postgres(&server).await);
    let hasty = builder.mail_budget(short.clone()).start_budget(short).build().unwrap();
    let carol = support::sign_in_from("carol@example.jp", Admission::Admitted, "198.51.100.7");
    let _begun = hasty.begin(&carol, now).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(store.sweep().await.unwrap(), 2);
    assert!(matches!(alice.submit(&login, alice.code(), now).await, Verdict::Proven(_)));

    let error = PostgresStore::connect("no settings").await.unwrap_err();
    assert!(error.is_caller_fault(), "{error}");
    let error = PostgresStore::connect("host=/nowhere user=x").await.unwrap_err();
    assert!(error.is_store_unavailable() && !error.is_caller_fault(), "{error}");
}
