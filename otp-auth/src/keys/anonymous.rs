//! Keys for tokens that anybody can get.

use super::{KeyEvent, KeyRing, KeySet, RotationSchedule, SigningKey};
use crate::error::Error;
use crate::random::SystemRandom;
use crate::secret::Secret;
use crate::timestamp::Timestamp;

/// The keys that sign what a visitor gets whom nobody knows. They are no application keys, and can't become
/// such: nothing here gives a [`KeySet`], a [`KeyRing`] or a
/// [`FindKey`](super::FindKey), and a saved set of one kind does not load as the other.
///
/// Access signs both kinds so that one document lists their keys, and a reader that forgets to check
/// issuer and type believes a stranger's token. Here such a reader finds no key.
///
/// ```compile_fail
/// use std::sync::Arc;
/// use otp_auth::{keys::AnonymousKeys, random::SystemRandom, session::AppVerifier, timestamp::Timestamp};
///
/// let now = Timestamp::from_unix_secs(1_790_000_000);
/// let keys = AnonymousKeys::generate(&SystemRandom::new(), now).unwrap();
/// let verifier = AppVerifier::new(Arc::new(keys), "https://auth.example.jp"); // no `FindKey`
/// ```
///
/// ```compile_fail
/// use std::sync::Arc;
/// use otp_auth::{keys::AnonymousKeys, random::SystemRandom, session::Issuer, timestamp::Timestamp};
///
/// let random = SystemRandom::new();
/// let keys = AnonymousKeys::generate(&random, Timestamp::from_unix_secs(1_790_000_000)).unwrap();
/// let issuer = Issuer::new(keys, Arc::new(random), "https://auth.example.jp"); // no `KeyRing`
/// ```
#[derive(Debug, Clone)]
pub struct AnonymousKeys {
    ring: KeyRing,
}

impl AnonymousKeys {
    /// A first key for ES256.
    ///
    /// # Errors
    ///
    /// Fails when the generator does.
    pub fn generate(random: &SystemRandom, now: Timestamp) -> Result<Self, Error> {
        Ok(Self { ring: KeyRing::new(KeySet::new(SigningKey::generate(random)?, now)) })
    }

    /// Does what is due, as [`KeyRing::rotate`] does; new keys are for ES256.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn rotate(
        &self,
        schedule: &RotationSchedule,
        now: Timestamp,
        random: &SystemRandom,
        keep: impl FnOnce(&Secret) -> Result<(), Error>,
    ) -> Result<Vec<KeyEvent>, Error> {
        let draw = || SigningKey::generate(random);
        self.ring.rotate(schedule, now, draw, |saved| keep(&marked(saved)))
    }

    /// The keys with their private halves, for a file that only the program can read.
    ///
    /// # Errors
    ///
    /// Refuses nothing that a set can hold.
    pub fn save(&self) -> Result<Secret, Error> {
        Ok(marked(&self.ring.keys().save()?))
    }

    /// Reads what [`save`](Self::save) wrote, and nothing that [`KeySet::save`] wrote.
    ///
    /// # Errors
    ///
    /// Refuses a damaged set, as the caller's fault.
    pub fn load(saved: &Secret, random: &SystemRandom) -> Result<Self, Error> {
        let plain = saved.expose().strip_prefix(MARK);
        let plain = plain.ok_or_else(|| Error::key("it is no set of keys for anonymous tokens"))?;
        Ok(Self { ring: KeyRing::new(KeySet::load(&Secret::new(plain.to_vec()), random)?) })
    }

    /// The public halves, for a document of their own. Do not add them to the one that applications read.
    pub fn jwks(&self) -> String {
        self.ring.jwks()
    }

    pub(crate) fn ring(&self) -> &KeyRing {
        &self.ring
    }
}

fn marked(saved: &Secret) -> Secret {
    Secret::new([MARK, saved.expose()].concat())
}

const MARK: &[u8] = b"otp-auth/keys/anonymous/v1\n";
