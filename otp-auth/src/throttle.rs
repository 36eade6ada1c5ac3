//! Budgets: how often something may happen, as pure arithmetic on time.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::error::Error;
use crate::timestamp::Timestamp;

/// At most `count` at once, refilled evenly over `period`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rule {
    count: u32,
    period: Duration,
}

impl Rule {
    /// Allows `count` at once and one more each `period / count`.
    ///
    /// This is a token bucket: over any window of `period` at most `2 * count - 1` pass, over long
    /// times `count` each `period`.
    ///
    /// # Errors
    ///
    /// Refuses a count of zero and a period of less than a millisecond for each one.
    pub fn try_new(count: u32, period: Duration) -> Result<Self, Error> {
        let rule = Self { count, period };
        if count == 0 || rule.interval().is_zero() {
            return Err(Error::setting("budget", "count and refill time must not be zero"));
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

    const fn of(count: u32, secs: u64) -> Self {
        Self { count, period: Duration::from_secs(secs) }
    }

    /// Time to earn one, in whole milliseconds: what a store counts in.
    fn interval(&self) -> Duration {
        let millis = self.period.as_millis() / u128::from(self.count.max(1));
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    fn capacity(&self) -> Duration {
        self.interval().saturating_mul(self.count)
    }
}

/// Several rules that must all allow a thing: taken together or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Budget {
    rules: Vec<Rule>,
}

impl Budget {
    /// Joins one to four rules.
    ///
    /// # Errors
    ///
    /// Refuses an empty list and more than four rules.
    pub fn try_new(rules: Vec<Rule>) -> Result<Self, Error> {
        if rules.is_empty() || rules.len() > 4 {
            return Err(Error::setting("budget", "it must have one to four rules"));
        }
        Ok(Self { rules })
    }

    /// The rules, in the order given.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Failed tries of one address: 10 an hour, 30 a day.
    pub fn failures() -> Self {
        Self { rules: vec![Rule::of(10, 3_600), Rule::of(30, 86_400)] }
    }

    /// Mails to one address: 1 a minute, 5 an hour, 10 a day.
    pub fn mails() -> Self {
        Self { rules: vec![Rule::of(1, 60), Rule::of(5, 3_600), Rule::of(10, 86_400)] }
    }

    /// Flows begun from one network: 30 in ten minutes.
    pub fn starts() -> Self {
        Self { rules: vec![Rule::of(30, 600)] }
    }
}

/// How full the rules of one budget are: what a store keeps under a [`BudgetKey`].
///
/// One number a rule, the "theoretical arrival time" of the generic cell rate algorithm (ITU-T I.371):
/// the moment at which the rule is full again. Absent and past mean the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BudgetState {
    full_at: Vec<Timestamp>,
}

impl BudgetState {
    /// Takes one from every rule if all allow it, else changes nothing.
    ///
    /// A clock that was wrong and came back cannot lock anyone out for longer than the longest period.
    pub fn take(&mut self, budget: &Budget, now: Timestamp) -> Taken {
        let full_at: Vec<Timestamp> = self.settled(budget, now).collect();
        let mut wait = Duration::ZERO;
        for (rule, full_at) in budget.rules.iter().zip(&full_at) {
            let after = full_at.plus(rule.interval());
            wait = wait.max(after.since(now.plus(rule.capacity())));
        }
        if !wait.is_zero() {
            // Remembers what was settled, so that a value from a wrong clock runs out like any other.
            self.full_at = full_at;
            return Taken::RetryAfter(wait);
        }
        self.full_at =
            full_at.iter().zip(&budget.rules).map(|(at, rule)| at.plus(rule.interval())).collect();
        Taken::Taken
    }

    /// Returns one to every rule, for a thing that turned out not to count.
    pub fn give_back(&mut self, budget: &Budget, now: Timestamp) {
        let full_at: Vec<Timestamp> = self.settled(budget, now).collect();
        self.full_at =
            full_at.iter().zip(&budget.rules).map(|(at, rule)| at.minus(rule.interval())).collect();
    }

    /// The moment from which the state equals an absent one.
    pub fn full_at(&self) -> Timestamp {
        self.full_at.iter().copied().max().unwrap_or(Timestamp::from_unix_millis(0))
    }

    /// Each rule's value, drawn into `now ..= now + capacity`, the only values an honest clock gives.
    fn settled(&self, budget: &Budget, now: Timestamp) -> impl Iterator<Item = Timestamp> {
        budget.rules.iter().enumerate().map(move |(index, rule)| {
            let stored = self.full_at.get(index).copied().unwrap_or(now);
            stored.max(now).min(now.plus(rule.capacity()))
        })
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

/// The name of a budget in a store: at most 64 bytes of ASCII without spaces.
///
/// Addresses appear only as a keyed hash, so a copy of the store lists nobody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BudgetKey(String);

impl BudgetKey {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn failures(address_tag: [u8; 16]) -> Self {
        Self(format!("failures:{:032x}", u128::from_be_bytes(address_tag)))
    }

    pub(crate) fn mails(address_tag: [u8; 16]) -> Self {
        Self(format!("mails:{:032x}", u128::from_be_bytes(address_tag)))
    }

    pub(crate) fn starts(network: Network) -> Self {
        Self(format!("starts:{network}"))
    }
}

/// The part of an IP address that one subscriber commonly holds: /24 of IPv4, /56 of IPv6.
///
/// ```
/// use otp_auth::throttle::Network;
///
/// let network = |ip: &str| Network::of(ip.parse().unwrap()).to_string();
/// assert_eq!(network("203.0.113.77"), "203.0.113.0/24");
/// assert_eq!(network("::ffff:203.0.113.77"), "203.0.113.0/24");
/// assert_eq!(network("2001:db8:1:2ff:3::4"), "2001:db8:1:200::/56");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    first: IpAddr,
}

impl Network {
    /// The network that holds `ip`. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn of(ip: IpAddr) -> Self {
        let first = match ip.to_canonical() {
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & !0xff).into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 72)).into(),
        };
        Self { first }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, if self.first.is_ipv4() { 24 } else { 56 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_unix_secs(1_790_000_000 + secs)
    }

    #[test]
    fn allows_a_burst_then_refills_evenly() {
        let budget = Budget::try_new(vec![Rule::try_new(10, HOUR).unwrap()]).unwrap();
        let mut state = BudgetState::default();
        for _ in 0..10 {
            assert_eq!(state.take(&budget, at(0)), Taken::Taken);
        }
        assert_eq!(state.take(&budget, at(0)), Taken::RetryAfter(Duration::from_secs(360)));
        assert_eq!(state.take(&budget, at(359)), Taken::RetryAfter(Duration::from_secs(1)));
        assert_eq!(state.take(&budget, at(360)), Taken::Taken);
        assert!(!state.take(&budget, at(360)).is_taken());
    }

    #[test]
    fn a_refusal_by_one_rule_costs_nothing_of_the_others() {
        let mut state = BudgetState::default();
        let mails = Budget::mails();
        assert!(state.take(&mails, at(0)).is_taken());
        for _ in 0..1_000 {
            assert!(!state.take(&mails, at(1)).is_taken());
        }
        for minute in 1..5 {
            assert!(state.take(&mails, at(minute * 60)).is_taken(), "minute {minute}");
        }
        assert!(!state.take(&mails, at(5 * 60)).is_taken(), "sixth within the hour");
    }

    #[test]
    fn giving_back_restores_exactly_one() {
        let budget = Budget::failures();
        let mut state = BudgetState::default();
        for _ in 0..100 {
            assert!(state.take(&budget, at(0)).is_taken());
            state.give_back(&budget, at(0));
        }
        assert_eq!(state.full_at(), at(0));
        state.give_back(&budget, at(0));
        for _ in 0..10 {
            assert!(state.take(&budget, at(0)).is_taken());
        }
        assert!(!state.take(&budget, at(0)).is_taken(), "no credit above the count");
    }

    #[test]
    fn a_clock_that_comes_back_does_not_lock_out_for_years() {
        let budget = Budget::starts();
        let mut state = BudgetState::default();
        assert!(state.take(&budget, at(10 * 365 * 86_400)).is_taken());
        assert_eq!(state.take(&budget, at(0)), Taken::RetryAfter(Duration::from_secs(20)));
        assert!(state.take(&budget, at(700)).is_taken());
    }

    #[test]
    fn a_day_of_mail_bombing_stays_within_the_bucket() {
        let mut state = BudgetState::default();
        let sent = (0..86_400).filter(|s| state.take(&Budget::mails(), at(*s)).is_taken()).count();
        assert!((10..=19).contains(&sent), "{sent}");
    }

    #[test]
    fn senseless_rules_are_refused() {
        assert!(Rule::try_new(0, HOUR).is_err());
        assert!(Rule::try_new(u32::MAX, HOUR).is_err());
        assert!(Budget::try_new(vec![]).is_err());
        assert!(Budget::try_new(vec![Rule::of(1, 1); 5]).is_err());
    }
}
