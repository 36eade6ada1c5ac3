//! A key set that issuers and verifiers share while it changes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::{KeyEvent, KeySet, PublicKeySet, RotationSchedule, SigningKey, VerifyingKey};
use crate::error::Error;
use crate::secret::Secret;
use crate::timestamp::Timestamp;

/// A shared handle to the current [`KeySet`]: cloning it shares, and a rotation reaches all clones at once.
#[derive(Debug, Clone)]
pub struct KeyRing {
    current: Arc<RwLock<Arc<Current>>>,
    /// Held while a successor is worked out, so that no change is lost.
    change: Arc<Mutex<()>>,
    generation: Arc<AtomicU64>,
}

impl KeyRing {
    /// Shares a set.
    pub fn new(keys: KeySet) -> Self {
        Self {
            current: Arc::new(RwLock::new(Arc::new(Current::of(keys)))),
            change: Arc::default(),
            generation: Arc::default(),
        }
    }

    /// The set at this moment.
    pub fn keys(&self) -> KeySet {
        self.current().keys.clone()
    }

    /// Puts another set in its place.
    pub fn replace(&self, keys: KeySet) {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        self.put(keys);
    }

    /// Does what is due by [`KeySet::rotate`], in the order that survives a crash: `keep` saves the changed
    /// set ([`KeySet::save`]) before anybody sees it. Nothing is kept when nothing was due.
    ///
    /// # Errors
    ///
    /// What `make_key` or `keep` answers; the set is as it was before.
    pub fn rotate(
        &self,
        schedule: &RotationSchedule,
        now: Timestamp,
        make_key: impl FnOnce() -> Result<SigningKey, Error>,
        keep: impl FnOnce(&Secret) -> Result<(), Error>,
    ) -> Result<Vec<KeyEvent>, Error> {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys = self.keys();
        let events = keys.rotate(schedule, now, make_key)?;
        if !events.is_empty() {
            keep(&keys.save()?)?;
            self.put(keys);
        }
        Ok(events)
    }

    /// Revokes a key by [`KeySet::revoke`], kept before it is seen as in [`rotate`](Self::rotate).
    ///
    /// # Errors
    ///
    /// As those two; the set is as it was before.
    pub fn revoke(
        &self,
        kid: &str,
        now: Timestamp,
        make_key: impl FnOnce() -> Result<SigningKey, Error>,
        keep: impl FnOnce(&Secret) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys = self.keys();
        keys.revoke(kid, now, make_key)?;
        keep(&keys.save()?)?;
        self.put(keys);
        Ok(())
    }

    /// The key set document at this moment, see [`KeySet::jwks`].
    pub fn jwks(&self) -> String {
        self.current().public.to_json()
    }

    pub(crate) fn current(&self) -> Arc<Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, keys: KeySet) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: who reads the new number finds the new keys.
        self.generation.fetch_add(1, Ordering::Release);
        *current = Arc::new(Current::of(keys));
    }
}

/// Where a verifier finds keys: a [`KeyRing`] in the issuer's process, [`RemoteKeys`](super::RemoteKeys)
/// or a fixed [`PublicKeySet`] elsewhere.
///
/// An implementation that fetches a document does so outside the verification, at most once a minute,
/// when [`TokenError::UnknownKey`](crate::token::TokenError::UnknownKey) has been seen.
pub trait FindKey: std::fmt::Debug + Send + Sync {
    /// The key of this name, if the issuer publishes it now.
    fn find_key(&self, kid: &str) -> Option<VerifyingKey>;

    /// A number that changes, before the answers do, whenever an answer of [`find_key`](Self::find_key) may,
    /// so that a key that was found need not be looked for again. `None`, the default: each time.
    fn generation(&self) -> Option<u64> {
        None
    }
}

impl FindKey for KeyRing {
    fn find_key(&self, kid: &str) -> Option<VerifyingKey> {
        self.current().public.find(kid).cloned()
    }

    fn generation(&self) -> Option<u64> {
        Some(self.generation.load(Ordering::Acquire))
    }
}

impl FindKey for PublicKeySet {
    fn find_key(&self, kid: &str) -> Option<VerifyingKey> {
        self.find(kid).cloned()
    }

    fn generation(&self) -> Option<u64> {
        Some(0)
    }
}

/// A set with its public half worked out.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) keys: KeySet,
    public: PublicKeySet,
    /// Worked out when it is first asked for.
    #[cfg(feature = "certificates")]
    pub(super) access_certs: std::sync::OnceLock<String>,
}

impl Current {
    fn of(keys: KeySet) -> Self {
        let public = keys.public_keys();
        Self {
            keys,
            public,
            #[cfg(feature = "certificates")]
            access_certs: std::sync::OnceLock::new(),
        }
    }
}
