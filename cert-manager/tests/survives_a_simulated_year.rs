//! 10,000 certificates, one year, in simulated time: none expires, and none is issued in a burst.

#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]

use std::time::{Duration, SystemTime};

use cert_manager::lifecycle::{Action, Failures, Leaf, View, decide};

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn weekly_certificates_with_three_outages_of_two_days() {
    let outages = [40 * DAY, 150 * DAY, 290 * DAY];
    let year = simulate(10_000, 7 * DAY, 5, |at| {
        outages.iter().any(|from| (*from..*from + 2 * DAY).contains(&at))
    });
    // Half of a week each, somewhat earlier by jitter; an outage delays and never adds.
    assert!((100..=118).contains(&(year.issued / 10_000)), "{year:?}");
    assert_eq!(year.expired, 0, "{year:?}");
}

#[test]
fn ninety_day_certificates_with_a_week_of_outage() {
    let year = simulate(1_000, 90 * DAY, 5, |at| (50 * DAY..57 * DAY).contains(&at));
    assert!((6..=7).contains(&(year.issued / 1_000)), "{year:?}");
    assert_eq!(year.expired, 0, "{year:?}");
}

#[test]
fn an_outage_longer_than_the_life_shows_in_the_count() {
    // Guards the simulation itself: it must be able to see an expired certificate.
    let year = simulate(10, 7 * DAY, 0, |at| (40 * DAY..50 * DAY).contains(&at));
    assert_eq!(year.expired, 10, "{year:?}");
}

#[derive(Debug, Default)]
struct Year {
    issued: u64,
    expired: u64,
    failed: u64,
}

/// `is_down` gets the time since the start; `failing` per hundred attempts fail besides.
fn simulate(
    certificates: u64,
    life: Duration,
    failing: u64,
    is_down: impl Fn(Duration) -> bool,
) -> Year {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let end = start + 365 * DAY;
    let mut random = Random(0x5eed);
    let mut year = Year::default();
    for _ in 0..certificates {
        let mut now = start + Duration::from_secs(random.next() % 86_400);
        let mut view = View::default();
        let mut attempts_in_a_row = 0;
        while now < end {
            let decision = decide(now, &view);
            if decision.action == Action::Sleep {
                assert!(decision.wake_at > now);
                attempts_in_a_row = 0;
                now = decision.wake_at;
                continue;
            }
            attempts_in_a_row += 1;
            assert!(attempts_in_a_row < 3, "a burst at {now:?}");
            if is_down(now.duration_since(start).unwrap()) || random.next() % 100 < failing {
                year.failed += 1;
                view.failures = view.failures.and_one(now);
                continue;
            }
            let had_ended = view.leaf.is_some_and(|leaf| leaf.not_after < now);
            year.expired += u64::from(had_ended);
            year.issued += 1;
            view.failures = Failures::default();
            let not_before = now - Duration::from_secs(60);
            view.leaf = Some(Leaf {
                not_before,
                not_after: not_before + life - Duration::from_secs(1),
                salt: random.next(),
            });
        }
    }
    year
}

/// An xorshift generator: the same numbers in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
