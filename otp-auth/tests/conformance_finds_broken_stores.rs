//! The kit finds stores that count as so many do; the store in memory passes.

#![cfg(feature = "conformance")]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use otp_auth::challenge::{Challenge, ChallengeId};
use otp_auth::conformance::{Plan, SimulatedTime, Violation, check, pause};
use otp_auth::error::Error;
use otp_auth::store::{Inserted, MemoryStore, Reserved, Store};
use otp_auth::throttle::{Budget, BudgetKey, BudgetState, Taken};
use otp_auth::timestamp::Timestamp;

#[tokio::test]
async fn the_store_in_memory_survives_a_thousand_schedules() {
    let time = SimulatedTime::default();
    let report = check(Arc::new(MemoryStore::new()), &time, &Plan::full()).await.unwrap();
    assert_eq!(report.schedules, 1_000);
    assert!(report.accepted > 300 && report.compared > 2_000, "{report:?}");
    println!("{report:?}");
}

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Reads the count, and writes it after a pause.
    CountsInTwoSteps,
    /// Reads the mark, and writes it after a pause.
    ConsumesInTwoSteps,
    /// Reads the budget, and writes it after a pause.
    TakesInTwoSteps,
    /// Reads the budget to give back to, and writes it after a pause.
    GivesBackInTwoSteps,
    /// Looks whether the record exists, and writes it after a pause.
    InsertsInTwoSteps,
    /// Compares the generation, and writes after a pause.
    ReplacesInTwoSteps,
    /// Gives new tries with a new code.
    ResendGivesTries,
    /// Does not compare the generation.
    ConsumesAnything,
    /// Takes nothing but says so.
    LosesCount,
    /// None: the double itself is right.
    None,
}

async fn find(fault: Fault, seeds: u64) -> Result<(), Violation> {
    let store = Arc::new(Broken::new(fault));
    let plan = Plan::quick().seeds(seeds);
    check(store, &SimulatedTime::default(), &plan).await.map(|_| ())
}

#[tokio::test]
async fn races_are_found_within_ten_seeds() {
    for (fault, what) in [
        (Fault::CountsInTwoSteps, "codes were compared"),
        (Fault::ConsumesInTwoSteps, "used or replaced one generation"),
        (Fault::TakesInTwoSteps, "taken from a budget of 10"),
        (Fault::GivesBackInTwoSteps, "taken from a budget of 20"),
        (Fault::InsertsInTwoSteps, "created one record"),
        (Fault::ReplacesInTwoSteps, "used or replaced one generation"),
    ] {
        let found = find(fault, 10).await.unwrap_err();
        assert!(found.seed().is_some_and(|seed| seed < 10), "{fault:?}: {found}");
        let is_acceptance = found.to_string().contains("accepted");
        assert!(found.to_string().contains(what) || is_acceptance, "{fault:?}: {found}");
        println!("{fault:?}: {found}");
    }
    find(Fault::None, 40).await.unwrap();
}

/// Whichever orders of the schedule there are: the same race is found again and again, not by luck.
#[tokio::test]
async fn a_naive_count_is_found_from_whatever_seed_one_begins() {
    for first in (0..1_000).step_by(50) {
        let store = Arc::new(Broken::new(Fault::CountsInTwoSteps));
        let plan = Plan::quick().seeds(10).first_seed(first);
        let found = check(store, &SimulatedTime::default(), &plan).await.unwrap_err();
        assert!(found.to_string().contains("codes were compared"), "{found}");
    }
}

#[tokio::test]
async fn what_needs_no_race_is_found_without_one() {
    for fault in [Fault::ResendGivesTries, Fault::ConsumesAnything, Fault::LosesCount] {
        let found = find(fault, 0).await.unwrap_err();
        assert_eq!(found.seed(), None, "{fault:?}: {found}");
    }
    find(Fault::None, 0).await.unwrap();
}

/// A store in memory with one fault.
#[derive(Debug)]
struct Broken {
    fault: Fault,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    records: HashMap<ChallengeId, (Challenge, u32)>,
    used: HashSet<ChallengeId>,
    budgets: HashMap<BudgetKey, BudgetState>,
}

impl Broken {
    fn new(fault: Fault) -> Self {
        Self { fault, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn pause_if(&self, fault: Fault) {
        if self.fault == fault {
            pause().await;
        }
    }

    fn live(&self, id: ChallengeId, now: Timestamp) -> Option<Challenge> {
        let state = self.state();
        let found = state.records.get(&id).map(|(challenge, _)| challenge.clone());
        found.filter(|it| !state.used.contains(&id) && !it.is_dead_at(now))
    }
}

#[async_trait]
impl Store for Broken {
    async fn insert(&self, challenge: &Challenge, _: Timestamp) -> Result<Inserted, Error> {
        if self.state().records.contains_key(&challenge.id()) {
            return Ok(Inserted::Exists);
        }
        self.pause_if(Fault::InsertsInTwoSteps).await;
        self.state().records.insert(challenge.id(), (challenge.clone(), 0));
        Ok(Inserted::Inserted)
    }

    async fn look_up(&self, id: ChallengeId, now: Timestamp) -> Result<Option<Challenge>, Error> {
        let spent = self.state().records.get(&id).map_or(0, |(_, spent)| *spent);
        Ok(self.live(id, now).filter(|challenge| spent < challenge.tries()))
    }

    async fn reserve(&self, id: ChallengeId, now: Timestamp) -> Result<Reserved, Error> {
        let Some((challenge, spent)) = self.state().records.get(&id).cloned() else {
            return Ok(Reserved::Unknown);
        };
        if self.state().used.contains(&id) {
            return Ok(Reserved::Used);
        }
        if challenge.is_dead_at(now) {
            return Ok(Reserved::Expired);
        }
        if spent >= challenge.tries() {
            return Ok(Reserved::Exhausted);
        }
        self.pause_if(Fault::CountsInTwoSteps).await;
        if let Some(record) = self.state().records.get_mut(&id) {
            record.1 = spent + 1;
        }
        Ok(Reserved::Granted { challenge, number: spent + 1 })
    }

    async fn consume(
        &self,
        id: ChallengeId,
        generation: u32,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let Some(challenge) = self.live(id, now) else { return Ok(false) };
        if challenge.generation() != generation && self.fault != Fault::ConsumesAnything {
            return Ok(false);
        }
        self.pause_if(Fault::ConsumesInTwoSteps).await;
        self.state().used.insert(id);
        Ok(true)
    }

    async fn replace(
        &self,
        generation: u32,
        challenge: &Challenge,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let Some(old) = self.live(challenge.id(), now) else { return Ok(false) };
        if old.generation() != generation {
            return Ok(false);
        }
        self.pause_if(Fault::ReplacesInTwoSteps).await;
        let mut state = self.state();
        let Some(record) = state.records.get_mut(&challenge.id()) else { return Ok(false) };
        record.0 = challenge.clone().issued_with(&old);
        if self.fault == Fault::ResendGivesTries {
            record.1 = 0;
        }
        Ok(true)
    }

    async fn take(&self, key: &BudgetKey, budget: &Budget, now: Timestamp) -> Result<Taken, Error> {
        let mut budget_state = self.state().budgets.get(key).copied().unwrap_or_default();
        let taken = budget_state.take(budget, now);
        self.pause_if(Fault::TakesInTwoSteps).await;
        if self.fault != Fault::LosesCount {
            self.state().budgets.insert(*key, budget_state);
        }
        Ok(taken)
    }

    async fn look(&self, key: &BudgetKey, budget: &Budget, now: Timestamp) -> Result<Taken, Error> {
        let state = self.state().budgets.get(key).copied().unwrap_or_default();
        Ok(state.look(budget, now))
    }

    async fn give_back(
        &self,
        key: &BudgetKey,
        budget: &Budget,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut budget_state = self.state().budgets.get(key).copied().unwrap_or_default();
        budget_state.give_back(budget, now);
        self.pause_if(Fault::GivesBackInTwoSteps).await;
        self.state().budgets.insert(*key, budget_state);
        Ok(())
    }
}
