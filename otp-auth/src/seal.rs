//! Secrets that lie in files and stores: encrypted, and bound to the place they belong to.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::random::Random;
use crate::secret::{Secret, keyed_digest};

/// Seals secrets with AES-256-GCM, so that whoever reads or copies a row learns and moves nothing.
///
/// Each sealing draws 32 bytes of salt and derives a key of its own from them, so there is no number of
/// sealings after which the key must change.
///
/// ```
/// use otp_auth::{random::SystemRandom, seal::SealingKey, secret::Secret};
///
/// let random = SystemRandom::new();
/// let key = SealingKey::new(Secret::generate(&random, 32)?)?;
/// let sealed = key.seal("totp alice", &Secret::new(b"20 bytes of secret!!".to_vec()), &random)?;
/// assert!(key.open("totp alice", &sealed).is_ok());
/// assert!(key.open("totp bob", &sealed).is_err(), "a copied row does not open");
/// # Ok::<(), otp_auth::error::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct SealingKey {
    current: Secret,
    previous: Option<Secret>,
}

impl SealingKey {
    /// Takes at least 32 bytes, which lie elsewhere than what they seal.
    ///
    /// # Errors
    ///
    /// Refuses fewer, as the caller's fault.
    pub fn new(key: Secret) -> Result<Self, Error> {
        Ok(Self { current: long_enough(key)?, previous: None })
    }

    /// Also opens what was sealed under `previous`. Seal anew what was opened, then leave it out.
    ///
    /// # Errors
    ///
    /// Refuses fewer than 32 bytes, as the caller's fault.
    pub fn with_previous(mut self, previous: Secret) -> Result<Self, Error> {
        self.previous = Some(long_enough(previous)?);
        Ok(self)
    }

    /// Seals `secret` for the place that `context` names. The result is visible ASCII.
    ///
    /// # Errors
    ///
    /// Fails when the generator does.
    pub fn seal(
        &self,
        context: &str,
        secret: &Secret,
        random: &dyn Random,
    ) -> Result<String, Error> {
        let mut salt = [0; SALT_BYTES];
        random.fill(&mut salt)?;
        let mut bytes = Zeroizing::new(secret.expose().to_vec());
        let tag = message_key(&self.current, &salt)
            .seal_in_place_separate_tag(nonce(), Aad::from(context.as_bytes()), &mut bytes)
            .map_err(|_| Error::setting("secret", "it is too long to seal"))?;
        let sealed = [&salt[..], &bytes, tag.as_ref()].concat();
        Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(sealed)))
    }

    /// Opens what was sealed for the same place.
    ///
    /// # Errors
    ///
    /// [`SealError`], whatever the reason.
    pub fn open(&self, context: &str, sealed: &str) -> Result<Secret, SealError> {
        let text = sealed.strip_prefix(PREFIX).ok_or(SealError)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| SealError)?;
        let (salt, rest) = bytes.split_first_chunk::<SALT_BYTES>().ok_or(SealError)?;
        let keys = std::iter::once(&self.current).chain(&self.previous);
        let open = |key: &Secret| {
            let mut rest = Zeroizing::new(rest.to_vec());
            let aad = Aad::from(context.as_bytes());
            let plain = message_key(key, salt).open_in_place(nonce(), aad, &mut rest).ok()?;
            Some(Secret::new(plain.to_vec()))
        };
        keys.into_iter().find_map(open).ok_or(SealError)
    }
}

/// It was not sealed with this key for this place, or has been changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not sealed with this key for this place")]
pub struct SealError;

fn message_key(key: &Secret, salt: &[u8; SALT_BYTES]) -> LessSafeKey {
    let key = Zeroizing::new(keyed_digest(key, &[b"otp-auth/seal/v1", salt]));
    let key = UnboundKey::new(&AES_256_GCM, &*key).expect("32 bytes");
    LessSafeKey::new(key)
}

/// Each key seals once, so its only nonce may be any.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn long_enough(key: Secret) -> Result<Secret, Error> {
    if key.expose().len() < 32 {
        return Err(Error::setting("sealing key", "it must have at least 32 bytes"));
    }
    Ok(key)
}

const PREFIX: &str = "sealed1.";
const SALT_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn what_was_changed_cut_or_sealed_elsewhere_does_not_open() {
        let random = SystemRandom::new();
        let secret = |byte| Secret::new(vec![byte; 32]);
        let key = SealingKey::new(secret(1)).unwrap();
        let sealed = key.seal("place", &secret(9), &random).unwrap();
        assert_eq!(key.open("place", &sealed), Ok(secret(9)));
        assert_ne!(key.seal("place", &secret(9), &random).unwrap(), sealed);
        for index in 0..sealed.len() {
            let mut bytes = sealed.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(key.open("place", &changed), Err(SealError), "{index}");
            assert_eq!(key.open("place", &sealed[..index]), Err(SealError), "{index}");
        }
        assert_eq!(key.open("", &sealed), Err(SealError));
        let other = SealingKey::new(secret(2)).unwrap();
        assert_eq!(other.open("place", &sealed), Err(SealError));
        let changed_key = other.with_previous(secret(1)).unwrap();
        assert_eq!(changed_key.open("place", &sealed), Ok(secret(9)));
        assert!(SealingKey::new(Secret::new(vec![1; 31])).is_err());
    }
}
