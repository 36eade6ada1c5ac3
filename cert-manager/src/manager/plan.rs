//! What to do for one certificate now, with several issuers to choose from. Pure.

use std::time::{Duration, SystemTime};

use crate::lifecycle::{
    Action, Cause, Failures, Health, LONGEST_SLEEP, Leaf, RenewalWindow, View, decide, fraction,
    is_to_be_waited_for, renew_at,
};

/// What is known of one certificate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation {
    pub(crate) leaf: Option<Leaf>,
    pub(crate) window: Option<RenewalWindow>,
    /// When its authority wants to be asked for the window again; nothing if it has none.
    pub(crate) ask_again_at: Option<SystemTime>,
    pub(crate) issuer_changed: bool,
    pub(crate) is_requested: bool,
    pub(crate) is_revoked: bool,
}

/// What is known of one issuer, as far as it matters for one certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prospect {
    /// With this certificate, since the last success.
    pub(crate) failures: Failures,
    /// Nobody asks it for anything before this.
    pub(crate) held_until: Option<SystemTime>,
    /// Since when it fails for everybody.
    pub(crate) down_since: Option<SystemTime>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) step: Step,
    /// When to look again, unless there is something to do now.
    pub(crate) wake_at: SystemTime,
    pub(crate) health: Health,
    /// Whether it would be ordered, if nobody had to be left in peace.
    pub(crate) is_held: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Sleep,
    /// Ask its authority when it wishes it to be renewed.
    AskWindow,
    /// Ask the issuer at this place in the order.
    Order {
        issuer: usize,
        cause: Cause,
    },
}

/// Decides. The first issuer is asked, and the next ones only after two failures, or an hour in which it failed for everybody,
/// or, when nothing valid is left or little time, after one. `issuers` come in the order in which they are preferred.
pub(crate) fn plan(
    now: SystemTime,
    situation: &Situation,
    issuers: impl IntoIterator<Item = Prospect>,
) -> Plan {
    let view = View {
        leaf: situation.leaf,
        issuer_changed: situation.issuer_changed,
        is_requested: situation.is_requested,
        revoked: situation.is_revoked,
        window: situation.window,
        ..View::default()
    };
    let wanted = decide(now, &view);
    if wanted.action == Action::Sleep {
        let ask_at = situation.ask_again_at.filter(|_| wanted.health != Health::NotYetValid);
        // A clock that jumps is noticed by itself, so nobody has to look in between.
        let due = situation.leaf.and_then(|leaf| renew_at(leaf, situation.window));
        let rest = due.filter(|due| *due > now && wanted.health == Health::Good);
        let rest = rest.unwrap_or(wanted.wake_at);
        return match ask_at {
            Some(at) if at <= now => {
                Plan { step: Step::AskWindow, wake_at: now, health: wanted.health, is_held: false }
            }
            _ => {
                let wake_at = ask_at.map_or(rest, |at| at.min(rest));
                Plan { step: Step::Sleep, wake_at, health: wanted.health, is_held: false }
            }
        };
    }
    let health = wanted.health;
    let is_urgent = matches!(health, Health::Critical | Health::Expired | Health::Missing);
    let mut wake_at = now + LONGEST_SLEEP;
    for (issuer, prospect) in issuers.into_iter().enumerate() {
        let held_until = prospect.held_until.filter(|until| is_to_be_waited_for(*until, now));
        let decision = decide(now, &View { failures: prospect.failures, ..view });
        match (decision.action, held_until) {
            (Action::Issue(cause), None) => {
                let step = Step::Order { issuer, cause };
                return Plan { step, wake_at: now, health, is_held: false };
            }
            (_, Some(until)) => {
                let salt = situation.leaf.map_or(0, |leaf| leaf.salt);
                wake_at = wake_at.min(after_hold(now, until, salt).max(decision.wake_at));
            }
            (_, None) => wake_at = wake_at.min(decision.wake_at),
        }
        let is_down = prospect.down_since.is_some_and(|since| since + LONG_OUTAGE <= now);
        let has_failed = prospect.failures.count > 0 || held_until.is_some();
        let may_go_on = prospect.failures.count >= 2 || is_down || (is_urgent && has_failed);
        if !may_go_on {
            break;
        }
    }
    Plan { step: Step::Sleep, wake_at, health, is_held: true }
}

/// Not all at once: an authority that comes back would fall again.
fn after_hold(now: SystemTime, until: SystemTime, salt: u64) -> SystemTime {
    let length = until.duration_since(now).unwrap_or_default();
    until + fraction((length / 4).min(LONGEST_SPREAD), salt)
}

/// After so long without an answer for anybody, the next issuer is asked.
const LONG_OUTAGE: Duration = Duration::from_secs(3600);
const LONGEST_SPREAD: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(hours: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + hours * HOUR
    }

    /// A week, due at half of it.
    fn leaf() -> Leaf {
        Leaf { not_before: at(0), not_after: at(168), salt: 5 }
    }

    fn situation() -> Situation {
        Situation {
            leaf: Some(leaf()),
            window: None,
            ask_again_at: None,
            issuer_changed: false,
            is_requested: false,
            is_revoked: false,
        }
    }

    fn failed(count: u32, last: SystemTime) -> Prospect {
        let failures = Failures { count, last: Some(last), ..Failures::default() };
        Prospect { failures, ..Prospect::default() }
    }

    fn issuer<const N: usize>(
        now: SystemTime,
        situation: &Situation,
        issuers: [Prospect; N],
    ) -> Option<usize> {
        match plan(now, situation, issuers).step {
            Step::Order { issuer, .. } => Some(issuer),
            _ => None,
        }
    }

    #[test]
    fn the_next_issuer_is_asked_only_for_a_reason() {
        let now = at(100);
        let fresh = Prospect::default();
        let valid = situation();
        assert_eq!(issuer(now, &valid, [fresh, fresh]), Some(0));
        assert_eq!(issuer(now, &valid, [failed(1, now), fresh]), None, "one failure: wait");
        assert_eq!(issuer(now, &valid, [failed(2, now), fresh]), Some(1));
        assert_eq!(issuer(now, &valid, [failed(2, now - HOUR), fresh]), Some(0), "waited");
        let held = Prospect { held_until: Some(now + HOUR), ..fresh };
        assert_eq!(issuer(now, &valid, [held, fresh]), None, "a short outage: wait");
        let down = Prospect { down_since: Some(now - HOUR), ..held };
        assert_eq!(issuer(now, &valid, [down, fresh]), Some(1));
        let late = at(165);
        assert_eq!(issuer(late, &valid, [failed(1, late), fresh]), Some(1), "little time");
        let missing = Situation { leaf: None, ..valid };
        assert_eq!(issuer(now, &missing, [failed(1, now), fresh]), Some(1));
        assert_eq!(issuer(now, &valid, [failed(9, now), failed(9, now)]), None);
    }

    #[test]
    fn nobody_is_asked_before_it_wants_to_be() {
        let now = at(167);
        for seconds in [1, 3600, 200_000] {
            let until = now + Duration::from_secs(seconds);
            let held = Prospect { held_until: Some(until), ..Prospect::default() };
            let told = Failures { not_before: Some(until), ..failed(1, now).failures };
            let told = Prospect { failures: told, ..Prospect::default() };
            for prospect in [held, told] {
                let plan = plan(now, &situation(), [prospect]);
                assert_eq!(plan.step, Step::Sleep);
                let longest = now + LONGEST_SLEEP;
                assert!(plan.wake_at >= until.min(longest), "{plan:?}");
            }
        }
    }

    #[test]
    fn the_window_is_asked_for_between_renewals() {
        let fresh = [Prospect::default()];
        let asked = |at| Situation { ask_again_at: Some(at), ..situation() };
        assert_eq!(plan(at(10), &asked(at(10)), fresh).step, Step::AskWindow);
        let before = plan(at(10), &asked(at(11)), fresh);
        assert_eq!((before.step, before.wake_at), (Step::Sleep, at(11)));
        assert_eq!(issuer(at(100), &asked(at(99)), fresh), Some(0), "what is due comes first");
        let wrong_clock = plan(at(0) - HOUR, &asked(at(0)), fresh);
        assert_eq!(wrong_clock.step, Step::Sleep, "a wrong clock asks nobody");
    }

    #[test]
    fn wishes_of_people_are_heard() {
        let fresh = [Prospect::default()];
        let now = at(1);
        assert_eq!(issuer(now, &situation(), fresh), None);
        let requested = Situation { is_requested: true, ..situation() };
        assert_eq!(issuer(now, &requested, fresh), Some(0));
        assert_eq!(plan(now, &requested, fresh).health, Health::Good, "it is still fine");
        let revoked = Situation { is_revoked: true, ..situation() };
        assert_eq!(plan(now, &revoked, fresh).health, Health::Critical);
        let moved = Situation { issuer_changed: true, ..situation() };
        assert_eq!(issuer(now, &moved, fresh), Some(0));
    }
}
