//! An issuer's keys: fetched when needed, kept, and never fetched in a hurry.

use std::{
    error::Error as StdError,
    fmt,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
};

use bytes::Bytes;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use tracing::warn;

use super::{
    settings::Issuer,
    token::{Claims, Keys, TokenError},
};
use crate::limits;

/// A document on its way.
pub type Fetch = Pin<Box<dyn Future<Output = Result<Bytes, BoxError>> + Send>>;

/// An error of somebody else's type.
type BoxError = Box<dyn StdError + Send + Sync>;

/// Where an issuer's keys come from.
///
/// One is called for a key set's URL (`certsUrl`, or the one that follows from `teamName`) and
/// gives the document there, a JWK set (RFC 7517). The answers are kept; calls are at least 30
/// seconds apart for an issuer, and given up after 10 seconds.
pub trait KeySource: Send + Sync + 'static {
    /// Fetches a document.
    fn fetch(&self, url: &str) -> Fetch;
}

/// The keys of one issuer, shared by all rules that name it.
pub(in crate::ingress) struct Keyring {
    issuer: Issuer,
    source: Arc<dyn KeySource>,
    held: RwLock<Held>,
    /// Held while fetching, so that a crowd of visitors fetches once.
    fetching: Mutex<()>,
}

#[derive(Clone, Default)]
struct Held {
    keys: Arc<Keys>,
    /// When the keys came.
    fetched: Option<Instant>,
    /// When they were last asked for, in vain or not.
    tried: Option<Instant>,
}

impl Keyring {
    pub(in crate::ingress) fn new(issuer: Issuer, source: Arc<dyn KeySource>) -> Self {
        Self { issuer, source, held: RwLock::default(), fetching: Mutex::new(()) }
    }

    /// Checks a token, with newer keys if need be.
    pub(super) async fn verify(&self, token: &str, unix_now: u64) -> Result<Claims, TokenError> {
        let held = self.held();
        let is_fresh = held.fetched.is_some_and(|at| at.elapsed() < limits::ACCESS_KEYS_FRESH);
        let verdict = self.check(&held, token, unix_now);
        if is_fresh && verdict != Err(TokenError::UnknownKey) {
            return verdict;
        }
        let held = self.refresh(&held).await;
        self.check(&held, token, unix_now)
    }

    fn check(&self, held: &Held, token: &str, unix_now: u64) -> Result<Claims, TokenError> {
        // Keys that could not be renewed for a day open nothing any more.
        match held.fetched {
            Some(at) if at.elapsed() < limits::ACCESS_KEYS_USABLE => {
                held.keys.verify(token, &self.issuer, unix_now)
            }
            _ => Err(TokenError::UnknownKey),
        }
    }

    /// Fetches the keys, unless somebody did since `seen` or just before.
    async fn refresh(&self, seen: &Held) -> Held {
        let _guard = self.fetching.lock().await;
        let held = self.held();
        let is_newer = held.tried != seen.tried;
        let is_hasty = held.tried.is_some_and(|at| at.elapsed() < limits::ACCESS_KEYS_PAUSE);
        if is_newer || is_hasty {
            return held;
        }
        let fetched = self.fetch().await;
        let now = now();
        let mut slot = self.held.write().unwrap_or_else(PoisonError::into_inner);
        slot.tried = Some(now);
        match fetched {
            Ok(keys) => {
                slot.keys = Arc::new(keys);
                slot.fetched = Some(now);
            }
            Err(error) => {
                let url = &self.issuer.certs_url;
                warn!(%url, error = &*error, "an issuer's keys can't be fetched");
            }
        }
        slot.clone()
    }

    async fn fetch(&self) -> Result<Keys, BoxError> {
        let fetching = self.source.fetch(&self.issuer.certs_url);
        let document = timeout(limits::ACCESS_KEYS_TIMEOUT, fetching).await??;
        if document.len() > limits::ACCESS_KEYS_BYTES {
            return Err(format!("longer than {} bytes", limits::ACCESS_KEYS_BYTES).into());
        }
        Ok(Keys::parse(&document)?)
    }

    fn held(&self) -> Held {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

#[expect(clippy::disallowed_methods, reason = "a shell; tokio's clock, so tests can pause it")]
fn now() -> Instant {
    Instant::now()
}
