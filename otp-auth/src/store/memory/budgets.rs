//! Budgets of one shard.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use foldhash::quality::RandomState;

use crate::challenge::CLOCK_TOLERANCE;
use crate::throttle::{Budget, BudgetKey, BudgetState, Rule, Taken};
use crate::timestamp::Timestamp;

/// A budget that is full again is forgotten, which is what an absent one means. Each is listed once,
/// under the minute in which it ended when it was listed, but ten minutes ahead at most, since a refund may
/// end it earlier; one that lives longer by then is listed anew.
#[derive(Debug)]
pub(super) struct Budgets {
    /// The hash is keyed, because clients choose networks.
    entries: HashMap<BudgetKey, Entry, RandomState>,
    ends: BTreeMap<u64, Vec<BudgetKey>>,
    latest: Timestamp,
    at_most: usize,
}

#[derive(Debug)]
struct Entry {
    state: BudgetState,
    ends: Timestamp,
}

impl Budgets {
    pub(super) fn new(at_most: usize) -> Self {
        Self {
            entries: HashMap::default(),
            ends: BTreeMap::new(),
            latest: Timestamp::from_unix_millis(0),
            at_most,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Forgets what has ended.
    pub(super) fn advance(&mut self, now: Timestamp) {
        if now.plus(CLOCK_TOLERANCE) < self.latest {
            self.list_anew(now);
        }
        self.latest = now;
        let this_minute = minute(now);
        while let Some(listed) = self.ends.first_entry().filter(|it| *it.key() < this_minute) {
            for key in listed.remove() {
                let Some(entry) = self.entries.get(&key) else { continue };
                if entry.ends <= now {
                    self.entries.remove(&key);
                } else {
                    let listed = listing(entry.ends, now);
                    self.ends.entry(listed).or_default().push(key);
                }
            }
        }
    }

    pub(super) fn take(&mut self, key: &BudgetKey, budget: &Budget, now: Timestamp) -> Taken {
        if let Some(entry) = self.entries.get_mut(key) {
            let taken = entry.state.take(budget, now);
            entry.ends = entry.state.ends(budget);
            return taken;
        }
        let reserve = if key.is_of_known_device() { self.at_most / 8 } else { 0 };
        if self.entries.len() >= self.at_most + reserve {
            let longest = budget.rules().iter().map(Rule::period).max();
            return Taken::RetryAfter(longest.unwrap_or_default());
        }
        let mut state = BudgetState::default();
        let taken = state.take(budget, now);
        let ends = state.ends(budget);
        self.entries.insert(*key, Entry { state, ends });
        self.ends.entry(listing(ends, now)).or_default().push(*key);
        taken
    }

    pub(super) fn look(&self, key: &BudgetKey, budget: &Budget, now: Timestamp) -> Taken {
        self.entries.get(key).map_or(Taken::Taken, |entry| entry.state.look(budget, now))
    }

    pub(super) fn give_back(&mut self, key: &BudgetKey, budget: &Budget, now: Timestamp) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.state.give_back(budget, now);
            entry.ends = entry.state.ends(budget);
        }
    }

    /// After a step back: what lies further ahead than any budget reaches was never true.
    fn list_anew(&mut self, now: Timestamp) {
        self.entries.retain(|_, entry| !entry.state.is_from_a_wrong_clock(now));
        self.ends.clear();
        for (key, entry) in &self.entries {
            self.ends.entry(listing(entry.ends, now)).or_default().push(*key);
        }
    }
}

fn listing(ends: Timestamp, now: Timestamp) -> u64 {
    minute(ends.min(now.plus(Duration::from_secs(600))))
}

fn minute(at: Timestamp) -> u64 {
    at.as_unix_secs() / 60
}
