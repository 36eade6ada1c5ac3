//! Logging out before a token's end.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::timestamp::Timestamp;

/// The logins that have ended early, in the memory of one process.
///
/// Bounded: when it is full, the list is emptied and every token signed until then is refused instead,
/// so that too many log-outs lead to new logins and never to a revived session.
pub struct Revocations {
    state: Mutex<State>,
    at_most: usize,
    remember_for: Duration,
}

impl Revocations {
    /// Remembers up to 100,000 logins for 31 days, the longest life of a token.
    pub fn new() -> Self {
        Self::with_limits(100_000, Duration::from_secs(31 * 86_400))
    }

    /// Remembers up to `at_most` logins, each for `remember_for`, which must cover the longest life that
    /// tokens are given, plus a minute for leeway.
    pub fn with_limits(at_most: usize, remember_for: Duration) -> Self {
        let remember_for = remember_for.saturating_add(Duration::from_secs(60));
        Self { state: Mutex::default(), at_most, remember_for }
    }

    /// Ends all tokens that carry this `identity_nonce`: the next check refuses them.
    pub fn revoke(&self, identity_nonce: &str, now: Timestamp) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.forget_before(now);
        if state.ends.contains_key(identity_nonce) {
            return;
        }
        if state.ends.len() >= self.at_most {
            *state = State { floor: Some(now), ..State::default() };
            return;
        }
        let end = now.plus(self.remember_for);
        state.order.insert((end, identity_nonce.to_owned()));
        state.ends.insert(identity_nonce.to_owned(), end);
    }

    /// Whether a token of this nonce, signed at this moment, was revoked.
    pub fn is_revoked(&self, identity_nonce: &str, issued: Timestamp) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.floor.is_some_and(|floor| issued <= floor) || state.ends.contains_key(identity_nonce)
    }
}

impl Default for Revocations {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations").field("at_most", &self.at_most).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    ends: HashMap<String, Timestamp>,
    order: BTreeSet<(Timestamp, String)>,
    floor: Option<Timestamp>,
}

impl State {
    fn forget_before(&mut self, now: Timestamp) {
        while let Some((end, nonce)) = self.order.first().cloned().filter(|(end, _)| *end < now) {
            self.order.remove(&(end, nonce.clone()));
            self.ends.remove(&nonce);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_when_no_token_can_live_any_more() {
        let list = Revocations::with_limits(10, Duration::from_secs(100));
        let at = Timestamp::from_unix_secs;
        list.revoke("a", at(1_000));
        assert!(list.is_revoked("a", at(999)));
        assert!(!list.is_revoked("b", at(999)));
        list.revoke("b", at(1_161));
        assert!(!list.is_revoked("a", at(999)));
    }

    #[test]
    fn overflow_ends_sessions_and_revives_none() {
        let list = Revocations::with_limits(2, Duration::from_secs(100));
        let at = Timestamp::from_unix_secs;
        for nonce in ["a", "b", "c"] {
            list.revoke(nonce, at(1_000));
        }
        for nonce in ["a", "b", "c", "bystander"] {
            assert!(list.is_revoked(nonce, at(1_000)));
        }
        assert!(!list.is_revoked("newcomer", at(1_001)));
    }
}
