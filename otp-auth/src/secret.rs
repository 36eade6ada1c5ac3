//! Bytes that must not be seen.

mod pepper;

use std::fmt;

use ring::hmac;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub use self::pepper::Pepper;
pub(crate) use self::pepper::{Keys, PepperKeys, mac};
use crate::error::Error;
use crate::random::Random;

/// Secret bytes: no output shows them, equality takes constant time, and they are zeroed on drop.
///
/// ```
/// use otp_auth::secret::Secret;
///
/// let secret = Secret::new(b"hunter2".to_vec());
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// ```
#[derive(Clone)]
pub struct Secret {
    bytes: Zeroizing<Vec<u8>>,
}

impl Secret {
    /// Takes ownership of the bytes; the caller's other copies are the caller's to clear.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: Zeroizing::new(bytes) }
    }

    /// Draws `length` random bytes.
    ///
    /// # Errors
    ///
    /// Fails when the generator does.
    pub fn generate(random: &dyn Random, length: usize) -> Result<Self, Error> {
        let mut secret = Self::new(vec![0; length]);
        random.fill(&mut secret.bytes)?;
        Ok(secret)
    }

    /// The bytes in the clear, for storing them in a protected place.
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.bytes.ct_eq(&other.bytes).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// HMAC-SHA256 over the parts, each preceded by its length, so that no two lists of parts give one input.
pub(crate) fn keyed_digest(key: &Secret, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.expose()));
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.sign().as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_together() {
        let key = Secret::new(vec![7; 32]);
        assert_ne!(keyed_digest(&key, &[b"ab", b"c"]), keyed_digest(&key, &[b"a", b"bc"]));
        assert_ne!(keyed_digest(&key, &[b"ab"]), keyed_digest(&key, &[b"ab", b""]));
    }
}
