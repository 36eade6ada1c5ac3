//! Another issuer's keys, read from its key set document and kept fresh.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::{FindKey, PublicKeySet, PublicKeySetError, VerifyingKey};
use crate::timestamp::Timestamp;

/// The keys of an issuer elsewhere. Sans-I/O: it says when to fetch, the program fetches.
///
/// A fetch is due at start, once an hour, and when a token named a key that is not in the set; but at
/// most once a minute, however many such tokens come. Documents that can't be fetched or read leave the
/// keys as they are, for 24 hours; then all tokens are refused, because a key that leaked may be among
/// them.
///
/// ```
/// use otp_auth::keys::{FindKey, RemoteKeys};
/// use otp_auth::timestamp::Timestamp;
///
/// let keys = RemoteKeys::new();
/// let at = |secs: u64| Timestamp::from_unix_secs(1_790_000_000 + secs);
/// assert!(keys.poll_fetch(at(0)), "at start");
/// keys.handle_document(r#"{"keys":[]}"#, at(1))?;
/// assert!(!keys.poll_fetch(at(2)));
/// assert!(keys.find_key("unknown").is_none());
/// assert!(!keys.poll_fetch(at(59)), "not twice a minute");
/// assert!(keys.poll_fetch(at(60)));
/// # Ok::<(), otp_auth::keys::PublicKeySetError>(())
/// ```
#[derive(Debug, Default)]
pub struct RemoteKeys {
    keys: RwLock<Arc<PublicKeySet>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A token named a key that is not there.
    is_wanted: bool,
    asked: Option<Timestamp>,
    read: Option<Timestamp>,
}

impl RemoteKeys {
    /// No keys yet: the first [`poll_fetch`](Self::poll_fetch) says so.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the document is to be fetched now. Whoever is told `true` fetches it; others are told
    /// `false` for a minute. Call it every few seconds, and after an
    /// [unknown key](crate::token::TokenError::UnknownKey).
    ///
    /// Fetch over HTTPS, without redirects, at most 1 MiB, with a time limit.
    pub fn poll_fetch(&self, now: Timestamp) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back must not stop the fetching.
        let passed = |since: Option<Timestamp>, time: Duration| {
            since.is_none_or(|since| now < since || now.since(since) >= time)
        };
        if state.read.is_some_and(|read| now.since(read) >= OLDEST) {
            *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::default();
        }
        let is_due = passed(state.asked, AT_MOST_ONCE_IN)
            && (state.is_wanted || passed(state.read, FRESH_FOR));
        if is_due {
            state.asked = Some(now);
            state.is_wanted = false;
        }
        is_due
    }

    /// Takes a document that was fetched.
    ///
    /// # Errors
    ///
    /// Refuses what is no key set; the keys stay as they are.
    pub fn handle_document(&self, json: &str, now: Timestamp) -> Result<(), PublicKeySetError> {
        let keys = Arc::new(PublicKeySet::from_json(json)?);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        self.state.lock().unwrap_or_else(PoisonError::into_inner).read = Some(now);
        Ok(())
    }
}

impl FindKey for RemoteKeys {
    fn find_key(&self, kid: &str) -> Option<VerifyingKey> {
        let keys = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        let found = keys.find(kid).cloned();
        if found.is_none() {
            self.state.lock().unwrap_or_else(PoisonError::into_inner).is_wanted = true;
        }
        found
    }
}

/// What cloudflared does as well, and Access expects.
const AT_MOST_ONCE_IN: Duration = Duration::from_secs(60);
const FRESH_FOR: Duration = Duration::from_secs(3_600);
const OLDEST: Duration = Duration::from_secs(86_400);
