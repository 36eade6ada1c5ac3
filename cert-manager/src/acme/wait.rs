//! How long to wait, by what an authority says.

use std::time::{Duration, SystemTime};

/// Reads `Retry-After`: seconds, or an HTTP date (RFC 9110 section 10.2.3). A date counts from the answer's own `Date` if
/// there is one, so that clocks that differ do no harm. `None` for what is neither.
pub(crate) fn retry_after(value: &str, date: Option<&str>, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds are a long time.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let from = date.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or(now);
    Some(until.duration_since(from).unwrap_or_default())
}

/// After 429 and 503, and other errors that ask for patience.
pub(crate) fn after_refusal(asked: Option<Duration>, otherwise: Duration) -> Duration {
    asked.map_or(otherwise, |asked| asked.clamp(Duration::from_secs(1), LONGEST_HOLD))
}

/// How long an authority works on something, learnt from how often it had to be asked: so that the first look mostly finds it
/// done, and neither side is busy with looks in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace(Duration);

impl Default for Pace {
    fn default() -> Self {
        Self(FIRST_LOOK)
    }
}

impl Pace {
    /// It was done after so many looks.
    pub(crate) fn learn(&mut self, looks: u32) {
        let next = match looks {
            0 | 1 => self.0 * 31 / 32,
            more => self.0.saturating_add((self.0 / 8).max(STEP).saturating_mul(more - 1)),
        };
        self.0 = next.clamp(FIRST_LOOK, LONGEST_FIRST_LOOK);
    }

    /// Before the next look: `looks` have been made.
    pub(crate) fn between_looks(self, asked: Option<Duration>, looks: u32) -> Duration {
        let own = match looks {
            0 => self.0,
            more => {
                let doubled = 1_u32.checked_shl(more - 1).unwrap_or(u32::MAX);
                (self.0 / 4).max(FIRST_LOOK).saturating_mul(doubled).min(LONGEST_LOOK)
            }
        };
        asked.map_or(own, |asked| asked.clamp(Duration::from_secs(1), Duration::from_secs(60)))
    }
}

/// An authority at home answers within milliseconds; twelve looks later it is asked each five seconds.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LONGEST_LOOK: Duration = Duration::from_secs(5);
/// One that takes longer says so by `Retry-After`.
const LONGEST_FIRST_LOOK: Duration = Duration::from_secs(1);
/// For each look in vain, at least.
const STEP: Duration = Duration::from_millis(1);
/// Told to wait for longer, ask again after three days all the same. Let's Encrypt's longest is 34 hours.
const LONGEST_HOLD: Duration = Duration::from_secs(3 * 86_400);
/// Told to wait, but not how long.
pub(crate) const HOLD_AFTER_RATE_LIMIT: Duration = Duration::from_secs(3600);
/// An authority that has trouble.
pub(crate) const HOLD_AFTER_TROUBLE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_form_of_retry_after() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let date = Some("Sun, 06 Nov 1994 08:49:00 GMT");
        for (value, date, expected) in [
            ("120", None, Some(120)),
            (" 0 ", None, Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", None, Some(60)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", date, Some(97)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", None, Some(0)),
            ("99999999999999999999", None, Some(u64::from(u32::MAX))),
            ("-1", None, None),
            ("", None, None),
            ("1e9", None, None),
            ("soon", None, None),
        ] {
            let found = retry_after(value, date, now).map(|wait| wait.as_secs());
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn waits_are_bounded() {
        let seconds = Duration::from_secs;
        assert_eq!(after_refusal(Some(seconds(864_000)), HOLD_AFTER_RATE_LIMIT), seconds(259_200));
        assert_eq!(after_refusal(Some(seconds(0)), HOLD_AFTER_RATE_LIMIT), seconds(1));
        assert_eq!(after_refusal(None, HOLD_AFTER_RATE_LIMIT), seconds(3600));
        let pace = Pace::default();
        let own: Vec<_> = (0..5).map(|looks| pace.between_looks(None, looks).as_millis()).collect();
        assert_eq!(own, [2, 2, 4, 8, 16]);
        assert_eq!(pace.between_looks(None, 400), seconds(5));
        assert_eq!(pace.between_looks(Some(seconds(3)), 0), seconds(3));
        assert_eq!(pace.between_looks(Some(seconds(900)), 0), seconds(60));
    }

    /// Orders, one after the other, at an authority that takes so many milliseconds: how many looks, and how long, in all.
    fn orders(count: u32, takes: u32, pace: &mut Pace) -> (u32, Duration) {
        let (mut all, mut waited) = (0, Duration::ZERO);
        for _ in 0..count {
            let (mut looks, mut passed) = (0, Duration::ZERO);
            while passed < Duration::from_millis(takes.into()) {
                passed += pace.between_looks(None, looks);
                looks += 1;
            }
            pace.learn(looks);
            (all, waited) = (all + looks, waited + passed);
        }
        (all, waited)
    }

    #[test]
    fn the_first_look_comes_to_fit_how_long_an_authority_takes() {
        for takes in [1, 3, 20, 150] {
            let mut pace = Pace::default();
            orders(200, takes, &mut pace);
            let (looks, waited) = orders(100, takes, &mut pace);
            assert!(looks <= 135, "{takes} ms: {looks} looks");
            let most = Duration::from_millis(100 * u64::from(takes + takes / 4 + 2));
            assert!(waited <= most, "{takes} ms: {waited:?}");
        }
        let mut pace = Pace::default();
        orders(1000, 60_000, &mut pace);
        assert_eq!(pace.between_looks(None, 0), Duration::from_secs(1), "it stays bounded");
        orders(300, 1, &mut pace);
        assert_eq!(pace, Pace::default(), "and is forgotten");
    }
}
