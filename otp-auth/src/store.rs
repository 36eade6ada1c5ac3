//! Where challenges and budgets live, and the atomic steps that every store must offer.

mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;

use std::fmt;

use async_trait::async_trait;

pub use self::memory::{MemoryStore, MemoryStoreLimits};
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use self::postgres::PostgresStore;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use self::redis::RedisStore;
use crate::challenge::{Challenge, ChallengeId};
use crate::error::Error;
use crate::throttle::{Budget, BudgetKey, Taken};
use crate::timestamp::Timestamp;

/// A store of challenges and budgets, shared by all nodes that serve one login.
///
/// # Contract
///
/// Each required method is *one atomic step* on its key, linearisable with every other step on the same
/// key. Nothing is required across keys. Never read and then write; never count in the caller's
/// transaction, where a rollback gives tries back. A store that cannot compare and set must not
/// implement this trait.
///
/// Those steps give the guarantees of the whole crate: increments in [`reserve`](Self::reserve) are
/// serialised, so at most [`Challenge::tries`] calls are ever granted and no comparison is made without
/// a grant; success is told only to the caller whose [`consume`](Self::consume) answered `true`, and at
/// most one does.
///
/// The provided methods join steps. A store that can do so in one round trip overrides them; each key's
/// step must stay atomic.
///
/// Whether an implementation keeps all this is found out by `conformance::check` (feature `conformance`) in
/// one call.
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

    /// Reads a live record: present, not expired, not used, with tries left. Changes nothing.
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

    /// What [`take`](Self::take) would answer, as
    /// [`BudgetState::look`](crate::throttle::BudgetState::look). Changes nothing.
    async fn look(&self, key: &BudgetKey, budget: &Budget, now: Timestamp) -> Result<Taken, Error>;

    /// Returns one to the budget, as [`BudgetState::give_back`](crate::throttle::BudgetState::give_back).
    async fn give_back(
        &self,
        key: &BudgetKey,
        budget: &Budget,
        now: Timestamp,
    ) -> Result<(), Error>;

    /// Takes from or looks at several budgets, in this order, and stops at the first that has nothing to
    /// take. Looking never stops. What was taken [together](ChargeKind::TakeTogether) with the one that stops is
    /// given back.
    async fn tally(&self, charges: &[Charge<'_>], now: Timestamp) -> Result<Tally, Error> {
        tally_in_steps(self, charges, now).await
    }

    /// Takes from all budgets and then [reserves](Self::reserve) a try. What was taken is
    /// given back where no try is granted, and where the try is [free of charge](Challenge::is_free_of_charge).
    ///
    /// This is the whole of a failed try: the fewer round trips, the better. Whoever hangs up in between leaves
    /// budgets taken, so a store that needs several goes on when its future is dropped.
    async fn guess(
        &self,
        charges: &[Charge<'_>],
        id: ChallengeId,
        now: Timestamp,
    ) -> Result<Guess, Error> {
        guess_in_steps(self, charges, id, now).await
    }

    /// [Consumes](Self::consume) and, if that is true, gives back what led to it. What is lost on the way
    /// costs the address one failure it did not make.
    async fn accept(
        &self,
        charges: &[Charge<'_>],
        id: ChallengeId,
        generation: u32,
        now: Timestamp,
    ) -> Result<bool, Error> {
        accept_in_steps(self, charges, id, generation, now).await
    }
}

/// One budget among several that are asked together.
#[derive(Debug, Clone, Copy)]
pub struct Charge<'a> {
    /// Whose budget.
    pub key: BudgetKey,
    /// By which rules.
    pub budget: &'a Budget,
    /// Whether to take.
    pub kind: ChargeKind,
}

impl<'a> Charge<'a> {
    /// Takes one.
    pub fn take(key: BudgetKey, budget: &'a Budget) -> Self {
        Self { key, budget, kind: ChargeKind::Take }
    }

    /// Takes one if all that are taken together have one.
    pub fn take_together(key: BudgetKey, budget: &'a Budget) -> Self {
        Self { key, budget, kind: ChargeKind::TakeTogether }
    }

    /// Looks whether there is one.
    pub fn look(key: BudgetKey, budget: &'a Budget) -> Self {
        Self { key, budget, kind: ChargeKind::Look }
    }
}

/// What to do with a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChargeKind {
    /// Take one, or stop.
    Take,
    /// Take one, or stop and undo those before it of this kind. They stand last.
    TakeTogether,
    /// Look whether there is one, and go on.
    Look,
}

/// The answers of [`Store::tally`], in the order of the questions; at most eight.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    answers: [Option<Taken>; 8],
    count: usize,
}

impl Tally {
    /// Adds the next answer; whether the next question is to be asked.
    pub fn push(&mut self, kind: ChargeKind, answer: Taken) -> bool {
        let Some(place) = self.answers.get_mut(self.count) else { return false };
        *place = Some(answer);
        self.count += 1;
        kind == ChargeKind::Look || answer.is_taken()
    }

    /// Whether the budget had one. `false` for a question that was not asked.
    pub fn is_taken(&self, index: usize) -> bool {
        self.answers.get(index).copied().flatten().is_some_and(|answer| answer.is_taken())
    }

    /// How many questions were asked.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// Those at the end of a list that are taken together.
fn taken_together<'a, 'b>(charges: &'a [Charge<'b>]) -> &'a [Charge<'b>] {
    let others = charges.iter().rposition(|charge| charge.kind != ChargeKind::TakeTogether);
    &charges[others.map_or(0, |last| last + 1)..]
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

impl Reserved {
    /// Whether what the try took of budgets stays taken.
    pub fn is_charged(&self) -> bool {
        matches!(self, Self::Granted { challenge, .. } if !challenge.is_free_of_charge())
    }
}

/// The answer of [`Store::guess`].
#[must_use]
#[derive(Debug, Clone)]
pub enum Guess {
    /// The budgets allowed it; this is what the challenge says.
    Reserved(Reserved),
    /// The budget of this index had nothing; the challenge was not touched.
    OverBudget {
        /// Which of the charges.
        index: usize,
    },
}

/// [`Store::tally`] by one call after the other.
async fn tally_in_steps<S: Store + ?Sized>(
    store: &S,
    charges: &[Charge<'_>],
    now: Timestamp,
) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    for (index, charge) in charges.iter().enumerate() {
        let answer = match charge.kind {
            ChargeKind::Look => store.look(&charge.key, charge.budget, now).await?,
            ChargeKind::Take | ChargeKind::TakeTogether => {
                store.take(&charge.key, charge.budget, now).await?
            }
        };
        if !tally.push(charge.kind, answer) {
            undo(store, taken_together(&charges[..index]), now).await?;
            break;
        }
    }
    Ok(tally)
}

/// [`Store::guess`] by one call after the other.
async fn guess_in_steps<S: Store + ?Sized>(
    store: &S,
    charges: &[Charge<'_>],
    id: ChallengeId,
    now: Timestamp,
) -> Result<Guess, Error> {
    for (index, charge) in charges.iter().enumerate() {
        if !store.take(&charge.key, charge.budget, now).await?.is_taken() {
            undo(store, &charges[..index], now).await?;
            return Ok(Guess::OverBudget { index });
        }
    }
    let reserved = store.reserve(id, now).await?;
    if !reserved.is_charged() {
        undo(store, charges, now).await?;
    }
    Ok(Guess::Reserved(reserved))
}

/// [`Store::accept`] by one call after the other.
async fn accept_in_steps<S: Store + ?Sized>(
    store: &S,
    charges: &[Charge<'_>],
    id: ChallengeId,
    generation: u32,
    now: Timestamp,
) -> Result<bool, Error> {
    let is_first = store.consume(id, generation, now).await?;
    if is_first {
        for charge in charges {
            let _lost = store.give_back(&charge.key, charge.budget, now).await;
        }
    }
    Ok(is_first)
}

/// Gives everything back that was taken for a try which was not granted.
async fn undo<S: Store + ?Sized>(
    store: &S,
    charges: &[Charge<'_>],
    now: Timestamp,
) -> Result<(), Error> {
    for charge in charges {
        store.give_back(&charge.key, charge.budget, now).await?;
    }
    Ok(())
}
