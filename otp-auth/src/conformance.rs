//! Whether a store keeps the contract of [`Store`]: one call that any implementation can make in its tests.
//!
//! A race between a handful of requests hides on a small machine: a store that reads and then writes looks
//! right four times of five against a real database. So nothing here is left to luck. All parties of a
//! race are polled by hand, in an order drawn from a seed, with a pause between any two steps; a thousand
//! seeds give a thousand schedules, and the same seed gives the same one.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! use std::sync::Arc;
//! use otp_auth::conformance::{Plan, SimulatedTime, check};
//! use otp_auth::store::MemoryStore;
//!
//! let time = SimulatedTime::default(); // a store with a clock of its own: your `Time`
//! let report = check(Arc::new(MemoryStore::new()), &time, &Plan::quick()).await?;
//! assert_eq!(report.schedules, 40);
//! # Ok::<(), otp_auth::conformance::Violation>(()) }).unwrap();
//! ```

mod contract;
mod double;
mod races;
mod schedule;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::error::Error;
use crate::store::Store;
use crate::timestamp::Timestamp;

pub use self::double::pause;

/// Tries a store: first each step by itself, then races under forced schedules.
///
/// The store should be empty, and nobody else should use it meanwhile. Works in any executor; with the
/// futures of a real client it must be that client's.
///
/// # Errors
///
/// The first [`Violation`], with the seed that shows it. An error of the store is one as well.
pub async fn check(
    store: Arc<dyn Store>,
    time: &dyn Time,
    plan: &Plan,
) -> Result<Report, Violation> {
    contract::check(&*store, time).await?;
    let mut report = Report { schedules: 0, compared: 0, accepted: 0 };
    for seed in plan.first_seed..plan.first_seed.saturating_add(plan.seeds) {
        races::check(&store, time, plan, seed, &mut report).await?;
        report.schedules += 1;
    }
    Ok(report)
}

/// How much to try.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    seeds: u64,
    first_seed: u64,
    submitters: usize,
}

impl Plan {
    /// 1,000 schedules with 64 parties each: a second in memory, minutes over a network.
    pub fn full() -> Self {
        Self { seeds: 1_000, first_seed: 0, submitters: 64 }
    }

    /// 40 schedules with 64 parties each.
    pub fn quick() -> Self {
        Self { seeds: 40, ..Self::full() }
    }

    /// How many schedules to force.
    pub fn seeds(mut self, seeds: u64) -> Self {
        self.seeds = seeds;
        self
    }

    /// Begins with another seed: that of a [`Violation`], to see it again.
    pub fn first_seed(mut self, seed: u64) -> Self {
        self.first_seed = seed;
        self
    }

    /// How many parties race for one challenge. At least 8.
    pub fn submitters(mut self, submitters: usize) -> Self {
        self.submitters = submitters.max(8);
        self
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self::full()
    }
}

/// What was tried, when nothing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// How many schedules were forced.
    pub schedules: u64,
    /// How many codes were compared in all.
    pub compared: u64,
    /// How many were accepted in all.
    pub accepted: u64,
}

/// What a store did that it must not do.
#[derive(Debug)]
pub struct Violation {
    seed: Option<u64>,
    what: String,
    source: Option<Error>,
}

impl Violation {
    /// The seed of the schedule that shows it; `None` if no race is needed.
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    fn new(what: impl Into<String>) -> Self {
        Self { seed: None, what: what.into(), source: None }
    }

    fn at(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seed {
            Some(seed) => write!(f, "{} (seed {seed})", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for Violation {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|error| error as _)
    }
}

impl From<Error> for Violation {
    fn from(error: Error) -> Self {
        Self { seed: None, what: "the store failed".into(), source: Some(error) }
    }
}

/// The clock that the store judges by.
#[async_trait]
pub trait Time: Send + Sync {
    /// What it shows.
    fn now(&self) -> Timestamp;

    /// Waits until it shows `by` more. A store with a clock of its own needs a real wait, of seven
    /// seconds in all.
    async fn pass(&self, by: Duration);
}

/// A clock that waits for nobody, for stores that take the caller's.
#[derive(Debug)]
pub struct SimulatedTime(AtomicU64);

impl SimulatedTime {
    /// Begins at a moment.
    pub fn starting_at(now: Timestamp) -> Self {
        Self(AtomicU64::new(now.as_unix_millis()))
    }
}

impl Default for SimulatedTime {
    /// Begins in September 2026.
    fn default() -> Self {
        Self::starting_at(Timestamp::from_unix_secs(1_790_000_000))
    }
}

#[async_trait]
impl Time for SimulatedTime {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.0.load(Ordering::Relaxed))
    }

    async fn pass(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation::new(what())) }
}
