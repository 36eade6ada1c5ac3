//! A moment of wall-clock time, always passed in.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A wall-clock moment in milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
///
/// Nothing in this crate reads a clock: the program takes the time once at its edge and passes it down,
/// which is what lets tests live through years in milliseconds.
///
/// Arithmetic saturates at both ends, so no input makes it panic.
///
/// ```
/// use std::time::Duration;
/// use otp_auth::timestamp::Timestamp;
///
/// let issued = Timestamp::from_unix_secs(1_790_000_000);
/// let expires = issued.plus(Duration::from_secs(600));
/// assert_eq!(expires.since(issued), Duration::from_secs(600));
/// assert_eq!(issued.since(expires), Duration::ZERO);
/// assert_eq!(issued.to_string(), "2026-09-21T14:13:20Z");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Takes milliseconds since the Unix epoch.
    pub const fn from_unix_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Takes seconds since the Unix epoch.
    pub const fn from_unix_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_unix_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_unix_secs(self) -> u64 {
        self.0 / 1000
    }

    /// The moment `by` later.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// The moment `by` earlier, not before the epoch.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }

    /// Time passed since `earlier`; zero if that lies in the future.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Calendar fields of this moment in a zone `east` of Greenwich: year, month, day, hour, minute, second.
    pub(crate) fn civil(self, east: Duration) -> (u64, u64, u64, u64, u64, u64) {
        let secs = self.plus(east).as_unix_secs();
        let (day, of_day) = (secs / 86_400, secs % 86_400);
        // Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days:
        // years counted from March, eras of 400 years = 146,097 days.
        let shifted = day + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let day_of_month = day_of_year - (153 * from_march + 2) / 5 + 1;
        (year, month, day_of_month, of_day / 3_600, of_day % 3_600 / 60, of_day % 60)
    }
}

impl From<SystemTime> for Timestamp {
    /// Converts a reading of the system clock; a time before 1970 becomes the epoch.
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, millis))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day, hour, minute, second) = self.civil(Duration::ZERO);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_calendar_dates() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_164_799, "2024-02-28T23:59:59Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Timestamp::from_unix_secs(secs).to_string(), text);
        }
    }

    #[test]
    fn saturates_instead_of_wrapping() {
        let last = Timestamp::from_unix_millis(u64::MAX);
        assert_eq!(last.plus(Duration::MAX), last);
        assert_eq!(Timestamp::from_unix_secs(1).minus(Duration::MAX).as_unix_millis(), 0);
        let _printed = last.to_string();
    }
}
