//! When keys change.

use std::time::Duration;

use crate::error::Error;

/// How long a key signs, how long before that it is published, and how long after it still verifies.
///
/// ```text
///        ├── published ──┤
/// first: ────────── signing ──────────┤── retired ──┤
/// next:                  ├─ published ┤────────── signing ─────
///                        ▲ 25 h ahead ▲ 42 days     ▲ 7 days
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotationSchedule {
    signing: Duration,
    publish_ahead: Duration,
    overlap: Duration,
}

impl RotationSchedule {
    /// How long a key signs. Default 42 days, as Access.
    ///
    /// # Errors
    ///
    /// Refuses less than twice the time ahead, and more than 400 days.
    pub fn signing(mut self, time: Duration) -> Result<Self, Error> {
        self.signing = time;
        self.checked()
    }

    /// For how long a key is in the document before it signs. Default 25 hours: consumers cache for up to
    /// 24 hours, and the process that looks for work does so once an hour.
    ///
    /// # Errors
    ///
    /// Refuses less than 24 hours, and more than half the time that a key signs.
    pub fn publish_ahead(mut self, time: Duration) -> Result<Self, Error> {
        self.publish_ahead = time;
        self.checked()
    }

    /// How long a retired key verifies. Default 7 days, as Access. It must cover the longest life that
    /// tokens are given; tokens that live for a month need a month.
    ///
    /// # Errors
    ///
    /// Refuses less than an hour and more than 400 days.
    pub fn overlap(mut self, time: Duration) -> Result<Self, Error> {
        self.overlap = time;
        self.checked()
    }

    /// Keeps retired keys for at least this life of a token, and a minute for leeway.
    ///
    /// # Errors
    ///
    /// Refuses more than 400 days.
    pub fn longest_token(self, life: Duration) -> Result<Self, Error> {
        let needed = life.saturating_add(Duration::from_secs(60));
        self.overlap(self.overlap.max(needed))
    }

    pub(super) fn signing_time(&self) -> Duration {
        self.signing
    }

    pub(super) fn publish_ahead_time(&self) -> Duration {
        self.publish_ahead
    }

    pub(super) fn overlap_time(&self) -> Duration {
        self.overlap
    }

    fn checked(self) -> Result<Self, Error> {
        if self.publish_ahead < DAY {
            return Err(Error::setting("publish_ahead", "consumers cache for up to 24 hours"));
        }
        if self.signing > LONGEST || self.signing < self.publish_ahead * 2 {
            return Err(Error::setting("signing", "it must be twice the time ahead to 400 days"));
        }
        if !(HOUR..=LONGEST).contains(&self.overlap) {
            return Err(Error::setting("overlap", "it must be an hour to 400 days"));
        }
        Ok(self)
    }
}

impl Default for RotationSchedule {
    fn default() -> Self {
        Self { signing: DAY * 42, publish_ahead: HOUR * 25, overlap: DAY * 7 }
    }
}

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const LONGEST: Duration = Duration::from_secs(400 * 86_400);
