//! What must be remembered between codes, and the atomic steps on it.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{Drift, Step};
use crate::error::Error;
use crate::timestamp::Timestamp;

/// The name of one enrolled authenticator: 1 to 128 visible ASCII characters, chosen by the program,
/// for instance the `sub` of the person and a number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FactorId(String);

impl FactorId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FactorId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::setting("factor id", "it must be 1 to 128 visible ASCII characters"))
        }
    }
}

/// How many wrong codes in a row an authenticator may be guessed with.
///
/// Five, then a quarter of an hour for each one more: 100 guesses a day at three codes in a million are
/// 3e-4. After 100 in a row the factor is closed until somebody resets it (NIST SP 800-63B section
/// 3.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// Free ones.
    pub at_once: u32,
    /// The time that each one more costs.
    pub then_one_in: Duration,
    /// In a row, before the factor is closed.
    pub at_most: u32,
}

impl Default for Tries {
    fn default() -> Self {
        Self { at_once: 5, then_one_in: Duration::from_secs(900), at_most: 100 }
    }
}

impl Tries {
    /// Whether one more is allowed after `failures` in a row, the last of them at `last`.
    pub fn allow(&self, failures: u32, last: Timestamp, now: Timestamp) -> bool {
        let has_waited = now < last || now.since(last) >= self.then_one_in;
        failures < self.at_once || (failures < self.at_most && has_waited)
    }
}

/// The answer of [`StepStore::reserve`].
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reservation {
    /// A try was counted; the holder may compare once.
    Granted {
        /// How far the app's clock was ahead when it was last right.
        drift: Drift,
    },
    /// Too many wrong codes; nothing was counted.
    Refused,
}

/// Where used steps and wrong codes are counted, shared by all nodes.
///
/// # Contract
///
/// Each method is one atomic step on its factor. `reserve` counts a try as failed before anything is
/// compared; `advance` sets the count to zero. A factor that is not known has no failures and step 0.
///
/// # Errors
///
/// An error means that the step may or may not have happened: the code is refused.
#[async_trait]
pub trait StepStore: fmt::Debug + Send + Sync {
    /// Counts a try, if [`Tries::allow`] says so.
    async fn reserve(
        &self,
        factor: &FactorId,
        tries: &Tries,
        now: Timestamp,
    ) -> Result<Reservation, Error>;

    /// Sets the last accepted step to `step` if that is greater, keeps the drift, and forgets the failures.
    ///
    /// Durable before the answer; at most one caller sees `true` for a step.
    async fn advance(&self, factor: &FactorId, step: Step, drift: Drift) -> Result<bool, Error>;

    /// Forgets the failures, and keeps the step: what an administrator does for a person who was closed out.
    async fn reopen(&self, factor: &FactorId) -> Result<(), Error>;
}

/// Steps in the memory of one process. After a restart a code can be used once more within its minute
/// and a half; a program that restarts faster keeps them elsewhere.
#[derive(Default)]
pub struct MemorySteps {
    factors: Mutex<HashMap<FactorId, Factor>>,
}

#[derive(Default)]
struct Factor {
    last_step: u64,
    drift: Drift,
    failures: u32,
    last_failure: u64,
}

impl MemorySteps {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, factor: &FactorId, change: impl FnOnce(&mut Factor) -> T) -> T {
        let mut factors = self.factors.lock().unwrap_or_else(PoisonError::into_inner);
        // INVARIANT: factors are enrolled by people who signed in; there are no more than those.
        change(factors.entry(factor.clone()).or_default())
    }
}

#[async_trait]
impl StepStore for MemorySteps {
    async fn reserve(
        &self,
        factor: &FactorId,
        tries: &Tries,
        now: Timestamp,
    ) -> Result<Reservation, Error> {
        Ok(self.with(factor, |factor| {
            let last = Timestamp::from_unix_millis(factor.last_failure);
            if !tries.allow(factor.failures, last, now) {
                return Reservation::Refused;
            }
            factor.failures = factor.failures.saturating_add(1);
            factor.last_failure = now.as_unix_millis();
            Reservation::Granted { drift: factor.drift }
        }))
    }

    async fn advance(&self, factor: &FactorId, step: Step, drift: Drift) -> Result<bool, Error> {
        Ok(self.with(factor, |factor| {
            let is_new = step.number() > factor.last_step;
            if is_new {
                *factor = Factor { last_step: step.number(), drift, ..Factor::default() };
            }
            is_new
        }))
    }

    async fn reopen(&self, factor: &FactorId) -> Result<(), Error> {
        self.with(factor, |factor| factor.failures = 0);
        Ok(())
    }
}

impl fmt::Debug for MemorySteps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySteps").finish_non_exhaustive()
    }
}
