//! The key that no store knows, and the keys made of it.

use std::fmt;

use ring::hmac;
use zeroize::Zeroize;

use super::{Secret, keyed_digest};
use crate::error::Error;
use crate::random::Random;

/// The key under which codes are stored: without it a stolen table of challenges says nothing.
///
/// Keep it outside the challenge store, the same on every node. To change it, make the new one current
/// and keep the old one as previous for at least the life of a code (10 minutes). Known devices
/// (30 days) are forgotten when the pepper that wrote their cookie is gone.
///
/// # Security
///
/// Address budgets are counted under a keyed hash, so a change of pepper starts them afresh.
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

    pub(crate) fn keys(&self) -> PepperKeys {
        PepperKeys {
            current: Keys::of(&self.current),
            previous: self.previous.as_ref().map(Keys::of),
        }
    }
}

/// The keys of the current pepper and of the one before.
pub(crate) struct PepperKeys {
    current: Keys,
    previous: Option<Keys>,
}

impl PepperKeys {
    /// What new values are made with.
    pub(crate) fn current(&self) -> &Keys {
        &self.current
    }

    /// What old values may have been made with: the current keys first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Keys> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

impl fmt::Debug for PepperKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PepperKeys(..)")
    }
}

/// One key for each kind of value, so that none can stand for another. Prepared once: HMAC keys cost as
/// much as a message.
pub(crate) struct Keys {
    pub(crate) flow: hmac::Key,
    pub(crate) code: hmac::Key,
    pub(crate) address: hmac::Key,
    pub(crate) device: hmac::Key,
}

impl Keys {
    fn of(pepper: &Secret) -> Self {
        let key = |label: &[u8]| {
            let mut derived = keyed_digest(pepper, &[label]);
            let key = hmac::Key::new(hmac::HMAC_SHA256, &derived);
            derived.zeroize();
            key
        };
        Self {
            flow: key(b"otp-auth/flow/v2"),
            code: key(b"otp-auth/v1"),
            address: key(b"otp-auth/address/v2"),
            device: key(b"otp-auth/device/v1"),
        }
    }
}

/// HMAC-SHA256 over the parts, each preceded by its length in two bytes, so that no two lists of parts
/// give one input. For parts of at most 320 bytes together; the work does not depend on their content.
pub(crate) fn mac(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut message = [0; MESSAGE_BYTES];
    let mut length = 0;
    let mut push = |bytes: &[u8]| {
        message[length..length + bytes.len()].copy_from_slice(bytes);
        length += bytes.len();
    };
    for part in parts {
        // INVARIANT: the longest list is that of a code, with an address of 254 bytes and a purpose of 32.
        push(&u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
        push(part);
    }
    let tag = hmac::sign(key, &message[..length]);
    message[..length].zeroize();
    let mut digest = [0; 32];
    digest.copy_from_slice(tag.as_ref());
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

/// Purpose 32, flow 32, address 254, generation 4, mark 1, code 12, and six lengths.
const MESSAGE_BYTES: usize = 32 + 32 + 254 + 4 + 1 + 12 + 6 * 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_peppers_are_refused() {
        assert!(Pepper::new(Secret::new(vec![1; 31])).unwrap_err().is_caller_fault());
    }

    #[test]
    fn parts_of_a_message_do_not_run_together() {
        let keys = Pepper::new(Secret::new(vec![7; 32])).unwrap().keys();
        let mac = |parts: &[&[u8]]| mac(&keys.current().code, parts);
        assert_ne!(mac(&[b"ab", b"c"]), mac(&[b"a", b"bc"]));
        assert_ne!(mac(&[b"ab"]), mac(&[b"ab", b""]));
    }

    #[test]
    fn the_longest_message_fits() {
        let keys = Pepper::new(Secret::new(vec![7; 32])).unwrap().keys();
        let longest = [32, 32, 254, 4, 1, 12].map(|length| vec![b'x'; length]);
        let parts: Vec<&[u8]> = longest.iter().map(Vec::as_slice).collect();
        assert_ne!(mac(&keys.current().code, &parts), [0; 32]);
    }

    #[test]
    fn each_kind_of_value_has_a_key_of_its_own() {
        let keys = Pepper::new(Secret::new(vec![7; 32])).unwrap().keys();
        let keys = keys.current();
        let tags = [&keys.flow, &keys.code, &keys.address, &keys.device].map(|k| mac(k, &[b"x"]));
        for (index, tag) in tags.iter().enumerate() {
            assert!(!tags[index + 1..].contains(tag));
        }
    }
}
