//! Whose idle connections are kept, of hosts that visitors name.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::limits;

/// The hosts of one origin that have connections of their own. Knows no clock: `now` never goes back.
///
/// A host is forgotten when it has not been asked for longer than its connections are kept; so there are
/// never connections of more than [`limits::ORIGIN_HOSTS`] hosts, unless an origin keeps them open longer than
/// [`limits::ORIGIN_IDLE_TIMEOUT`] and is let.
#[derive(Debug)]
pub(crate) struct KnownHosts {
    /// How long a connection is kept, if not for ever.
    kept: Option<Duration>,
    asked: HashMap<Box<str>, Instant>,
    swept: Option<Instant>,
}

impl KnownHosts {
    pub(crate) fn new(kept: Option<Duration>) -> Self {
        Self { kept, asked: HashMap::new(), swept: None }
    }

    /// Whether the connection of a request for a host may be kept.
    pub(crate) fn handle_request(&mut self, host: &str, now: Instant) -> bool {
        if let Some(asked) = self.asked.get_mut(host) {
            *asked = now;
            return true;
        }
        if !self.has_room(now) {
            return false;
        }
        self.asked.insert(host.into(), now);
        true
    }

    /// Looks for hosts to forget, but not for each stranger.
    fn has_room(&mut self, now: Instant) -> bool {
        let is_full = |asked: &HashMap<_, _>| asked.len() >= limits::ORIGIN_HOSTS;
        if is_full(&self.asked)
            && self.swept.is_none_or(|at| now.saturating_duration_since(at) >= limits::SOURCES_REST)
        {
            self.swept = Some(now);
            // Where connections stay as long as the origin likes, their place does not: an origin closes them
            // some day, and strangers could take all places for ever.
            let kept = self.kept.unwrap_or(limits::ORIGIN_IDLE_TIMEOUT);
            // A request may have taken its time before its connection was kept.
            self.asked
                .retain(|_, asked| now.saturating_duration_since(*asked) < kept.saturating_mul(2));
        }
        !is_full(&self.asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn so_many_hosts_have_connections_and_no_more() {
        let (start, kept) = (start(), limits::ORIGIN_IDLE_TIMEOUT);
        let mut hosts = KnownHosts::new(Some(kept));
        let name = |number: usize| format!("h{number}.example.test");
        for number in 0..limits::ORIGIN_HOSTS {
            assert!(hosts.handle_request(&name(number), start));
        }
        assert!(!hosts.handle_request("one.more.test", start));
        let later = start + kept + kept / 2;
        assert!(hosts.handle_request(&name(7), later), "those that are known stay so");
        assert!(!hosts.handle_request("one.more.test", later));
        let later = start + 2 * kept;
        assert!(hosts.handle_request("one.more.test", later), "the others' connections are closed");
        assert_eq!(hosts.asked.len(), 2);
    }

    #[test]
    fn strangers_take_no_place_for_ever() {
        let start = start();
        let mut hosts = KnownHosts::new(None);
        for number in 0..limits::ORIGIN_HOSTS {
            assert!(hosts.handle_request(&number.to_string(), start));
        }
        assert!(!hosts.handle_request("one.more.test", start));
        let later = start + 2 * limits::ORIGIN_IDLE_TIMEOUT;
        assert!(hosts.handle_request("one.more.test", later));
    }
}
