//! Bytes that must not be seen.

use std::fmt;

use ring::hmac;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

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

/// The key under which codes are stored: without it a stolen table of challenges says nothing.
///
/// Keep it outside the challenge store, the same on every node. To change it, make the new one current
/// and keep the old one as previous for at least the life of a code (10 minutes).
///
/// # Security
///
/// Address budgets are counted under the current pepper, so a change of pepper starts them afresh.
#[derive(Debug, Clone)]
pub struct Pepper {
    current: Secret,
    previous: Option<Secret>,
}

impl Pepper {
    /// Takes at least 32 bytes.
    ///
    /// # Errors
    ///
    /// Refuses a shorter secret as the caller's fault.
    pub fn new(current: Secret) -> Result<Self, Error> {
        Ok(Self { current: long_enough(current)?, previous: None })
    }

    /// Draws 32 random bytes, which suits one process: codes die with it.
    ///
    /// # Errors
    ///
    /// Fails when the generator does.
    pub fn generate(random: &dyn Random) -> Result<Self, Error> {
        Self::new(Secret::generate(random, PEPPER_BYTES)?)
    }

    /// Also accepts codes that were issued under `previous`.
    ///
    /// # Errors
    ///
    /// Refuses a secret under 32 bytes as the caller's fault.
    pub fn with_previous(mut self, previous: Secret) -> Result<Self, Error> {
        self.previous = Some(long_enough(previous)?);
        Ok(self)
    }

    pub(crate) fn current(&self) -> &Secret {
        &self.current
    }

    pub(crate) fn previous(&self) -> Option<&Secret> {
        self.previous.as_ref()
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

fn long_enough(secret: Secret) -> Result<Secret, Error> {
    if secret.expose().len() < PEPPER_BYTES {
        return Err(Error::setting("pepper", "it must have at least 32 bytes"));
    }
    Ok(secret)
}

/// The output length of SHA-256: a longer key adds nothing, a shorter one weakens the HMAC (RFC 2104).
const PEPPER_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_together() {
        let key = Secret::new(vec![7; 32]);
        assert_ne!(keyed_digest(&key, &[b"ab", b"c"]), keyed_digest(&key, &[b"a", b"bc"]));
        assert_ne!(keyed_digest(&key, &[b"ab"]), keyed_digest(&key, &[b"ab", b""]));
    }

    #[test]
    fn short_peppers_are_refused() {
        assert!(Pepper::new(Secret::new(vec![1; 31])).unwrap_err().is_caller_fault());
    }
}
