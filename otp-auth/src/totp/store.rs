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

/// The name of one enrolled authenticator: whose it is, and which of theirs, as `SUBJECT/NAME`.
///
/// 3 to 128 visible ASCII characters with a slash, the last one of which separates. The subject is the `sub`
/// of the person's tokens, so that a code of one person lifts nobody else's session.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FactorId(String);

impl FactorId {
    /// The authenticator `name` of `subject`, the `sub` of tokens. The name has no slash: `1`, `phone`.
    ///
    /// # Errors
    ///
    /// Refuses, as the caller's fault, what is empty, too long, or not visible ASCII.
    pub fn new(subject: &str, name: &str) -> Result<Self, Error> {
        if name.contains('/') {
            return Err(Error::setting("factor id", "the name of an authenticator has no slash"));
        }
        format!("{subject}/{name}").parse()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whose it is.
    pub fn subject(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(subject, _)| subject)
    }
}

impl FromStr for FactorId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let is_plain = text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_graphic());
        match text.rsplit_once('/') {
            Some((subject, name)) if is_plain && !subject.is_empty() && !name.is_empty() => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(Error::setting(
                "factor id",
                "it must be `SUBJECT/NAME`, up to 128 visible ASCII characters",
            )),
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

/// Steps in the memory of one process, up to 100,000 authenticators; more are refused. After a restart a code can be used once more within its minute
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

    fn with<T>(
        &self,
        factor: &FactorId,
        change: impl FnOnce(&mut Factor) -> T,
    ) -> Result<T, Error> {
        let mut factors = self.factors.lock().unwrap_or_else(PoisonError::into_inner);
        // None is dropped to make room: its codes could be used once more.
        if factors.len() >= AT_MOST && !factors.contains_key(factor) {
            return Err(Error::store_full());
        }
        Ok(change(factors.entry(factor.clone()).or_default()))
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
        self.with(factor, |factor| {
            let last = Timestamp::from_unix_millis(factor.last_failure);
            if !tries.allow(factor.failures, last, now) {
                return Reservation::Refused;
            }
            factor.failures = factor.failures.saturating_add(1);
            factor.last_failure = now.as_unix_millis();
            Reservation::Granted { drift: factor.drift }
        })
    }

    async fn advance(&self, factor: &FactorId, step: Step, drift: Drift) -> Result<bool, Error> {
        self.with(factor, |factor| {
            let is_new = step.number() > factor.last_step;
            if is_new {
                *factor = Factor { last_step: step.number(), drift, ..Factor::default() };
            }
            is_new
        })
    }

    async fn reopen(&self, factor: &FactorId) -> Result<(), Error> {
        self.with(factor, |factor| factor.failures = 0)
    }
}

impl fmt::Debug for MemorySteps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySteps").finish_non_exhaustive()
    }
}

/// Some fifteen megabytes.
const AT_MOST: usize = 100_000;
