//! A key set and the life of its keys.

use std::sync::Arc;

use super::{PublicKeySet, SigningKey};
use crate::error::Error;

/// Where a key is in its life. All states are published and verify; one key signs.
///
/// ```text
/// published ──promote──▶ signing ──promote of the next──▶ retired ──remove──▶ (gone)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyState {
    /// Known to verifiers, not used yet. Consumers cache for up to 24 hours, so stay that long.
    Published,
    /// Signs new tokens.
    Signing,
    /// Signs no more; verifies what it has signed. Keep for 7 days and the longest token life.
    Retired,
}

/// The keys of one issuer: exactly one signs. A plain value; share it with a [`KeyRing`](super::KeyRing).
///
/// ```
/// use otp_auth::keys::{KeySet, KeyState, SigningKey};
/// use otp_auth::random::SystemRandom;
///
/// let random = SystemRandom::new();
/// let mut keys = KeySet::new(SigningKey::generate(&random)?);
/// let next = keys.publish(SigningKey::generate(&random)?)?; // a day before its first use
/// let previous = keys.signing().kid().to_owned();
/// keys.promote(&next)?;
/// assert_eq!(keys.state(&previous), Some(KeyState::Retired));
/// keys.remove(&previous)?; // when its last token has expired; at once if it leaked
/// # Ok::<(), otp_auth::error::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct KeySet {
    signing: Arc<SigningKey>,
    others: Vec<(Arc<SigningKey>, KeyState)>,
}

impl KeySet {
    /// A set of one key, which signs.
    pub fn new(signing: SigningKey) -> Self {
        Self { signing: Arc::new(signing), others: Vec::new() }
    }

    /// Adds a key that does not sign yet; returns its name.
    ///
    /// # Errors
    ///
    /// Refuses a key that is in the set, and more than 16 keys.
    pub fn publish(&mut self, key: SigningKey) -> Result<String, Error> {
        self.add(key, KeyState::Published)
    }

    /// Adds a key that signs no more, for instance when a saved set is loaded; returns its name.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub fn add_retired(&mut self, key: SigningKey) -> Result<String, Error> {
        self.add(key, KeyState::Retired)
    }

    /// Lets a published key sign from now on; the key that signed until now is retired.
    ///
    /// # Errors
    ///
    /// Refuses a key that is not in the state [`KeyState::Published`].
    pub fn promote(&mut self, kid: &str) -> Result<(), Error> {
        let (key, state) = self
            .others
            .iter_mut()
            .find(|(key, state)| key.kid() == kid && *state == KeyState::Published)
            .ok_or_else(|| Error::key("it is not published"))?;
        std::mem::swap(key, &mut self.signing);
        *state = KeyState::Retired;
        Ok(())
    }

    /// Takes a key out: its tokens are refused from now on.
    ///
    /// # Errors
    ///
    /// Refuses the signing key (promote another first) and an unknown name.
    pub fn remove(&mut self, kid: &str) -> Result<(), Error> {
        let before = self.others.len();
        self.others.retain(|(key, _)| key.kid() != kid);
        if self.others.len() == before {
            return Err(Error::key("it signs, or is not in the set"));
        }
        Ok(())
    }

    /// The key that signs.
    pub fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// The state of a key, `None` if it is not in the set.
    pub fn state(&self, kid: &str) -> Option<KeyState> {
        self.entries().find(|(key, _)| key.kid() == kid).map(|(_, state)| state)
    }

    /// All keys with their states, for saving.
    pub fn entries(&self) -> impl Iterator<Item = (&SigningKey, KeyState)> {
        let signing = std::iter::once((&*self.signing, KeyState::Signing));
        signing.chain(self.others.iter().map(|(key, state)| (&**key, *state)))
    }

    /// The public halves of all keys.
    pub fn public_keys(&self) -> PublicKeySet {
        PublicKeySet::new(self.entries().map(|(key, _)| key.verifying_key().clone()).collect())
    }

    /// The key set document for `/cdn-cgi/access/certs` (RFC 7517 section 5).
    pub fn jwks(&self) -> String {
        self.public_keys().to_json()
    }

    fn add(&mut self, key: SigningKey, state: KeyState) -> Result<String, Error> {
        if self.state(key.kid()).is_some() {
            return Err(Error::key("it is in the set already"));
        }
        if self.others.len() + 1 >= MOST_KEYS {
            return Err(Error::key("the set has 16 keys"));
        }
        let kid = key.kid().to_owned();
        self.others.push((Arc::new(key), state));
        Ok(kid)
    }
}

/// A rotation every six weeks with a month of tokens needs three; sixteen leaves room for emergencies.
const MOST_KEYS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    fn key() -> SigningKey {
        SigningKey::generate(&SystemRandom::new()).unwrap()
    }

    #[test]
    fn only_a_published_key_is_promoted() {
        let mut keys = KeySet::new(key());
        let first = keys.signing().kid().to_owned();
        let next = keys.publish(key()).unwrap();
        assert!(keys.promote(&first).is_err());
        assert!(keys.promote("unknown").is_err());
        keys.promote(&next).unwrap();
        assert_eq!(keys.signing().kid(), next);
        assert!(keys.promote(&first).is_err(), "a retired key never signs again");
        assert!(keys.remove(&next).is_err(), "the signing key stays");
        keys.remove(&first).unwrap();
        assert!(keys.remove(&first).is_err());
        assert_eq!(keys.public_keys().keys().len(), 1);
    }

    #[test]
    fn the_set_is_bounded_and_has_no_twins() {
        let mut keys = KeySet::new(key());
        let twin = keys.signing().to_pkcs8();
        let twin = SigningKey::from_pkcs8(&twin, &SystemRandom::new()).unwrap();
        assert!(keys.publish(twin).is_err());
        for _ in 0..15 {
            keys.add_retired(key()).unwrap();
        }
        assert!(keys.publish(key()).is_err());
    }
}
