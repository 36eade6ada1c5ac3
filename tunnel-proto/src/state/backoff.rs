//! How long a connector waits before it dials again.

use std::time::Duration;

use crate::limits;

/// Waits grow with the outage: at most an eighth of the time it has lasted, between the two
/// [`limits::RECONNECT_WAIT`], less up to half of that by chance.
///
/// So a restarted edge is found again within an eighth of the time it was away, and an edge that
/// stays away sees ever fewer dials, spread out. The growth is exponential: each wait makes the
/// outage, and with it the next wait, longer by a fixed part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    floor: Duration,
    ceiling: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        let (floor, ceiling) = limits::RECONNECT_WAIT;
        Self { floor, ceiling }
    }
}

impl Backoff {
    /// The wait after a failed attempt, given how long nothing has worked and a random number
    /// (any `u32`, equally likely).
    pub(crate) fn wait(&self, outage: Duration, random: u32) -> Duration {
        let bound = (outage / 8).clamp(self.floor, self.ceiling);
        let half = bound / 2;
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attempts of one outage, as the time at which each is made.
    fn attempts(length: Duration, random: u32) -> Vec<Duration> {
        let backoff = Backoff::default();
        let mut now = Duration::ZERO;
        let mut attempts = Vec::new();
        while now < length {
            now += backoff.wait(now, random);
            attempts.push(now);
        }
        attempts
    }

    #[test]
    fn an_edge_that_comes_back_is_found_in_an_eighth_of_its_absence() {
        for random in [0, u32::MAX / 2, u32::MAX] {
            for seconds in [1, 5, 20, 40, 300, 3600, 86_400] {
                let length = Duration::from_secs(seconds);
                let found = attempts(length, random).last().unwrap().saturating_sub(length);
                let bound = (length / 8).clamp(Duration::from_secs(1), Duration::from_secs(60));
                assert!(found <= bound, "{length:?} away, found after {found:?}");
            }
        }
    }

    #[test]
    fn a_day_without_an_edge_costs_few_dials() {
        let dials = attempts(Duration::from_secs(86_400), u32::MAX / 2).len();
        assert!((1_400..2_200).contains(&dials), "{dials}");
    }

    /// Twenty-four hours without an edge, a thousand times, each with its own luck.
    #[test]
    fn a_day_of_waits_stays_within_its_bound_and_never_stops_or_bursts() {
        const DAY: Duration = Duration::from_secs(86_400);
        let backoff = Backoff::default();
        let mut luck = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..1_000 {
            let mut now = Duration::ZERO;
            let mut last_ten = std::collections::VecDeque::new();
            while now < DAY {
                luck ^= luck << 13;
                luck ^= luck >> 7;
                luck ^= luck << 17;
                #[expect(clippy::cast_possible_truncation, reason = "any 32 bits will do")]
                let wait = backoff.wait(now, luck as u32);
                let bound = (now / 8).clamp(backoff.floor, backoff.ceiling);
                assert!(bound / 2 <= wait && wait <= bound, "{wait:?} after {now:?}");
                now += wait;
                last_ten.push_back(now);
                if last_ten.len() > 10 {
                    let begun = last_ten.pop_front().unwrap();
                    assert!(now >= begun + Duration::from_secs(5), "ten dials since {begun:?}");
                }
            }
        }
    }

    #[test]
    fn waits_are_never_nothing() {
        assert!(Backoff::default().wait(Duration::ZERO, 0) >= Duration::from_millis(500));
        assert!(Backoff::default().wait(Duration::MAX, u32::MAX) <= Duration::from_secs(60));
    }
}
