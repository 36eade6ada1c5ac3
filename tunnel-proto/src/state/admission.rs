//! How often one source address may come.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use crate::limits;

/// Limits of one source, and of all together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rates {
    pub(crate) connections: Rate,
    pub(crate) failures: Rate,
    /// Connections of one source that have not registered.
    pub(crate) unregistered: u32,
    /// The same of all sources.
    pub(crate) unregistered_total: u32,
    /// Sources remembered.
    pub(crate) sources: usize,
}

/// So many at once, and one more each `every`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) burst: u32,
    pub(crate) every: Duration,
}

/// Who may connect. Knows no clock: `now` never goes back.
///
/// A source is an IPv4 address or an IPv6 /64, which is what one subscriber gets. When the table is
/// full, sources that owe nothing make room; if every one owes, a stranger is refused. So nobody
/// has his own debt forgotten by bringing more addresses.
#[derive(Debug)]
pub(crate) struct Admission {
    rates: Rates,
    sources: HashMap<Source, Debt>,
    unregistered: u32,
    swept: Option<Instant>,
}

/// Why somebody may not connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// Too many connections from this source.
    Connections,
    /// Too many of its registrations failed.
    Failures,
    /// Too many of its connections have not registered.
    Unregistered,
    /// Too many connections altogether have not registered.
    UnregisteredTotal,
    /// More sources at once than can be remembered.
    Sources,
}

/// The part of an address that stands for one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Source(IpAddr);

impl Source {
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        })
    }
}

/// What a source has used up: the times at which its buckets are full again.
#[derive(Debug, Clone, Copy)]
struct Debt {
    connections: Instant,
    failures: Instant,
    unregistered: u32,
}

impl Debt {
    fn new(now: Instant) -> Self {
        Self { connections: now, failures: now, unregistered: 0 }
    }

    fn is_paid(&self, now: Instant) -> bool {
        self.connections <= now && self.failures <= now && self.unregistered == 0
    }
}

impl Rate {
    /// Whether one more is possible for a bucket that is full again at `full`.
    fn has_room(self, full: Instant, now: Instant) -> bool {
        full.saturating_duration_since(now) + self.every <= self.every * self.burst
    }

    /// When the bucket is full again after one more.
    fn take(self, full: Instant, now: Instant) -> Instant {
        full.max(now) + self.every
    }
}

impl Admission {
    pub(crate) fn new(rates: Rates) -> Self {
        Self { rates, sources: HashMap::new(), unregistered: 0, swept: None }
    }

    /// Counts a connection of `source` as begun, or says why it may not begin.
    pub(crate) fn handle_connection(&mut self, source: Source, now: Instant) -> Result<(), Denied> {
        let rates = self.rates;
        let known = self.sources.get(&source).copied();
        let mut debt = known.unwrap_or_else(|| Debt::new(now));
        if !rates.failures.has_room(debt.failures, now) {
            return Err(Denied::Failures);
        }
        if !rates.connections.has_room(debt.connections, now) {
            return Err(Denied::Connections);
        }
        if debt.unregistered >= rates.unregistered {
            return Err(Denied::Unregistered);
        }
        if self.unregistered >= rates.unregistered_total {
            return Err(Denied::UnregisteredTotal);
        }
        if known.is_none() && !self.make_room(now) {
            return Err(Denied::Sources);
        }
        debt.connections = rates.connections.take(debt.connections, now);
        debt.unregistered += 1;
        self.unregistered += 1;
        self.sources.insert(source, debt);
        Ok(())
    }

    /// Counts one of `source`'s connections as registered, failed, or gone without a word.
    pub(crate) fn handle_outcome(&mut self, source: Source, failed: bool, now: Instant) {
        self.unregistered = self.unregistered.saturating_sub(1);
        if let Some(debt) = self.sources.get_mut(&source) {
            debt.unregistered = debt.unregistered.saturating_sub(1);
            if failed {
                debt.failures = self.rates.failures.take(debt.failures, now);
            }
        }
    }

    /// Whether one more source can be remembered. A full table is searched at most once a second, so
    /// that strangers can't make it cost anything.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.sources.len() < self.rates.sources {
            return true;
        }
        let is_due = self
            .swept
            .is_none_or(|swept| now.saturating_duration_since(swept) >= limits::SOURCES_REST);
        if is_due {
            self.swept = Some(now);
            self.sources.retain(|_, debt| !debt.is_paid(now));
        }
        self.sources.len() < self.rates.sources
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates = Rates {
        connections: Rate { burst: 10, every: Duration::from_millis(500) },
        failures: Rate { burst: 3, every: Duration::from_secs(20) },
        unregistered: 4,
        unregistered_total: 50,
        sources: 100,
    };

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn start() -> (Admission, Instant) {
        (Admission::new(RATES), Instant::now())
    }

    fn source(address: &str) -> Source {
        Source::of(address.parse().unwrap())
    }

    #[test]
    fn a_subscriber_is_one_source() {
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("2001:db8:0:1::1"), source("2001:db8:0:1:ffff::2"));
        assert_ne!(source("2001:db8:0:1::1"), source("2001:db8:0:2::1"));
    }

    #[test]
    fn a_loop_of_dials_gets_the_rate_and_no_more() {
        let (mut admission, start) = start();
        let hot = source("192.0.2.1");
        let mut admitted = 0;
        // A cloudflared with a single edge address dials 17,000 times a second when it is refused.
        for dial in 0..17_000 * 10 {
            let now = start + Duration::from_secs(1) * dial / 17_000;
            if admission.handle_connection(hot, now).is_ok() {
                admission.handle_outcome(hot, false, now);
                admitted += 1;
            }
        }
        assert_eq!(admitted, 10 + 10 * 2 - 1);
        // Its neighbour has lost nothing.
        assert_eq!(admission.handle_connection(source("192.0.2.2"), start), Ok(()));
    }

    #[test]
    fn failed_registrations_are_rarer_still() {
        let (mut admission, start) = start();
        let guesser = source("192.0.2.1");
        let mut tried = 0;
        for second in 0..3600 {
            let now = start + Duration::from_secs(second);
            if admission.handle_connection(guesser, now).is_ok() {
                admission.handle_outcome(guesser, true, now);
                tried += 1;
            }
        }
        assert_eq!(tried, 3 + 3600 / 20 - 1);
        let last = start + Duration::from_secs(3599);
        assert_eq!(admission.handle_connection(guesser, last), Err(Denied::Failures));
    }

    #[test]
    fn connections_that_do_not_register_are_few() {
        let (mut admission, now) = start();
        let one = source("192.0.2.1");
        for _ in 0..4 {
            assert_eq!(admission.handle_connection(one, now), Ok(()));
        }
        assert_eq!(admission.handle_connection(one, now), Err(Denied::Unregistered));
        admission.handle_outcome(one, false, now);
        assert_eq!(admission.handle_connection(one, now), Ok(()));
        let denied = (0..100_u8).find_map(|host| {
            admission.handle_connection(source(&format!("192.0.3.{host}")), now).err()
        });
        assert_eq!(denied, Some(Denied::UnregisteredTotal));
    }

    #[test]
    fn more_addresses_do_not_make_a_debt_forgotten() {
        let (mut admission, start) = start();
        let guesser = source("192.0.2.1");
        while admission.handle_connection(guesser, start).is_ok() {
            admission.handle_outcome(guesser, true, start);
        }
        let mut refused = 0;
        for other in 0..100_000_u32 {
            let other = Source::of(IpAddr::from(other.to_be_bytes()));
            match admission.handle_connection(other, start) {
                Ok(()) => admission.handle_outcome(other, false, start),
                Err(denied) => {
                    assert_eq!(denied, Denied::Sources);
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, 100_000 - (RATES.sources - 1));
        assert!(admission.sources.len() <= RATES.sources);
        assert_eq!(admission.handle_connection(guesser, start), Err(Denied::Failures));
        // A second on, those who owe nothing make room again; the guesser still owes.
        let later = start + Duration::from_secs(2);
        assert_eq!(admission.handle_connection(source("198.51.100.1"), later), Ok(()));
        assert!(admission.sources.len() < 5);
        assert_eq!(admission.handle_connection(guesser, later), Err(Denied::Failures));
    }
}
