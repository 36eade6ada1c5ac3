//! Logging out before a token's end, on every node.

#[cfg(feature = "tokio")]
mod file;
mod ledger;
mod memory;
mod store;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub use self::file::{FileRevocations, Forgotten};
use self::ledger::Ledger;
pub use self::memory::MemoryRevocations;
pub use self::store::{Changes, Cursor, Epoch, RevocationKey, RevocationStore};
use crate::error::Error;
use crate::timestamp::Timestamp;
use crate::token::TokenError;

/// The logins and people whose tokens have ended early.
///
/// Each node has one. Verifiers ask it in memory; it learns from the store what other nodes have revoked:
/// let a task call [`sync`](Self::sync) once a second, and what one node revokes is refused by all within
/// two. What this node revokes it refuses at once.
///
/// Bounded: when it is full, the oldest entries go, and with them every token as old as they are, so that
/// too many log-outs lead to new logins and never to a revived session.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use otp_auth::session::{RevocationKey, Revocations};
/// use otp_auth::timestamp::Timestamp;
///
/// let revocations = Revocations::new();
/// let now = Timestamp::from_unix_secs(1_790_000_000);
/// let issued = revocations.epoch(now).await?; // goes into a token
/// assert!(!revocations.is_revoked("alice", "nonce", issued));
/// revocations.revoke(&RevocationKey::subject("alice"), now).await?;
/// assert!(revocations.is_revoked("alice", "nonce", issued));
/// let again = revocations.epoch(now).await?; // signed in anew
/// assert!(!revocations.is_revoked("alice", "other", again));
/// # Ok::<(), otp_auth::error::Error>(()) }).unwrap();
/// ```
pub struct Revocations {
    store: Arc<dyn RevocationStore>,
    ledger: RwLock<Ledger>,
    /// Changes whenever the ledger does, so that what was checked need not be checked again.
    generation: AtomicU64,
    cursor: Mutex<Cursor>,
    /// Milliseconds; when the store last answered.
    synced: AtomicU64,
    outage: Outage,
    remember_for: Duration,
}

/// What to do while the store of revocations gives no answer. New sessions are never opened then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Outage {
    /// Tokens live until their end; what other nodes revoke meanwhile is not seen. The default.
    #[default]
    KeepExisting,
    /// When there was no answer for this long, all tokens are refused.
    RefuseAfter(Duration),
}

impl Revocations {
    /// For one process: a store in memory.
    pub fn new() -> Self {
        Self::shared(Arc::new(MemoryRevocations::new()))
    }

    /// For several nodes: the store that they share.
    pub fn shared(store: Arc<dyn RevocationStore>) -> Self {
        Self {
            store,
            ledger: RwLock::new(Ledger::new(AT_MOST)),
            generation: AtomicU64::new(1),
            cursor: Mutex::default(),
            synced: AtomicU64::new(0),
            outage: Outage::default(),
            remember_for: MONTH,
        }
    }

    /// What to do while the store is away. Default [`Outage::KeepExisting`].
    #[must_use]
    pub fn outage(mut self, outage: Outage) -> Self {
        self.outage = outage;
        self
    }

    /// How long to remember: the longest life that tokens are given, plus leeway. Default 31 days and a
    /// minute. Tokens that are older are refused.
    #[must_use]
    pub fn remember_for(mut self, time: Duration) -> Self {
        self.remember_for = time.saturating_add(Duration::from_secs(60));
        self
    }

    /// Remembers up to this many. Default 100,000.
    #[must_use]
    pub fn at_most(mut self, entries: usize) -> Self {
        self.ledger = RwLock::new(Ledger::new(entries.max(1)));
        self
    }

    /// The epoch for a token that is signed now: later revocations end it, earlier ones do not.
    ///
    /// # Errors
    ///
    /// The store gives no answer: sign no token.
    pub async fn epoch(&self, now: Timestamp) -> Result<Epoch, Error> {
        self.store.epoch(now).await
    }

    /// Ends all tokens of a login or a person that were signed until now: at once here, within two seconds
    /// on other nodes.
    ///
    /// # Errors
    ///
    /// The store gives no answer. The tokens are refused on this node all the same; tell the person that
    /// it may not be so elsewhere, and try again.
    pub async fn revoke(&self, key: &RevocationKey, now: Timestamp) -> Result<(), Error> {
        match self.store.revoke(key, now).await {
            Ok(epoch) => {
                self.change(|ledger| ledger.note(key, epoch));
                Ok(())
            }
            Err(error) => {
                // A guess that may end a little more here than was asked for.
                self.change(|ledger| ledger.note(key, Epoch::at(now).next()));
                Err(error)
            }
        }
    }

    /// Learns what other nodes have revoked. Call it at start and then once a second.
    ///
    /// # Errors
    ///
    /// The store gives no answer; what is known stays known. See [`Outage`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the next call asks for the same again.
    pub async fn sync(&self, now: Timestamp) -> Result<(), Error> {
        loop {
            let after = self.cursor.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let changes = self.store.changes(&after, now).await?;
            let is_last = changes.is_last;
            let forget = Epoch::at(now.minus(self.remember_for));
            let is_change = !changes.revoked.is_empty();
            let apply = |ledger: &mut Ledger| {
                for (key, epoch) in &changes.revoked {
                    ledger.note(key, *epoch);
                }
                ledger.raise_floor(changes.floor) | ledger.forget_before(forget) | is_change
            };
            if apply(&mut self.ledger.write().unwrap_or_else(PoisonError::into_inner)) {
                self.generation.fetch_add(1, Ordering::Release);
            }
            *self.cursor.lock().unwrap_or_else(PoisonError::into_inner) = changes.cursor;
            if is_last {
                self.synced.store(now.as_unix_millis(), Ordering::Release);
                return Ok(());
            }
        }
    }

    /// Whether a token with this subject, `identity_nonce` and epoch was revoked, as far as is known here.
    pub fn is_revoked(&self, subject: &str, identity_nonce: &str, issued: Epoch) -> bool {
        let ledger = self.ledger.read().unwrap_or_else(PoisonError::into_inner);
        ledger.is_revoked(subject, identity_nonce, issued)
    }

    /// Whether what is known here is too old to go by.
    pub(super) fn check_freshness(&self, now: Timestamp) -> Result<(), TokenError> {
        let Outage::RefuseAfter(time) = self.outage else { return Ok(()) };
        let synced = Timestamp::from_unix_millis(self.synced.load(Ordering::Acquire));
        if now.since(synced) > time { Err(TokenError::RevocationsUnknown) } else { Ok(()) }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn change(&self, change: impl FnOnce(&mut Ledger)) {
        change(&mut self.ledger.write().unwrap_or_else(PoisonError::into_inner));
        self.generation.fetch_add(1, Ordering::Release);
    }
}

impl Default for Revocations {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations")
            .field("store", &self.store)
            .field("outage", &self.outage)
            .finish_non_exhaustive()
    }
}

/// Ten megabytes, as a rule.
const AT_MOST: usize = 100_000;

/// The longest life that an issuer gives, and leeway.
const MONTH: Duration = Duration::from_secs(31 * 86_400 + 60);
