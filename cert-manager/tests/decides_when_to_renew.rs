//! The decision is a pure function; `tests/data/decide.txt` says what it answers.

#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]

use std::time::{Duration, SystemTime};

use cert_manager::lifecycle::{
    Action, Cause, Decision, Failures, Leaf, RenewalWindow, View, decide, due_at,
};

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
                    ..Failures::default()
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
        let is_due = decision.action != Action::Sleep;
        assert!(is_due || !was_due, "minute {minute}");
        assert!(is_due || decision.wake_at > now, "minute {minute}");
        was_due = is_due;
    }
    assert!(was_due);
}

/// The windows that Let's Encrypt computes for 45 days and for 160 hours.
#[test]
fn a_window_of_the_authority_decides() {
    for (life, start, end) in [(45.0 * 24.0, 709.2, 730.8), (160.0, 78.4, 81.6)] {
        let mut picked = Vec::new();
        for salt in 0..200 {
            let leaf = Leaf {
                not_before: hours(0.0),
                not_after: hours(life) - Duration::from_secs(1),
                salt,
            };
            let window = Some(RenewalWindow { start: hours(start), end: hours(end) });
            let view = with(View::of(leaf), |view| view.window = window);
            let Decision { action, .. } = decide(hours(start - 0.1), &view);
            assert_eq!(action, Action::Sleep);
            assert_eq!(decide(hours(end), &view).action, Action::Issue(Cause::Asked));
            // All nodes pick the same time in it.
            let first = (0..200).find(|step| {
                let now = hours(start + (end - start) * f64::from(*step) / 200.0);
                decide(now, &view).action != Action::Sleep
            });
            picked.push(first.unwrap_or(200));
        }
        picked.sort_unstable();
        assert!(picked[10] < 40 && picked[190] > 160, "spread over the window: {picked:?}");
    }
}

#[test]
fn odd_windows_do_no_harm() {
    let leaf =
        Leaf { not_before: hours(0.0), not_after: hours(900.0) - Duration::from_secs(1), salt: 5 };
    let view = |start, end| {
        let window = Some(RenewalWindow { start: hours(start), end: hours(end) });
        with(View::of(leaf), |view| view.window = window)
    };
    // It lies in the past: the certificate was taken back.
    assert_eq!(decide(hours(10.0), &view(8.0, 9.0)).action, Action::Issue(Cause::Asked));
    // After the end, or years away: no later than half of what is left.
    let late = view(5_000.0, 6_000.0);
    assert_eq!(decide(hours(749.0), &late).action, Action::Sleep);
    assert_eq!(decide(hours(750.0), &late).action, Action::Issue(Cause::Asked));
    // Backwards: as if there were none.
    let backwards = decide(hours(10.0), &view(50.0, 40.0));
    assert_eq!(backwards, decide(hours(10.0), &View::of(leaf)));
    assert_eq!(decide(hours(40.0), &view(40.0, 40.0)).action, Action::Issue(Cause::Asked));
}

#[test]
fn an_authority_that_asks_for_patience_gets_it() {
    let leaf =
        Leaf { not_before: hours(0.0), not_after: hours(168.0) - Duration::from_secs(1), salt: 5 };
    let failures = Failures::default().and_one(hours(100.0)).not_before(Some(hours(103.0)));
    // Even where time is short, and where a certificate was taken back.
    let revoked = with(View::of(leaf), |view| view.revoked = true);
    for view in [View::of(leaf), revoked, View::default()] {
        let view = with(view, |view| view.failures = failures);
        let decision = decide(hours(102.9), &view);
        assert_eq!((decision.action, decision.wake_at), (Action::Sleep, hours(103.0)));
        assert_ne!(decide(hours(103.0), &view).action, Action::Sleep);
    }
    // A time that a wrong clock noted is not waited for.
    let failures = failures.not_before(Some(hours(9_000.0)));
    let view = with(View::default(), |view| view.failures = failures);
    assert_ne!(decide(hours(102.9), &view).action, Action::Sleep);
}

fn with(mut view: View, change: impl FnOnce(&mut View)) -> View {
    change(&mut view);
    view
}

fn hours(hours: f64) -> SystemTime {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let distance = Duration::from_secs_f64(hours.abs() * 3600.0);
    if hours < 0.0 { start - distance } else { start + distance }
}
