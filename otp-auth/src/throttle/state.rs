//! What a store keeps of a budget.

use std::time::Duration;

use super::{Budget, LONGEST_PERIOD, MAX_RULES, Taken};
use crate::timestamp::Timestamp;

/// How full the rules of one budget are: what a store keeps under a [`BudgetKey`](super::BudgetKey).
///
/// One number a rule, the "theoretical arrival time" of the generic cell rate algorithm (ITU-T I.371):
/// the moment at which the rule is full again. Absent and past mean the same. And how many were taken in
/// a row, and when the last one was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BudgetState {
    full_at: [u64; MAX_RULES],
    row: u32,
    last: u64,
}

impl BudgetState {
    /// Takes one from every rule if all allow it, else changes nothing.
    ///
    /// A clock that was wrong and came back cannot lock anyone out for longer than the longest period.
    pub fn take(&mut self, budget: &Budget, now: Timestamp) -> Taken {
        self.settle(budget, now);
        let wait = self.wait(budget, now);
        if !wait.is_zero() {
            return Taken::RetryAfter(wait);
        }
        for (full_at, rule) in self.full_at.iter_mut().zip(budget.rules()) {
            *full_at = full_at.saturating_add(rule.interval_millis());
        }
        if budget.row().is_some() {
            self.row = self.row.saturating_add(1);
            self.last = now.as_unix_millis();
        }
        Taken::Taken
    }

    /// What [`take`](Self::take) would answer, without taking.
    pub fn look(&self, budget: &Budget, now: Timestamp) -> Taken {
        let mut settled = *self;
        settled.settle(budget, now);
        match settled.wait(budget, now) {
            Duration::ZERO => Taken::Taken,
            wait => Taken::RetryAfter(wait),
        }
    }

    /// Returns one to every rule, for a thing that turned out not to count.
    pub fn give_back(&mut self, budget: &Budget, now: Timestamp) {
        self.settle(budget, now);
        for (full_at, rule) in self.full_at.iter_mut().zip(budget.rules()) {
            *full_at = full_at.saturating_sub(rule.interval_millis());
        }
        self.row = self.row.saturating_sub(1);
    }

    /// The moment from which the state equals an absent one.
    pub fn ends(&self, budget: &Budget) -> Timestamp {
        let full_at = self.full_at.iter().copied().max().unwrap_or_default();
        let row_ends = match budget.row() {
            Some(row) if self.row > 0 => plus(self.last, row.pause()),
            _ => 0,
        };
        Timestamp::from_unix_millis(full_at.max(row_ends))
    }

    /// Draws each rule's value into `now ..= now + capacity`, the only values an honest clock gives, and
    /// ends a row whose pause is over.
    fn settle(&mut self, budget: &Budget, now: Timestamp) {
        let now = now.as_unix_millis();
        for (full_at, rule) in self.full_at.iter_mut().zip(budget.rules()) {
            *full_at = (*full_at).clamp(now, now.saturating_add(rule.capacity_millis()));
        }
        self.last = self.last.min(now);
        if budget.row().is_none_or(|row| plus(self.last, row.pause()) <= now) {
            self.row = 0;
        }
    }

    fn wait(&self, budget: &Budget, now: Timestamp) -> Duration {
        let now = now.as_unix_millis();
        let rules = self.full_at.iter().zip(budget.rules()).map(|(full_at, rule)| {
            let after_one = full_at.saturating_add(rule.interval_millis());
            after_one.saturating_sub(now.saturating_add(rule.capacity_millis()))
        });
        let row = budget.row().filter(|row| self.row >= row.limit());
        let row = row.map_or(0, |row| plus(self.last, row.pause()).saturating_sub(now));
        Duration::from_millis(rules.max().unwrap_or_default().max(row))
    }

    /// Whether no honest clock can have left this state at `now`.
    pub(crate) fn is_from_a_wrong_clock(&self, now: Timestamp) -> bool {
        let latest = plus(now.as_unix_millis(), LONGEST_PERIOD);
        self.full_at.iter().chain([&self.last]).any(|at| *at > latest)
    }
}

fn plus(at: u64, by: Duration) -> u64 {
    at.saturating_add(millis(by))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
