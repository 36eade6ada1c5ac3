//! The store under trial, with pauses.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;

use super::schedule::Dice;
use crate::challenge::{Challenge, ChallengeId};
use crate::error::Error;
use crate::store::{Charge, Guess, Inserted, Reserved, Store, Tally};
use crate::throttle::{Budget, BudgetKey, Taken};
use crate::timestamp::Timestamp;

/// Lets everybody else go first, once. A store that works in memory can place it between its own steps,
/// where one over a network would wait for an answer.
///
/// # Cancel safety
///
/// Nothing happens.
pub fn pause() -> impl Future<Output = ()> + Send {
    Pause(false)
}

struct Pause(bool);

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Pauses before and after each step. What joins steps is taken apart.
#[derive(Debug)]
pub(super) struct InSteps {
    store: Arc<dyn Store>,
    dice: Mutex<Dice>,
}

impl InSteps {
    pub(super) fn new(store: Arc<dyn Store>, seed: u64) -> Self {
        Self { store, dice: Mutex::new(Dice::new(!seed)) }
    }

    async fn pauses(&self) {
        let count = self.dice.lock().unwrap_or_else(PoisonError::into_inner).below(3);
        for _ in 0..count {
            pause().await;
        }
    }

    async fn with_pauses<T>(&self, step: impl Future<Output = T>) -> T {
        self.pauses().await;
        let answer = step.await;
        self.pauses().await;
        answer
    }
}

#[async_trait]
impl Store for InSteps {
    async fn insert(&self, challenge: &Challenge, now: Timestamp) -> Result<Inserted, Error> {
        self.with_pauses(self.store.insert(challenge, now)).await
    }

    async fn look_up(&self, id: ChallengeId, now: Timestamp) -> Result<Option<Challenge>, Error> {
        self.with_pauses(self.store.look_up(id, now)).await
    }

    async fn reserve(&self, id: ChallengeId, now: Timestamp) -> Result<Reserved, Error> {
        self.with_pauses(self.store.reserve(id, now)).await
    }

    async fn consume(
        &self,
        id: ChallengeId,
        generation: u32,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.with_pauses(self.store.consume(id, generation, now)).await
    }

    async fn replace(
        &self,
        generation: u32,
        challenge: &Challenge,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.with_pauses(self.store.replace(generation, challenge, now)).await
    }

    async fn take(&self, key: &BudgetKey, budget: &Budget, now: Timestamp) -> Result<Taken, Error> {
        self.with_pauses(self.store.take(key, budget, now)).await
    }

    async fn look(&self, key: &BudgetKey, budget: &Budget, now: Timestamp) -> Result<Taken, Error> {
        self.with_pauses(self.store.look(key, budget, now)).await
    }

    async fn give_back(
        &self,
        key: &BudgetKey,
        budget: &Budget,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.with_pauses(self.store.give_back(key, budget, now)).await
    }
}

/// Pauses before and after each step. What joins steps is left to the store.
#[derive(Debug)]
pub(super) struct Joined(pub(super) InSteps);

#[async_trait]
impl Store for Joined {
    async fn insert(&self, challenge: &Challenge, now: Timestamp) -> Result<Inserted, Error> {
        self.0.insert(challenge, now).await
    }

    async fn look_up(&self, id: ChallengeId, now: Timestamp) -> Result<Option<Challenge>, Error> {
        self.0.look_up(id, now).await
    }

    async fn reserve(&self, id: ChallengeId, now: Timestamp) -> Result<Reserved, Error> {
        self.0.reserve(id, now).await
    }

    async fn consume(
        &self,
        id: ChallengeId,
        generation: u32,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.0.consume(id, generation, now).await
    }

    async fn replace(
        &self,
        generation: u32,
        challenge: &Challenge,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.0.replace(generation, challenge, now).await
    }

    async fn take(&self, key: &BudgetKey, budget: &Budget, now: Timestamp) -> Result<Taken, Error> {
        self.0.take(key, budget, now).await
    }

    async fn look(&self, key: &BudgetKey, budget: &Budget, now: Timestamp) -> Result<Taken, Error> {
        self.0.look(key, budget, now).await
    }

    async fn give_back(
        &self,
        key: &BudgetKey,
        budget: &Budget,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.0.give_back(key, budget, now).await
    }

    async fn tally(&self, charges: &[Charge<'_>], now: Timestamp) -> Result<Tally, Error> {
        self.0.with_pauses(self.0.store.tally(charges, now)).await
    }

    async fn guess(
        &self,
        charges: &[Charge<'_>],
        id: ChallengeId,
        now: Timestamp,
    ) -> Result<Guess, Error> {
        self.0.with_pauses(self.0.store.guess(charges, id, now)).await
    }

    async fn accept(
        &self,
        charges: &[Charge<'_>],
        id: ChallengeId,
        generation: u32,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.0.with_pauses(self.0.store.accept(charges, id, generation, now)).await
    }
}
