//! Where challenges and budgets live, and the atomic steps that every store must offer.

mod memory;

use std::fmt;

use async_trait::async_trait;

pub use self::memory::{MemoryStore, MemoryStoreLimits};
use crate::challenge::{Challenge, ChallengeId};
use crate::error::Error;
use crate::throttle::{Budget, BudgetKey, Taken};
use crate::timestamp::Timestamp;

/// A store of challenges and budgets, shared by all nodes that serve one login.
///
/// # Contract
///
/// Each method is *one atomic step* on its key, linearisable with every other step on the same key.
/// Nothing is required across keys. Never read and then write; never count in the caller's transaction,
/// where a rollback gives tries back. A store that cannot compare and set must not implement this trait.
///
/// Those steps give the guarantees of the whole crate: increments in [`reserve`](Self::reserve) are
/// serialised, so at most [`Challenge::tries`] calls are ever granted and no comparison is made without
/// a grant; success is told only to the caller whose [`consume`](Self::consume) answered `true`, and at
/// most one does.
///
/// `now` is the caller's clock. A store with a clock of its own (one that several nodes share) judges
/// expiry by that clock, so that the skew of a node stretches nothing. When the judging clock steps
/// back by more than 5 seconds, challenges it has already seen may die and none may revive.
///
/// # Errors
///
/// An error means that the step may or may not have happened. The caller refuses and never repeats
/// blindly: errors can waste tries, not create them.
///
/// # Cancel safety
///
/// A dropped future counts as an unknown answer: the step may or may not have happened.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// Creates the record if its id is absent, with no tries spent. Never overwrites.
    async fn insert(&self, challenge: &Challenge, now: Timestamp) -> Result<Inserted, Error>;

    /// Reads a live record: present, not expired, not used. Changes nothing.
    ///
    /// For a resend, which is guarded by the generation in [`replace`](Self::replace).
    async fn look_up(&self, id: ChallengeId, now: Timestamp) -> Result<Option<Challenge>, Error>;

    /// Spends a try and returns the record, if it is present, alive, not used and has tries left.
    async fn reserve(&self, id: ChallengeId, now: Timestamp) -> Result<Reserved, Error>;

    /// Marks the record as used if it is alive, of this generation and not used.
    ///
    /// Durable before the answer; at most one caller ever sees `true`.
    async fn consume(
        &self,
        id: ChallengeId,
        generation: u32,
        now: Timestamp,
    ) -> Result<bool, Error>;

    /// Puts `challenge` in the place of the live, unused record of the same id and of `generation`.
    ///
    /// Keeps the count of tries and the moment of expiry that the store has.
    async fn replace(
        &self,
        generation: u32,
        challenge: &Challenge,
        now: Timestamp,
    ) -> Result<bool, Error>;

    /// Takes one from the budget under `key`: tests and advances in one step, as
    /// [`BudgetState::take`](crate::throttle::BudgetState::take).
    async fn take(&self, key: &BudgetKey, budget: &Budget, now: Timestamp) -> Result<Taken, Error>;

    /// Returns one to the budget, as [`BudgetState::give_back`](crate::throttle::BudgetState::give_back).
    async fn give_back(
        &self,
        key: &BudgetKey,
        budget: &Budget,
        now: Timestamp,
    ) -> Result<(), Error>;
}

/// The answer of [`Store::insert`].
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// The record is stored.
    Inserted,
    /// A record of this id was there; it was left alone.
    Exists,
}

/// The answer of [`Store::reserve`].
#[must_use]
#[derive(Debug, Clone)]
pub enum Reserved {
    /// A try was spent; the holder may compare once.
    Granted {
        /// The record as it was at that moment.
        challenge: Challenge,
        /// Which try this is, from 1 to [`Challenge::tries`].
        number: u32,
    },
    /// All tries were spent before.
    Exhausted,
    /// The record was used before.
    Used,
    /// The record's life is over.
    Expired,
    /// No such record, or no longer.
    Unknown,
}
