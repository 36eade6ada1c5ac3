//! A key set that issuers and verifiers share while it changes.

use std::sync::{Arc, PoisonError, RwLock};

use super::{KeySet, PublicKeySet, VerifyingKey};

/// A shared handle to the current [`KeySet`]: cloning it shares, and a rotation reaches all clones at once.
#[derive(Debug, Clone)]
pub struct KeyRing {
    current: Arc<RwLock<Arc<Current>>>,
}

impl KeyRing {
    /// Shares a set.
    pub fn new(keys: KeySet) -> Self {
        Self { current: Arc::new(RwLock::new(Arc::new(Current::of(keys)))) }
    }

    /// The set at this moment.
    pub fn keys(&self) -> KeySet {
        self.current().keys.clone()
    }

    /// Puts another set in its place, for instance the old one after
    /// [`promote`](KeySet::promote).
    pub fn replace(&self, keys: KeySet) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Current::of(keys));
    }

    /// The key set document at this moment, see [`KeySet::jwks`].
    pub fn jwks(&self) -> String {
        self.current().public.to_json()
    }

    pub(crate) fn current(&self) -> Arc<Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Where a verifier finds keys: a [`KeyRing`] in the issuer's process, a [`PublicKeySet`] elsewhere.
///
/// An implementation that fetches a document does so outside the verification, at most once a minute,
/// when [`TokenError::UnknownKey`](crate::token::TokenError::UnknownKey) has been seen.
pub trait FindKey: std::fmt::Debug + Send + Sync {
    /// The key of this name, if the issuer publishes it now.
    fn find_key(&self, kid: &str) -> Option<VerifyingKey>;
}

impl FindKey for KeyRing {
    fn find_key(&self, kid: &str) -> Option<VerifyingKey> {
        self.current().public.find(kid).cloned()
    }
}

impl FindKey for PublicKeySet {
    fn find_key(&self, kid: &str) -> Option<VerifyingKey> {
        self.find(kid).cloned()
    }
}

/// A set with its public half worked out.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) keys: KeySet,
    public: PublicKeySet,
}

impl Current {
    fn of(keys: KeySet) -> Self {
        let public = keys.public_keys();
        Self { keys, public }
    }
}
