//! Who may try to register, before TLS has cost anything.

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    error::{Error, ErrorKind},
    limits,
    state::admission::{Admission as Core, Denied, Rate, Rates, Source},
};

/// Limits how often one source address may connect, fail and wait.
///
/// Ask [`admit`](Self::admit) about each accepted connection, before TLS. Keep the [`Permit`]
/// until the connection has registered or failed, and say which. A misconfigured cloudflared dials
/// 17,000 times a second; with the defaults, ten of those get as far as a handshake.
///
/// A source is an IPv4 address, or the /64 of an IPv6 address. Clones share one count.
///
/// ```
/// use std::time::{Duration, Instant};
/// use tunnel_proto::edge::Admission;
///
/// let admission = Admission::builder().connections(2, Duration::from_secs(1)).build()?;
/// let (now, peer) = (Instant::now(), "192.0.2.7".parse()?);
/// admission.admit(peer, now)?.registered();
/// admission.admit(peer, now)?.failed(now);
/// let refused = admission.admit(peer, now).unwrap_err();
/// assert_eq!(refused.limit(), Some("SOURCE_CONNECTIONS"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Admission {
    core: Arc<Mutex<Core>>,
}

/// Options of an [`Admission`], each with its default.
#[derive(Debug, Clone)]
pub struct AdmissionBuilder {
    rates: Rates,
}

impl Admission {
    /// Starts with the defaults, the `SOURCE_*` and `UNREGISTERED*` of [`limits`].
    pub fn builder() -> AdmissionBuilder {
        let rate = |(burst, every)| Rate { burst, every };
        AdmissionBuilder {
            rates: Rates {
                connections: rate(limits::SOURCE_CONNECTIONS),
                failures: rate(limits::SOURCE_FAILURES),
                unregistered: limits::SOURCE_UNREGISTERED,
                unregistered_total: limits::UNREGISTERED,
                sources: limits::SOURCES,
            },
        }
    }

    /// Lets a connection from `peer` begin.
    ///
    /// # Errors
    ///
    /// The peer's fault, with the bound in [`Error::limit`]. Close the connection without a word.
    pub fn admit(&self, peer: IpAddr, now: Instant) -> Result<Permit, Error> {
        let source = Source::of(peer);
        match lock(&self.core).handle_connection(source, now) {
            Ok(()) => Ok(Permit { core: Arc::clone(&self.core), source: Some(source), since: now }),
            Err(denied) => {
                let (what, limit) = match denied {
                    Denied::Connections => ("too many connections", "SOURCE_CONNECTIONS"),
                    Denied::Failures => ("too many registrations failed", "SOURCE_FAILURES"),
                    Denied::Unregistered => {
                        ("too many connections have not registered", "SOURCE_UNREGISTERED")
                    }
                    Denied::UnregisteredTotal => {
                        ("too many connections of all have not registered", "UNREGISTERED")
                    }
                    Denied::Sources => ("too many addresses at once", "SOURCES"),
                };
                Err(Error::from(ErrorKind::Denied(what.into())).with_limit(limit))
            }
        }
    }
}

impl Default for Admission {
    fn default() -> Self {
        Self { core: Arc::new(Mutex::new(Core::new(Self::builder().rates))) }
    }
}

impl AdmissionBuilder {
    /// Lets a source connect `burst` times at once, and once more each `every`.
    #[must_use]
    pub fn connections(mut self, burst: u32, every: Duration) -> Self {
        self.rates.connections = Rate { burst, every };
        self
    }

    /// Lets registrations of a source fail `burst` times at once, and once more each `every`.
    #[must_use]
    pub fn failures(mut self, burst: u32, every: Duration) -> Self {
        self.rates.failures = Rate { burst, every };
        self
    }

    /// Lets this many connections of one source, and of all sources, wait for their registration.
    #[must_use]
    pub fn unregistered(mut self, source: u32, all: u32) -> Self {
        self.rates.unregistered = source;
        self.rates.unregistered_total = all;
        self
    }

    /// Remembers this many sources, about 80 bytes each.
    #[must_use]
    pub fn sources(mut self, sources: usize) -> Self {
        self.rates.sources = sources;
        self
    }

    /// Checks the options.
    ///
    /// # Errors
    ///
    /// A limit of nothing, under which nobody could ever connect, is the caller's fault, and so is a bucket
    /// that takes longer to fill than [`limits::SOURCE_MEMORY`].
    pub fn build(self) -> Result<Admission, Error> {
        let Rates { connections, failures, unregistered, unregistered_total, sources } = self.rates;
        let counts = [connections.burst, failures.burst, unregistered, unregistered_total];
        if counts.contains(&0) || sources == 0 {
            return Err(ErrorKind::Caller("a limit of 0 admits nobody".into()).into());
        }
        let is_too_slow = |rate: Rate| {
            rate.every.checked_mul(rate.burst).is_none_or(|full| full > limits::SOURCE_MEMORY)
        };
        if is_too_slow(connections) || is_too_slow(failures) {
            let what =
                format!("a source would be remembered longer than {:?}", limits::SOURCE_MEMORY);
            return Err(Error::from(ErrorKind::Caller(what)).with_limit("SOURCE_MEMORY"));
        }
        Ok(Admission { core: Arc::new(Mutex::new(Core::new(self.rates))) })
    }
}

/// One connection that has not registered yet. Dropped, it counts as gone without a word, which
/// cloudflared's pre-flight checks do.
#[must_use = "the connection counts as gone once this is dropped"]
pub struct Permit {
    core: Arc<Mutex<Core>>,
    source: Option<Source>,
    since: Instant,
}

impl Permit {
    /// The connection has registered, and counts no more.
    pub fn registered(self) {}

    /// The registration was refused, or the peer broke the protocol.
    pub fn failed(mut self, now: Instant) {
        self.end(true, now);
    }

    fn end(&mut self, failed: bool, now: Instant) {
        if let Some(source) = self.source.take() {
            lock(&self.core).handle_outcome(source, failed, now);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.end(false, self.since);
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").finish_non_exhaustive()
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("source", &self.source).finish_non_exhaustive()
    }
}

fn lock(core: &Mutex<Core>) -> MutexGuard<'_, Core> {
    core.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any time will do")]
    fn a_bucket_that_hardly_ever_fills_is_refused() {
        let year = limits::SOURCE_MEMORY;
        for every in [Duration::MAX, year, year / 2 + Duration::from_secs(1)] {
            for builder in [
                Admission::builder().connections(2, every),
                Admission::builder().failures(2, every),
            ] {
                let error = builder.build().unwrap_err();
                assert!(error.is_caller_fault());
                assert_eq!(error.limit(), Some("SOURCE_MEMORY"));
            }
        }
        let admission = Admission::builder().connections(2, year / 2).build().unwrap();
        let (now, peer) = (Instant::now(), "192.0.2.7".parse().unwrap());
        for _ in 0..2 {
            admission.admit(peer, now).unwrap().failed(now);
        }
        assert!(admission.admit(peer, now).is_err());
    }
}
