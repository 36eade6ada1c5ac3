//! An issuer's keys: fetched when needed, kept, and never fetched in a hurry.

use std::{
    error::Error as StdError,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::watch,
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
/// gives the document there, a JWK set (RFC 7517). The answers are kept. As long as rules name an issuer,
/// its calls begin at least 30 seconds apart, never while one is under way; each is given up after 10
/// seconds. They run in tasks of their own, on the runtime of the request that needs them.
pub trait KeySource: Send + Sync + 'static {
    /// Fetches a document.
    fn fetch(&self, url: &str) -> Fetch;
}

/// The keys of one issuer, shared by all rules that name it.
pub(in crate::ingress) struct Keyring(Arc<Shared>);

struct Shared {
    issuer: Issuer,
    source: Arc<dyn KeySource>,
    held: Mutex<Held>,
}

#[derive(Clone, Default)]
struct Held {
    keys: Arc<Keys>,
    /// When the keys came.
    fetched: Option<Instant>,
    /// When the last fetch began.
    tried: Option<Instant>,
    /// Whether it brought none.
    has_failed: bool,
    /// The fetch under way: its other end is dropped when it is over, however it ends.
    fetching: Option<watch::Receiver<()>>,
}

impl Keyring {
    pub(in crate::ingress) fn new(issuer: Issuer, source: Arc<dyn KeySource>) -> Self {
        Self(Arc::new(Shared { issuer, source, held: Mutex::default() }))
    }

    /// Checks a token, with newer keys if need be.
    ///
    /// Keys are renewed while they still count, so that nobody waits where visitors come all the time.
    /// After a pause a visitor waits for newer ones, unless the issuer could not be reached
    /// last time either.
    pub(super) async fn verify(&self, token: &str, unix_now: u64) -> Result<Claims, TokenError> {
        let shared = &self.0;
        let held = shared.held().clone();
        let verdict = held.verify(token, &shared.issuer, unix_now);
        let is_unknown = verdict == Err(TokenError::UnknownKey);
        if !is_unknown && held.is_younger_than(limits::ACCESS_KEYS_RENEW) {
            return verdict;
        }
        let fetching = Shared::refresh(shared, &held);
        if !is_unknown && (held.has_failed || held.is_younger_than(limits::ACCESS_KEYS_FRESH)) {
            return verdict;
        }
        if let Some(mut fetching) = fetching {
            // An error is what is waited for.
            let _ = fetching.changed().await;
        }
        let held = shared.held().clone();
        held.verify(token, &shared.issuer, unix_now)
    }
}

impl Shared {
    /// The fetch under way, or a new one, unless somebody fetched since `seen` or just before. It runs to
    /// its end, whoever leaves meanwhile.
    fn refresh(shared: &Arc<Self>, seen: &Held) -> Option<watch::Receiver<()>> {
        let mut held = shared.held();
        if let Some(fetching) = held.fetching.as_ref().filter(|it| it.has_changed().is_ok()) {
            return Some(fetching.clone());
        }
        let is_newer = held.tried != seen.tried;
        let is_hasty = held.tried.is_some_and(|at| at.elapsed() < limits::ACCESS_KEYS_PAUSE);
        if is_newer || is_hasty {
            return None;
        }
        held.tried = Some(now());
        let (under_way, fetching) = watch::channel(());
        held.fetching = Some(fetching.clone());
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let fetched = shared.fetch().await;
            shared.put(fetched);
            drop(under_way);
        });
        Some(fetching)
    }

    fn put(&self, fetched: Result<Keys, BoxError>) {
        let mut held = self.held();
        held.has_failed = fetched.is_err();
        match fetched {
            Ok(keys) => {
                held.keys = Arc::new(keys);
                held.fetched = Some(now());
            }
            Err(error) => {
                let url = &self.issuer.certs_url;
                warn!(%url, error = &*error, "an issuer's keys can't be fetched");
            }
        }
    }

    async fn fetch(&self) -> Result<Keys, BoxError> {
        let fetching = self.source.fetch(&self.issuer.certs_url);
        let limit = limits::ACCESS_KEYS_TIMEOUT;
        let late = |_| format!("took longer than {limit:?} (ACCESS_KEYS_TIMEOUT)");
        let document = timeout(limit, fetching).await.map_err(late)??;
        if document.len() > limits::ACCESS_KEYS_BYTES {
            return Err(too_long().into());
        }
        Ok(Keys::parse(&document)?)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn verify(&self, token: &str, issuer: &Issuer, unix_now: u64) -> Result<Claims, TokenError> {
        // Keys that could not be renewed for a day open nothing any more.
        if self.is_younger_than(limits::ACCESS_KEYS_USABLE) {
            self.keys.verify(token, issuer, unix_now)
        } else {
            Err(TokenError::UnknownKey)
        }
    }

    fn is_younger_than(&self, age: Duration) -> bool {
        self.fetched.is_some_and(|at| at.elapsed() < age)
    }
}

/// What is said of a document beyond its bound.
pub(super) fn too_long() -> String {
    format!("longer than {} bytes (ACCESS_KEYS_BYTES)", limits::ACCESS_KEYS_BYTES)
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("issuer", &self.0.issuer).finish_non_exhaustive()
    }
}

#[expect(clippy::disallowed_methods, reason = "a shell; tokio's clock, so tests can pause it")]
fn now() -> Instant {
    Instant::now()
}
