//! Codes from a counter (RFC 4226), and challenge-response (RFC 6287), on a key that is prepared once.

mod ocra;
mod prepared;

use std::fmt;

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

pub use self::ocra::Ocra;
use self::prepared::PreparedSha1;
use crate::code::CodeLength;
use crate::error::Error;
use crate::secret::Secret;

/// The hash inside the HMAC.
///
/// Many authenticator apps ignore what the key URI says and take SHA-1, which is safe inside an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OtpHash {
    /// SHA-1: the default, and the only one that all apps know.
    #[default]
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl OtpHash {
    /// The name in key URIs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }
}

/// A shared secret, ready to compute codes.
///
/// ```
/// use otp_auth::{code::CodeLength, hotp::{HotpKey, OtpHash}, secret::Secret};
///
/// let key = HotpKey::new(&Secret::new(b"12345678901234567890".to_vec()), OtpHash::Sha1)?;
/// assert_eq!(key.value(0, CodeLength::Six), 755_224); // RFC 4226 appendix D
/// # Ok::<(), otp_auth::error::Error>(())
/// ```
#[derive(Clone)]
pub struct HotpKey {
    prepared: Prepared,
}

/// An HMAC with its key already hashed in, which saves half the work of each code.
#[derive(Clone)]
enum Prepared {
    Sha1 { counters: PreparedSha1, mac: Box<Hmac<Sha1>> },
    Sha256(Box<Hmac<Sha256>>),
    Sha512(Box<Hmac<Sha512>>),
}

impl HotpKey {
    /// Takes a secret of 16 to 128 bytes; 20 are advised for SHA-1 (RFC 4226 section 4, R6).
    ///
    /// # Errors
    ///
    /// Refuses others, as the caller's fault.
    pub fn new(secret: &Secret, hash: OtpHash) -> Result<Self, Error> {
        let bytes = secret.expose();
        if !(16..=128).contains(&bytes.len()) {
            return Err(Error::setting("one-time code secret", "it must have 16 to 128 bytes"));
        }
        let refused =
            || Error::setting("one-time code secret", "its length does not suit the hash");
        let prepared = match hash {
            OtpHash::Sha1 => Prepared::Sha1 {
                counters: PreparedSha1::new(bytes),
                mac: Box::new(KeyInit::new_from_slice(bytes).map_err(|_| refused())?),
            },
            OtpHash::Sha256 => {
                Prepared::Sha256(Box::new(KeyInit::new_from_slice(bytes).map_err(|_| refused())?))
            }
            OtpHash::Sha512 => {
                Prepared::Sha512(Box::new(KeyInit::new_from_slice(bytes).map_err(|_| refused())?))
            }
        };
        Ok(Self { prepared })
    }

    /// The code for a counter, as a number: print it with leading zeros. Twelve digits hold no more than 31
    /// bits either.
    pub fn value(&self, counter: u64, length: CodeLength) -> u32 {
        let truncated = match &self.prepared {
            Prepared::Sha1 { counters, .. } => truncate(&counters.of_counter(counter)),
            _ => self.truncated(&counter.to_be_bytes()),
        };
        truncated % modulus(length)
    }

    /// RFC 4226 section 5.3: 31 bits of the HMAC, from where its last four bits say.
    fn truncated(&self, message: &[u8]) -> u32 {
        match &self.prepared {
            Prepared::Sha1 { mac, .. } => truncate(&finish((**mac).clone(), message)),
            Prepared::Sha256(mac) => truncate(&finish((**mac).clone(), message)),
            Prepared::Sha512(mac) => truncate(&finish((**mac).clone(), message)),
        }
    }
}

impl fmt::Debug for HotpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HotpKey(..)")
    }
}

fn finish<M: Mac>(mut mac: M, message: &[u8]) -> hmac::digest::Output<M> {
    mac.update(message);
    mac.finalize().into_bytes()
}

fn truncate(digest: &[u8]) -> u32 {
    let offset = digest.last().map_or(0, |last| usize::from(last & 15));
    let window = digest[offset..].first_chunk().copied().unwrap_or_default();
    u32::from_be_bytes(window) & 0x7fff_ffff
}

pub(crate) const fn modulus(length: CodeLength) -> u32 {
    match length {
        CodeLength::Six => 1_000_000,
        CodeLength::Eight => 100_000_000,
        CodeLength::Nine => 1_000_000_000,
        // More than there are: 31 bits have ten digits.
        CodeLength::Twelve => u32::MAX,
    }
}
