//! Whether a store keeps the contract of [`Storage`]: one call that any implementation can make in its tests.
//!
//! A race hides on a small machine: a store that reads and then writes looks right most of the time. So nothing is left to
//! luck. All parties of a race are polled by hand, in an order drawn from a seed; a hundred seeds give a hundred schedules,
//! and the same seed gives the same one.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! use std::sync::Arc;
//! use cert_manager::{conformance::{Plan, check}, storage::MemoryStore};
//!
//! let report = check(Arc::new(MemoryStore::new()), &Plan::quick()).await?;
//! assert_eq!(report.schedules, 40);
//! # Ok::<(), cert_manager::conformance::Violation>(()) }).unwrap();
//! ```

mod contract;
mod races;
mod schedule;

use std::{fmt, sync::Arc};

use crate::{error::StorageError, storage::Storage};

pub use self::schedule::pause;

/// Tries a store: first each call by itself, then races under forced schedules.
///
/// The store should be empty, and nobody else should use it meanwhile. Works in any executor; with the futures of a real
/// client it must be that client's.
///
/// # Errors
///
/// The first [`Violation`], with the seed that shows it. An error of the store is one as well.
pub async fn check(store: Arc<dyn Storage>, plan: &Plan) -> Result<Report, Violation> {
    contract::check(&*store).await?;
    let mut report = Report { schedules: 0, writes: 0, conflicts: 0 };
    for seed in plan.first_seed..plan.first_seed.saturating_add(plan.seeds) {
        let done = races::check(&store, plan.parties, seed, &mut report).await;
        done.map_err(|violation| violation.at(seed))?;
        report.schedules += 1;
    }
    Ok(report)
}

/// How much to try.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    seeds: u64,
    first_seed: u64,
    parties: usize,
}

impl Plan {
    /// 400 schedules of 16 parties: 100,000 writes.
    pub fn full() -> Self {
        Self { seeds: 400, first_seed: 0, parties: 16 }
    }

    /// 40 schedules of 8 parties.
    pub fn quick() -> Self {
        Self { seeds: 40, first_seed: 0, parties: 8 }
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

    /// How many race for one object. At least 4.
    pub fn parties(mut self, parties: usize) -> Self {
        self.parties = parties.max(4);
        self
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self::full()
    }
}

/// What was tried, when nothing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many schedules were forced.
    pub schedules: u64,
    /// How many writes were done in races.
    pub writes: u64,
    /// How many were refused, as they should be.
    pub conflicts: u64,
}

/// What a store did that it must not do.
#[derive(Debug)]
pub struct Violation {
    seed: Option<u64>,
    what: String,
    source: Option<StorageError>,
}

impl Violation {
    /// The seed of the schedule that shows it; `None` if no race is needed.
    pub fn seed(&self) -> Option<u64> {
        self.seed
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

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { seed: None, what: what(), source: None }) }
}

/// An error of the store, and what it was asked to do.
fn failed(doing: &str) -> impl FnOnce(StorageError) -> Violation {
    let what = format!("failed to {doing}");
    move |error| Violation { seed: None, what, source: Some(error) }
}
