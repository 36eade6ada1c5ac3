//! A store in memory that fails, loses answers, or stops for ever at a chosen step.
#![allow(dead_code, reason = "each test uses its own part")]

use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use otp_auth::challenge::{Challenge, ChallengeId};
use otp_auth::error::Error;
use otp_auth::store::{Inserted, MemoryStore, Reserved, Store};
use otp_auth::throttle::{Budget, BudgetKey, Taken};
use otp_auth::timestamp::Timestamp;

/// What happens at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does not happen, and the caller hears of an error.
    Fails,
    /// It happens, and the caller hears of an error.
    LosesAnswer,
    /// It does not happen, and the caller's process ends.
    CrashBefore,
    /// It happens, and the caller's process ends.
    CrashAfter,
}

pub(crate) const FAULTS: [Fault; 4] =
    [Fault::Fails, Fault::LosesAnswer, Fault::CrashBefore, Fault::CrashAfter];

#[derive(Debug, Default)]
pub(crate) struct Faulty {
    inner: MemoryStore,
    plan: Mutex<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    /// Steps until the fault.
    at: Option<(usize, Fault)>,
    taken: usize,
}

impl Faulty {
    /// Plans a fault at the step of this number, from 0.
    pub(crate) fn fail_at(&self, step: usize, fault: Fault) {
        *self.plan.lock().unwrap() = Plan { at: Some((step, fault)), taken: 0 };
    }

    /// All is well again. Gives how many steps were taken since the last plan.
    pub(crate) fn heal(&self) -> usize {
        std::mem::take(&mut *self.plan.lock().unwrap()).taken
    }

    async fn step<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let fault = {
            let mut plan = self.plan.lock().unwrap();
            let number = plan.taken;
            plan.taken += 1;
            plan.at.filter(|(at, _)| *at == number).map(|(_, fault)| fault)
        };
        match fault {
            None => work.await,
            Some(Fault::Fails) => Err(Error::store_unavailable("connection refused")),
            Some(Fault::LosesAnswer) => {
                let _lost = work.await;
                Err(Error::store_unavailable("connection lost"))
            }
            Some(Fault::CrashBefore) => std::future::pending().await,
            Some(Fault::CrashAfter) => {
                let _lost = work.await;
                std::future::pending().await
            }
        }
    }
}

/// Runs a future that waits for nothing; `None` if its process ended.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

#[async_trait]
impl Store for Faulty {
    async fn insert(&self, challenge: &Challenge, now: Timestamp) -> Result<Inserted, Error> {
        self.step(self.inner.insert(challenge, now)).await
    }

    async fn look_up(&self, id: ChallengeId, now: Timestamp) -> Result<Option<Challenge>, Error> {
        self.step(self.inner.look_up(id, now)).await
    }

    async fn reserve(&self, id: ChallengeId, now: Timestamp) -> Result<Reserved, Error> {
        self.step(self.inner.reserve(id, now)).await
    }

    async fn consume(
        &self,
        id: ChallengeId,
        generation: u32,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.step(self.inner.consume(id, generation, now)).await
    }

    async fn replace(
        &self,
        generation: u32,
        challenge: &Challenge,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.step(self.inner.replace(generation, challenge, now)).await
    }

    async fn take(&self, key: &BudgetKey, budget: &Budget, now: Timestamp) -> Result<Taken, Error> {
        self.step(self.inner.take(key, budget, now)).await
    }

    async fn look(&self, key: &BudgetKey, budget: &Budget, now: Timestamp) -> Result<Taken, Error> {
        self.step(self.inner.look(key, budget, now)).await
    }

    async fn give_back(
        &self,
        key: &BudgetKey,
        budget: &Budget,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.step(self.inner.give_back(key, budget, now)).await
    }
}
