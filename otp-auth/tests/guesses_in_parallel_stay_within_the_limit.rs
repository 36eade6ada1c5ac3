//! Whatever runs in parallel: at most five comparisons, at most one acceptance.

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use otp_auth::challenge::{Challenge, ChallengeId};
use otp_auth::error::Error;
use otp_auth::login::{Admission, Login, Reason, Verdict};
use otp_auth::store::{Inserted, MemoryStore, Reserved, Store};
use otp_auth::throttle::{Budget, BudgetKey, Taken};
use otp_auth::timestamp::Timestamp;
use otp_auth::{random::SystemRandom, secret::Pepper};
use support::{START, Visitor, after};

const STORMS: usize = 100;
const GUESSES: usize = 1_000;

/// `scripts/check long` makes it ten thousand.
fn guesses() -> usize {
    let asked = std::env::var("OTP_AUTH_GUESSES").ok();
    asked.map_or(GUESSES, |asked| asked.parse().expect("a number"))
}

/// Budgets so wide that only the limit of the challenge is left.
fn unthrottled(store: Arc<dyn Store>) -> Login {
    let random = SystemRandom::new();
    let pepper = Pepper::generate(&random).expect("randomness");
    Login::builder(store, pepper, Arc::new(random), "auth.example.jp".parse().expect("a host"))
        .danger_without_budgets()
        .build()
        .expect("good settings")
}

#[derive(Default)]
struct Count {
    compared: AtomicUsize,
    accepted: AtomicUsize,
}

impl Count {
    fn add(&self, verdict: &Verdict) {
        let is_accepted = matches!(verdict, Verdict::Proven(_));
        let reason = verdict.refusal().map(otp_auth::login::Refusal::reason);
        if is_accepted || matches!(reason, Some(Reason::Wrong | Reason::Decoy(_))) {
            self.compared.fetch_add(1, Ordering::Relaxed);
        }
        if is_accepted {
            self.accepted.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Sends `inputs` from as many tasks, on four threads, all waiting for one signal.
async fn storm(login: &Arc<Login>, visitor: Visitor, inputs: Vec<String>) -> (usize, usize) {
    let (visitor, count) = (Arc::new(visitor), Arc::new(Count::default()));
    let gate = Arc::new(tokio::sync::Barrier::new(inputs.len()));
    let tasks: Vec<_> = inputs
        .into_iter()
        .map(|input| {
            let (login, visitor) = (login.clone(), visitor.clone());
            let (count, gate) = (count.clone(), gate.clone());
            tokio::spawn(async move {
                gate.wait().await;
                count.add(&visitor.submit(&login, &input, after(1)).await);
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    (count.compared.load(Ordering::Relaxed), count.accepted.load(Ordering::Relaxed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_storms_of_guesses() {
    let login = Arc::new(unthrottled(Arc::new(MemoryStore::new())));
    let all = async {
        let mut hits = 0;
        for round in 0..STORMS {
            let visitor = Visitor::begin(&login, "a@b.example", Admission::Admitted, START).await;
            // The right code stands among the wrong ones, so that it sometimes gets a try.
            let inputs = (0..guesses()).map(|index| {
                if index % 100 == round % 100 {
                    visitor.code().to_owned()
                } else {
                    visitor.wrong_code()
                }
            });
            let inputs = inputs.collect();
            let (compared, accepted) = storm(&login, visitor, inputs).await;
            assert!(compared <= 5, "round {round}: {compared} comparisons");
            assert!(
                compared >= 1 && accepted <= 1,
                "round {round}: {compared}, {accepted} accepted"
            );
            hits += accepted;
        }
        hits
    };
    let hits = tokio::time::timeout(Duration::from_secs(300), all).await.expect("bounded time");
    println!("{hits} of {STORMS} storms hit the code within five tries");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn only_wrong_guesses_get_exactly_five_comparisons() {
    let login = Arc::new(unthrottled(Arc::new(MemoryStore::new())));
    for _ in 0..20 {
        let visitor = Visitor::begin(&login, "a@b.example", Admission::Admitted, START).await;
        let inputs = vec![visitor.wrong_code(); GUESSES];
        assert_eq!(storm(&login, visitor, inputs).await, (5, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_right_codes_one_is_accepted() {
    let login = Arc::new(unthrottled(Arc::new(MemoryStore::new())));
    for _ in 0..100 {
        let visitor = Visitor::begin(&login, "a@b.example", Admission::Admitted, START).await;
        let inputs = vec![visitor.code().to_owned(); 128];
        let (compared, accepted) = storm(&login, visitor, inputs).await;
        assert_eq!(accepted, 1);
        assert!(compared <= 5);
    }
}

/// These storms find a store that reads and then writes: else the tests above would prove nothing.
#[tokio::test]
async fn a_naive_store_is_caught() {
    let login = Arc::new(unthrottled(Arc::new(Naive::default())));
    let visitor = Visitor::begin(&login, "a@b.example", Admission::Admitted, START).await;
    let inputs = vec![visitor.wrong_code(); GUESSES];
    let (compared, _) = storm(&login, visitor, inputs).await;
    assert!(compared > 5, "the naive store kept the limit by luck: {compared}");
}

/// Counts as so many do: read, think, write.
#[derive(Debug, Default)]
struct Naive {
    inner: MemoryStore,
    counts: Mutex<HashMap<ChallengeId, u32>>,
}

#[async_trait]
impl Store for Naive {
    async fn reserve(&self, id: ChallengeId, now: Timestamp) -> Result<Reserved, Error> {
        let count = *self.counts.lock().expect("not poisoned").entry(id).or_default();
        tokio::task::yield_now().await;
        let Some(challenge) = self.inner.look_up(id, now).await? else {
            return Ok(Reserved::Unknown);
        };
        if count >= challenge.tries() {
            return Ok(Reserved::Exhausted);
        }
        self.counts.lock().expect("not poisoned").insert(id, count + 1);
        Ok(Reserved::Granted { challenge, number: count + 1 })
    }

    async fn insert(&self, challenge: &Challenge, now: Timestamp) -> Result<Inserted, Error> {
        self.inner.insert(challenge, now).await
    }

    async fn look_up(&self, id: ChallengeId, now: Timestamp) -> Result<Option<Challenge>, Error> {
        self.inner.look_up(id, now).await
    }

    async fn consume(
        &self,
        id: ChallengeId,
        generation: u32,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.inner.consume(id, generation, now).await
    }

    async fn replace(
        &self,
        generation: u32,
        challenge: &Challenge,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.inner.replace(generation, challenge, now).await
    }

    async fn take(&self, key: &BudgetKey, budget: &Budget, now: Timestamp) -> Result<Taken, Error> {
        self.inner.take(key, budget, now).await
    }

    async fn look(&self, key: &BudgetKey, budget: &Budget, now: Timestamp) -> Result<Taken, Error> {
        self.inner.look(key, budget, now).await
    }

    async fn give_back(
        &self,
        key: &BudgetKey,
        budget: &Budget,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.inner.give_back(key, budget, now).await
    }
}
