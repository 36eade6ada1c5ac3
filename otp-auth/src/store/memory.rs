//! The store of one process.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{Inserted, Reserved, Store};
use crate::challenge::{CLOCK_TOLERANCE, Challenge, ChallengeId};
use crate::error::Error;
use crate::throttle::{Budget, BudgetKey, BudgetState, Rule, Taken};
use crate::timestamp::Timestamp;

/// Keeps challenges and budgets in the memory of one process: right for one node, lost with it.
///
/// Each operation holds one of 16 locks and never awaits, so its future is ready at once. Every table is
/// bounded; at the bound new challenges are refused ([`Error::is_store_full`]) and budgets without an
/// entry count as exhausted. Nothing live is evicted. Expired entries go as later ones arrive.
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
    /// Open challenges, about 400 bytes each. Default 100,000: ten minutes at 166 logins a second.
    #[must_use]
    pub fn challenges(mut self, at_most: usize) -> Self {
        self.challenges = at_most;
        self
    }

    /// Budgets in use, about 250 bytes each. Default 300,000: two addresses' worth and one network's
    /// for each challenge.
    #[must_use]
    pub fn budgets(mut self, at_most: usize) -> Self {
        self.budgets = at_most;
        self
    }
}

impl Default for MemoryStoreLimits {
    fn default() -> Self {
        Self { challenges: 100_000, budgets: 300_000 }
    }
}

impl MemoryStore {
    /// An empty store with default limits.
    pub fn new() -> Self {
        Self::with_limits(MemoryStoreLimits::default())
    }

    /// An empty store with limits of your own, each rounded up to a multiple of 16.
    pub fn with_limits(limits: MemoryStoreLimits) -> Self {
        Self {
            challenges: (0..SHARDS).map(|_| Mutex::default()).collect(),
            budgets: (0..SHARDS).map(|_| Mutex::default()).collect(),
            limits,
        }
    }

    /// How many challenges are held at the moment, dead ones included.
    pub fn challenge_count(&self) -> usize {
        self.challenges.iter().map(|shard| lock(shard).entries.len()).sum()
    }

    /// How many budgets are held at the moment.
    pub fn budget_count(&self) -> usize {
        self.budgets.iter().map(|shard| lock(shard).entries.len()).sum()
    }

    /// The shard of a challenge, and the time to judge by: never behind what the shard has seen, unless
    /// the clock was set back.
    fn challenges(
        &self,
        id: ChallengeId,
        now: Timestamp,
    ) -> (MutexGuard<'_, Challenges>, Timestamp) {
        let mut shard = lock(&self.challenges[usize::from(id.as_bytes()[0]) % SHARDS]);
        let now = shard.advance(now);
        (shard, now)
    }

    fn budgets(&self, key: &BudgetKey) -> MutexGuard<'_, Budgets> {
        // The names end in a keyed hash or a network; a plain sum spreads them well enough.
        let sum: usize = key.as_str().bytes().map(usize::from).sum();
        lock(&self.budgets[sum % SHARDS])
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
        if shard.entries.contains_key(&challenge.id()) {
            return Ok(Inserted::Exists);
        }
        if shard.entries.len() >= self.limits.challenges.div_ceil(SHARDS) {
            return Err(Error::store_full());
        }
        shard.ends.insert((challenge.expires(), challenge.id()));
        let entry = Entry { challenge: challenge.clone(), spent: 0, is_used: false };
        shard.entries.insert(challenge.id(), entry);
        Ok(Inserted::Inserted)
    }

    async fn look_up(&self, id: ChallengeId, now: Timestamp) -> Result<Option<Challenge>, Error> {
        let (mut shard, now) = self.challenges(id, now);
        Ok(shard.live(id, now).map(|entry| entry.challenge.clone()))
    }

    async fn reserve(&self, id: ChallengeId, now: Timestamp) -> Result<Reserved, Error> {
        let (mut shard, now) = self.challenges(id, now);
        let Some(entry) = shard.entries.get_mut(&id) else { return Ok(Reserved::Unknown) };
        if entry.is_used {
            return Ok(Reserved::Used);
        }
        if entry.challenge.is_dead_at(now) {
            return Ok(Reserved::Expired);
        }
        if entry.spent >= entry.challenge.tries() {
            return Ok(Reserved::Exhausted);
        }
        entry.spent += 1;
        Ok(Reserved::Granted { challenge: entry.challenge.clone(), number: entry.spent })
    }

    async fn consume(
        &self,
        id: ChallengeId,
        generation: u32,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let (mut shard, now) = self.challenges(id, now);
        let entry = shard.live(id, now).filter(|e| e.challenge.generation() == generation);
        Ok(entry.is_some_and(|entry| {
            entry.is_used = true;
            true
        }))
    }

    async fn replace(
        &self,
        generation: u32,
        challenge: &Challenge,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let (mut shard, now) = self.challenges(challenge.id(), now);
        let entry =
            shard.live(challenge.id(), now).filter(|e| e.challenge.generation() == generation);
        Ok(entry.is_some_and(|entry| {
            // INVARIANT: the end stays the first one, whatever the new record says.
            let (issued, lifetime) = (entry.challenge.issued, entry.challenge.lifetime);
            entry.challenge = Challenge { issued, lifetime, ..challenge.clone() };
            true
        }))
    }

    async fn take(&self, key: &BudgetKey, budget: &Budget, now: Timestamp) -> Result<Taken, Error> {
        let mut shard = self.budgets(key);
        let room = self.limits.budgets.div_ceil(SHARDS);
        let mut state = shard.state(key);
        let before = state.full_at();
        let is_new = state == BudgetState::default();
        let taken = state.take(budget, now);
        if is_new {
            shard.drop_full(now);
            if shard.entries.len() >= room {
                let longest = budget.rules().iter().map(Rule::period).max();
                return Ok(Taken::RetryAfter(longest.unwrap_or_default()));
            }
        }
        shard.put(key, before, state);
        Ok(taken)
    }

    async fn give_back(
        &self,
        key: &BudgetKey,
        budget: &Budget,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut shard = self.budgets(key);
        let mut state = shard.state(key);
        if state != BudgetState::default() {
            let before = state.full_at();
            state.give_back(budget, now);
            shard.put(key, before, state);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Entry {
    challenge: Challenge,
    spent: u32,
    is_used: bool,
}

#[derive(Debug, Default)]
struct Challenges {
    entries: HashMap<ChallengeId, Entry>,
    ends: BTreeSet<(Timestamp, ChallengeId)>,
    latest: Option<Timestamp>,
}

impl Challenges {
    /// Notes the time: forgets what has ended, and everything when the clock has stepped back.
    fn advance(&mut self, now: Timestamp) -> Timestamp {
        let latest = self.latest.unwrap_or(now);
        if now.plus(CLOCK_TOLERANCE) < latest {
            self.entries.clear();
            self.ends.clear();
            self.latest = Some(now);
            return now;
        }
        let latest = latest.max(now);
        self.latest = Some(latest);
        // A minute of grace lets the operator's log say "expired" rather than "unknown".
        let horizon = latest.minus(GRACE);
        while let Some((ends, id)) = self.ends.first().copied().filter(|(ends, _)| *ends <= horizon)
        {
            self.ends.remove(&(ends, id));
            self.entries.remove(&id);
        }
        latest
    }

    fn live(&mut self, id: ChallengeId, now: Timestamp) -> Option<&mut Entry> {
        self.entries.get_mut(&id).filter(|e| !e.is_used && !e.challenge.is_dead_at(now))
    }
}

#[derive(Debug, Default)]
struct Budgets {
    entries: HashMap<BudgetKey, BudgetState>,
    ends: BTreeSet<(Timestamp, BudgetKey)>,
}

impl Budgets {
    fn state(&self, key: &BudgetKey) -> BudgetState {
        self.entries.get(key).cloned().unwrap_or_default()
    }

    fn put(&mut self, key: &BudgetKey, before: Timestamp, state: BudgetState) {
        self.ends.remove(&(before, key.clone()));
        self.ends.insert((state.full_at(), key.clone()));
        self.entries.insert(key.clone(), state);
    }

    /// Forgets budgets that are full again, which is what an absent one means.
    fn drop_full(&mut self, now: Timestamp) {
        while let Some((ends, key)) = self.ends.first().cloned().filter(|(ends, _)| *ends <= now) {
            self.entries.remove(&key);
            self.ends.remove(&(ends, key));
        }
    }
}

fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    // No critical section leaves a shard half changed, so a panic elsewhere does not spoil it.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Enough that two cores rarely meet, few enough that an idle store is small.
const SHARDS: usize = 16;

/// How long a dead challenge is remembered past its end.
const GRACE: Duration = Duration::from_secs(60);
