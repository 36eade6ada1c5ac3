//! The store of one process.

mod budgets;
mod challenges;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use self::budgets::Budgets;
use self::challenges::Challenges;
use super::{Charge, ChargeKind, Guess, Inserted, Reserved, Store, Tally, taken_together};
use crate::challenge::{Challenge, ChallengeId};
use crate::error::Error;
use crate::throttle::{Budget, BudgetKey, Taken};
use crate::timestamp::Timestamp;

/// Keeps challenges and budgets in the memory of one process: right for one node, lost with it.
///
/// Each operation holds one of 16 locks at a time and never awaits, so its future is ready at once. Every
/// table is bounded; at the bound new challenges are refused ([`Error::is_store_full`]) and budgets
/// without an entry count as exhausted. An eighth more of both is kept for devices that have signed in before,
/// so strangers who fill a table shut out strangers alone. Nothing live is evicted. Expired entries go as later ones arrive;
/// the work is proportional to what expired.
///
/// A restart forgets the budgets: whoever can make the process restart at will gets their guesses anew.
///
/// A clock that steps back by more than 5 seconds closes the open challenges of the lock that sees it.
pub struct MemoryStore {
    challenges: Vec<Mutex<Challenges>>,
    budgets: Vec<Mutex<Budgets>>,
    limits: MemoryStoreLimits,
}

/// How much a [`MemoryStore`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryStoreLimits {
    challenges: usize,
    budgets: usize,
}

impl MemoryStoreLimits {
    /// Open challenges of strangers, about 220 bytes each. Default 100,000: ten minutes at 166 logins a second.
    #[must_use]
    pub fn challenges(mut self, at_most: usize) -> Self {
        self.challenges = at_most;
        self
    }

    /// Budgets of strangers in use, about 150 bytes each. Default 400,000. Strangers who do all that the default
    /// budgets allow, and sign in nowhere, have at most 200 in use from one network of IPv4 (/24), and 2,000 from
    /// one site of IPv6 (/48); failures at six digits, which the deployment bounds, have another 6,000 in all.
    #[must_use]
    pub fn budgets(mut self, at_most: usize) -> Self {
        self.budgets = at_most;
        self
    }
}

impl Default for MemoryStoreLimits {
    fn default() -> Self {
        Self { challenges: 100_000, budgets: 400_000 }
    }
}

impl MemoryStore {
    /// An empty store with default limits.
    pub fn new() -> Self {
        Self::with_limits(MemoryStoreLimits::default())
    }

    /// An empty store with limits of your own, each rounded up to a multiple of 16.
    pub fn with_limits(limits: MemoryStoreLimits) -> Self {
        let of_each = limits.challenges.div_ceil(SHARDS);
        let budgets_of_each = limits.budgets.div_ceil(SHARDS);
        Self {
            challenges: (0..SHARDS).map(|_| Mutex::new(Challenges::new(of_each))).collect(),
            budgets: (0..SHARDS).map(|_| Mutex::new(Budgets::new(budgets_of_each))).collect(),
            limits,
        }
    }

    /// How many challenges are held at the moment, dead ones included.
    pub fn challenge_count(&self) -> usize {
        self.challenges.iter().map(|shard| lock(shard).len()).sum()
    }

    /// How many budgets are held at the moment.
    pub fn budget_count(&self) -> usize {
        self.budgets.iter().map(|shard| lock(shard).len()).sum()
    }

    /// The shard of a challenge, and the time to judge by: never behind what the shard has seen, unless
    /// the clock was set back.
    fn challenges(
        &self,
        id: ChallengeId,
        now: Timestamp,
    ) -> (MutexGuard<'_, Challenges>, Timestamp) {
        // The last byte: the table inside hashes by the first ones.
        let mut shard = lock(&self.challenges[usize::from(id.as_bytes()[15]) % SHARDS]);
        let now = shard.advance(now);
        (shard, now)
    }

    fn budgets(&self, key: &BudgetKey, now: Timestamp) -> MutexGuard<'_, Budgets> {
        // A keyed hash or a network; a plain sum spreads both well enough.
        let sum: usize = key.who().iter().copied().map(usize::from).sum();
        let mut shard = lock(&self.budgets[sum % SHARDS]);
        shard.advance(now);
        shard
    }

    fn take_now(&self, key: &BudgetKey, budget: &Budget, now: Timestamp) -> Taken {
        self.budgets(key, now).take(key, budget, now)
    }

    fn reserve_now(&self, id: ChallengeId, now: Timestamp) -> Reserved {
        let (mut shard, now) = self.challenges(id, now);
        shard.reserve(id, now)
    }

    fn consume_now(&self, id: ChallengeId, generation: u32, now: Timestamp) -> bool {
        let (mut shard, now) = self.challenges(id, now);
        shard.consume(id, generation, now)
    }

    fn give_all_back(&self, charges: &[Charge<'_>], now: Timestamp) {
        for charge in charges {
            self.budgets(&charge.key, now).give_back(&charge.key, charge.budget, now);
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn insert(&self, challenge: &Challenge, now: Timestamp) -> Result<Inserted, Error> {
        let (mut shard, _) = self.challenges(challenge.id(), now);
        shard.insert(challenge)
    }

    async fn look_up(&self, id: ChallengeId, now: Timestamp) -> Result<Option<Challenge>, Error> {
        let (mut shard, now) = self.challenges(id, now);
        Ok(shard.look_up(id, now))
    }

    async fn reserve(&self, id: ChallengeId, now: Timestamp) -> Result<Reserved, Error> {
        Ok(self.reserve_now(id, now))
    }

    async fn consume(
        &self,
        id: ChallengeId,
        generation: u32,
        now: Timestamp,
    ) -> Result<bool, Error> {
        Ok(self.consume_now(id, generation, now))
    }

    async fn replace(
        &self,
        generation: u32,
        challenge: &Challenge,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let (mut shard, now) = self.challenges(challenge.id(), now);
        Ok(shard.replace(generation, challenge, now))
    }

    async fn take(&self, key: &BudgetKey, budget: &Budget, now: Timestamp) -> Result<Taken, Error> {
        Ok(self.take_now(key, budget, now))
    }

    async fn look(&self, key: &BudgetKey, budget: &Budget, now: Timestamp) -> Result<Taken, Error> {
        Ok(self.budgets(key, now).look(key, budget, now))
    }

    async fn give_back(
        &self,
        key: &BudgetKey,
        budget: &Budget,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.budgets(key, now).give_back(key, budget, now);
        Ok(())
    }

    async fn tally(&self, charges: &[Charge<'_>], now: Timestamp) -> Result<Tally, Error> {
        let mut tally = Tally::default();
        for (index, charge) in charges.iter().enumerate() {
            let answer = match charge.kind {
                ChargeKind::Look => {
                    self.budgets(&charge.key, now).look(&charge.key, charge.budget, now)
                }
                ChargeKind::Take | ChargeKind::TakeTogether => {
                    self.take_now(&charge.key, charge.budget, now)
                }
            };
            if !tally.push(charge.kind, answer) {
                self.give_all_back(taken_together(&charges[..index]), now);
                break;
            }
        }
        Ok(tally)
    }

    async fn guess(
        &self,
        charges: &[Charge<'_>],
        id: ChallengeId,
        now: Timestamp,
    ) -> Result<Guess, Error> {
        for (index, charge) in charges.iter().enumerate() {
            if !self.take_now(&charge.key, charge.budget, now).is_taken() {
                self.give_all_back(&charges[..index], now);
                return Ok(Guess::OverBudget { index });
            }
        }
        let reserved = self.reserve_now(id, now);
        if !reserved.is_charged() {
            self.give_all_back(charges, now);
        }
        Ok(Guess::Reserved(reserved))
    }

    async fn accept(
        &self,
        charges: &[Charge<'_>],
        id: ChallengeId,
        generation: u32,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let is_first = self.consume_now(id, generation, now);
        if is_first {
            self.give_all_back(charges, now);
        }
        Ok(is_first)
    }
}

fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    // No critical section leaves a shard half changed, so a panic elsewhere does not spoil it.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Enough that two cores rarely meet, few enough that an idle store is small.
const SHARDS: usize = 16;
