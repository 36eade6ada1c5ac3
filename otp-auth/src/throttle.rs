//! Budgets: how often something may happen, as pure arithmetic on time.

mod key;
mod state;

use std::time::Duration;

pub(crate) use self::key::Kind;
pub use self::key::{BudgetKey, Network};
pub use self::state::BudgetState;
use crate::error::Error;

/// At most `count` at once, refilled evenly over `period`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rule {
    count: u32,
    period: Duration,
    /// Kept, because each look at a budget needs it, and a division takes longer than the rest of the look.
    interval_millis: u64,
}

impl Rule {
    /// Allows `count` at once and one more each `period / count`.
    ///
    /// This is a token bucket: over any window of `period` at most `2 * count` pass, over long
    /// times `count` each `period`.
    ///
    /// # Errors
    ///
    /// Refuses a count of zero, a period of less than a millisecond for each one, and a period of more
    /// than 366 days.
    pub fn try_new(count: u32, period: Duration) -> Result<Self, Error> {
        let rule = Self { count, period, interval_millis: interval_millis(count, period) };
        if count == 0 || rule.interval_millis == 0 {
            return Err(Error::setting("budget", "count and refill time must not be zero"));
        }
        if period > LONGEST_PERIOD {
            return Err(Error::setting("budget", "its period must be 366 days at most"));
        }
        Ok(rule)
    }

    /// How many pass at once.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The time in which an exhausted rule is full again.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Time to earn one, in whole milliseconds: what a store counts in.
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_millis)
    }

    /// Time to earn all: [`interval`](Self::interval) times [`count`](Self::count).
    pub fn capacity(&self) -> Duration {
        Duration::from_millis(self.capacity_millis())
    }

    /// The most that can pass in any window of this length, an exhausted start excepted.
    pub fn most_within(&self, window: Duration) -> u64 {
        let earned = window.as_millis() / self.interval().as_millis().max(1);
        u64::from(self.count).saturating_add(u64::try_from(earned).unwrap_or(u64::MAX))
    }

    pub(crate) const fn interval_millis(&self) -> u64 {
        self.interval_millis
    }

    pub(crate) fn capacity_millis(&self) -> u64 {
        self.interval_millis.saturating_mul(self.count.into())
    }

    const fn of(count: u32, secs: u64) -> Self {
        let period = Duration::from_secs(secs);
        Self { count, period, interval_millis: interval_millis(count, period) }
    }
}

/// `count` must not be 0 where it is used; here that gives 0, which is refused as well.
const fn interval_millis(count: u32, period: Duration) -> u64 {
    let millis =
        period.as_secs().saturating_mul(1_000).saturating_add(period.subsec_millis() as u64);
    match millis.checked_div(count as u64) {
        Some(interval) => interval,
        None => 0,
    }
}

/// A pause after so many in a row, with less than the pause between any two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InARow {
    limit: u32,
    pause: Duration,
}

impl InARow {
    /// After `limit` in a row nothing passes for `pause`, then the row begins anew. A row is forgotten
    /// when nothing happened for as long.
    ///
    /// # Errors
    ///
    /// Refuses a limit of zero, and a pause of zero or of more than 366 days.
    pub fn try_new(limit: u32, pause: Duration) -> Result<Self, Error> {
        if limit == 0 || pause.as_millis() == 0 || pause > LONGEST_PERIOD {
            return Err(Error::setting("budget", "a row must end, and pause for up to 366 days"));
        }
        Ok(Self { limit, pause })
    }

    /// How many in a row pass.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// For how long nothing passes then.
    pub fn pause(&self) -> Duration {
        self.pause
    }
}

/// Several rules that must all allow a thing: taken together or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Budget {
    rules: Vec<Rule>,
    in_a_row: Option<InARow>,
}

impl Budget {
    /// Joins one to three rules.
    ///
    /// # Errors
    ///
    /// Refuses an empty list and more than three rules.
    pub fn try_new(rules: Vec<Rule>) -> Result<Self, Error> {
        if rules.is_empty() || rules.len() > MAX_RULES {
            return Err(Error::setting("budget", "it must have one to three rules"));
        }
        Ok(Self { rules, in_a_row: None })
    }

    /// Adds a pause after so many in a row.
    #[must_use]
    pub fn in_a_row(mut self, in_a_row: InARow) -> Self {
        self.in_a_row = Some(in_a_row);
        self
    }

    /// The rules, in the order given.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The pause after so many in a row, if any.
    pub fn row(&self) -> Option<InARow> {
        self.in_a_row
    }

    /// The most that can pass in any window of this length: what the strictest rule allows.
    pub fn most_within(&self, window: Duration) -> u64 {
        self.rules.iter().map(|rule| rule.most_within(window)).min().unwrap_or_default()
    }

    /// Strangers' failed tries of one address: 10 in any hour (6 at once, then one each quarter of an hour), 30 in
    /// any day (10 at once, then one each 72 minutes).
    ///
    /// There is no pause after so many in a row: it would be the guesser who decides when the owner may not sign
    /// in on a new device. Codes grow instead, after [20](Self::short_codes).
    pub fn failures() -> Self {
        Self { rules: vec![Rule::of(6, 6 * 900), Rule::of(10, DAY / 2)], in_a_row: None }
    }

    /// Failed tries of one address by its known devices: as [`failures`](Self::failures), and after 100 in
    /// a row, successes not counted and no day without one between them, none for 24 hours, in which they are strangers.
    pub fn failures_of_known_devices() -> Self {
        Self::failures().in_a_row(InARow { limit: 100, pause: Duration::from_secs(DAY) })
    }

    /// Failed tries of one address at codes of ordinary length, those of its known devices apart: 20 at once and
    /// 20 a year. Codes are longer from then on. A success gives nothing back, so that the owner's sign-ins
    /// buy a guesser nothing.
    pub fn short_codes() -> Self {
        Self { rules: vec![Rule::of(20, 365 * DAY)], in_a_row: None }
    }

    /// Failed tries of all strangers together at codes of ordinary length: 300 at once and 300 a day.
    /// Strangers' codes are longer from then on.
    pub fn short_codes_of_all() -> Self {
        Self { rules: vec![Rule::of(300, DAY)], in_a_row: None }
    }

    /// Failed tries of all strangers together at codes of nine digits: 100,000 at once and 100,000 a day.
    /// Strangers' codes have twelve digits from then on.
    pub fn nine_digits_of_all() -> Self {
        Self { rules: vec![Rule::of(100_000, DAY)], in_a_row: None }
    }

    /// Failed tries of all strangers together at codes of twelve digits: 43.2 million at once and as many a
    /// day, one each two milliseconds. Beyond, no stranger's code is compared.
    pub fn twelve_digits_of_all() -> Self {
        Self { rules: vec![Rule::of(43_200_000, DAY)], in_a_row: None }
    }

    /// Mails to one address: 1 a minute, 5 in any hour (3 at once, then one each half hour), 10 in any day (4
    /// at once, then one each four hours).
    pub fn mails() -> Self {
        let rules = vec![Rule::of(1, 60), Rule::of(3, 3 * 1_800), Rule::of(4, 4 * 4 * 3_600)];
        Self { rules, in_a_row: None }
    }

    /// Of those, what strangers from one network may ask for: 6 in any day (3 at once, then one each 8 hours).
    /// It is less than an address gets, so that one network cannot keep a person's mails from coming.
    pub fn mails_of_one_network_to_one_address() -> Self {
        Self { rules: vec![Rule::of(3, DAY)], in_a_row: None }
    }

    /// Mails that strangers from one network ask for, to whomever: 20 in any hour (15 at once, then one each 12
    /// minutes).
    pub fn mails_of_one_network() -> Self {
        Self { rules: vec![Rule::of(15, 3 * 3_600)], in_a_row: None }
    }

    /// Mails to all strangers together: 1,000 at once and 1,000 an hour, 5,000 at once and 5,000 a day.
    pub fn mails_of_all() -> Self {
        Self { rules: vec![Rule::of(1_000, 3_600), Rule::of(5_000, DAY)], in_a_row: None }
    }

    /// One each millisecond: more than anybody needs.
    pub(crate) fn without_end() -> Self {
        Self { rules: vec![Rule::of(86_400_000, DAY)], in_a_row: None }
    }

    /// Flows begun by strangers from one network: 30 in ten minutes.
    pub fn starts() -> Self {
        Self { rules: vec![Rule::of(30, 600)], in_a_row: None }
    }

    /// Flows begun by strangers from one site of IPv6 (/48), which may have 256 networks: 60 in ten minutes,
    /// 500 a day.
    pub fn starts_of_one_site() -> Self {
        Self { rules: vec![Rule::of(60, 600), Rule::of(500, DAY)], in_a_row: None }
    }

    /// Flows for one address that its known devices begin: 20 in ten minutes, 200 a day.
    pub fn starts_of_known_devices() -> Self {
        Self { rules: vec![Rule::of(20, 600), Rule::of(200, DAY)], in_a_row: None }
    }
}

/// The answer of a budget.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// One was taken.
    Taken,
    /// Nothing was taken; the same call can succeed after this time.
    RetryAfter(Duration),
}

impl Taken {
    /// Whether one was taken.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Taken)
    }
}

/// What a state keeps numbers for.
pub(crate) const MAX_RULES: usize = 3;

/// Longer than this nothing is remembered, so what lies further ahead comes from a clock that was wrong.
pub(crate) const LONGEST_PERIOD: Duration = Duration::from_secs(366 * DAY);

const DAY: u64 = 86_400;

#[cfg(test)]
mod tests;
