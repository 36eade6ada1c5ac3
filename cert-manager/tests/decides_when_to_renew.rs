//! The decision is a pure function; `tests/data/decide.txt` says what it answers.

#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]

use std::time::{Duration, SystemTime};

use cert_manager::lifecycle::{Failures, Leaf, View, decide, due_at};

#[test]
fn follows_the_table() {
    for line in include_str!("data/decide.txt").lines() {
        if line.starts_with('#') {
            continue;
        }
        let [life, now, situation, failures, action, wake, health] =
            line.split('|').map(str::trim).collect::<Vec<_>>()[..]
        else {
            panic!("{line}");
        };
        for salt in [0, 1, 7, u64::MAX / 2, u64::MAX] {
            let mut view = View::default();
            if life != "-" {
                view.leaf = Some(Leaf {
                    not_before: hours(0.0),
                    // The last second is part of the life.
                    not_after: hours(life.parse().unwrap()) - Duration::from_secs(1),
                    salt,
                });
            }
            view.names_changed = situation == "names";
            view.revoked = situation == "revoked";
            if let Some((count, last)) = failures.split_once('@') {
                view.failures = Failures {
                    count: count.trim().parse().unwrap(),
                    last: Some(hours(last.trim().parse().unwrap())),
                };
            }
            let now = hours(now.parse().unwrap());
            let decision = decide(now, &view);
            assert_eq!(format!("{:?}", decision.action), action, "{line}");
            assert_eq!(format!("{:?}", decision.health), health, "{line}");
            let (from, to) = match wake.split_once("..") {
                Some((from, to)) => (hours(from.parse().unwrap()), hours(to.parse().unwrap())),
                None if wake == "-" => (now, now),
                None => (hours(wake.parse().unwrap()), hours(wake.parse().unwrap())),
            };
            let wake = decision.wake_at;
            assert!((from..=to).contains(&wake), "{line}: {wake:?}");
            assert_eq!(decide(now, &view), decision, "{line}: same question, same answer");
        }
    }
}

#[test]
fn jitter_is_spread_over_its_range() {
    let week = Duration::from_secs(7 * 86_400);
    let range = week / 2 / 10;
    let mut counts = [0_u32; 10];
    for salt in 0..10_000 {
        let leaf =
            Leaf { not_before: hours(0.0), not_after: hours(168.0) - Duration::from_secs(1), salt };
        let early = (hours(0.0) + week / 2).duration_since(due_at(leaf).unwrap()).unwrap();
        let bucket = early.as_secs_f64() / range.as_secs_f64() * 10.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 10 if all is well; else the index fails the test"
        )]
        let bucket = bucket as usize;
        counts[bucket] += 1;
    }
    assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
}

#[test]
fn a_renewal_that_is_due_stays_due() {
    let leaf = Leaf { not_before: hours(0.0), not_after: hours(168.0), salt: 3 };
    let mut was_due = false;
    for minute in 0..200 * 60 {
        let now = hours(0.0) + Duration::from_secs(60 * minute);
        let decision = decide(now, &View::of(leaf));
        let is_due = decision.action != cert_manager::lifecycle::Action::Sleep;
        assert!(is_due || !was_due, "minute {minute}");
        assert!(is_due || decision.wake_at > now, "minute {minute}");
        was_due = is_due;
    }
    assert!(was_due);
}

fn hours(hours: f64) -> SystemTime {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let distance = Duration::from_secs_f64(hours.abs() * 3600.0);
    if hours < 0.0 { start - distance } else { start + distance }
}
