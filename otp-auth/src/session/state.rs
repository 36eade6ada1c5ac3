//! Values that travel through the browser and come back unchanged.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use crate::error::Error;
use crate::secret::{Secret, keyed_digest};
use crate::timestamp::Timestamp;

/// Signs short texts that a browser carries between the application host and the team host: the `state`
/// of a login, with where to return to.
///
/// Each value is bound to a purpose and ends at its time. The content is readable by the visitor, and a
/// value can be presented more than once: what must happen once needs a store.
///
/// ```
/// use std::time::Duration;
/// use otp_auth::random::SystemRandom;
/// use otp_auth::secret::Secret;
/// use otp_auth::session::{StateError, StateSigner};
/// use otp_auth::timestamp::Timestamp;
///
/// let signer = StateSigner::new(Secret::generate(&SystemRandom::new(), 32)?)?;
/// let now = Timestamp::from_unix_secs(1_790_000_000);
/// let state = signer.sign("login app-1", "/reports", now.plus(Duration::from_secs(600)))?;
/// assert_eq!(signer.open("login app-1", &state, now).as_deref(), Ok("/reports"));
/// assert_eq!(signer.open("login app-2", &state, now), Err(StateError::Forged));
/// # Ok::<(), otp_auth::error::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct StateSigner {
    key: Secret,
}

impl StateSigner {
    /// Takes at least 32 bytes, the same on every node.
    ///
    /// # Errors
    ///
    /// Refuses a shorter key as the caller's fault.
    pub fn new(key: Secret) -> Result<Self, Error> {
        if key.expose().len() < 32 {
            return Err(Error::setting("state key", "it must have at least 32 bytes"));
        }
        Ok(Self { key })
    }

    /// Signs `content` for `purpose` until `expires`. The result needs no escaping in a URL.
    ///
    /// # Errors
    ///
    /// Refuses, as the caller's fault, more than 3,031 bytes of content: [`open`](Self::open) reads states of
    /// up to 4 KiB, and URLs and cookies of that length get lost on the way.
    pub fn sign(&self, purpose: &str, content: &str, expires: Timestamp) -> Result<String, Error> {
        if content.len() > CONTENT_BYTES {
            return Err(Error::setting("state", "it has more than 3,031 bytes"));
        }
        let body = [&expires.as_unix_millis().to_be_bytes()[..], content.as_bytes()].concat();
        let mac = keyed_digest(&self.mac_key(purpose), &[&body]);
        Ok(format!("{}.{}", URL_SAFE_NO_PAD.encode(body), URL_SAFE_NO_PAD.encode(mac)))
    }

    /// Returns what was signed for the same purpose.
    ///
    /// # Errors
    ///
    /// Refuses what was not signed with this key and purpose, and what is too old.
    pub fn open(&self, purpose: &str, state: &str, now: Timestamp) -> Result<String, StateError> {
        if state.len() > STATE_BYTES {
            return Err(StateError::Forged);
        }
        let (body, mac) = state.split_once('.').ok_or(StateError::Forged)?;
        let body = URL_SAFE_NO_PAD.decode(body).map_err(|_| StateError::Forged)?;
        let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| StateError::Forged)?;
        let expected = keyed_digest(&self.mac_key(purpose), &[&body]);
        if !bool::from(subtle::ConstantTimeEq::ct_eq(&expected[..], &mac[..])) {
            return Err(StateError::Forged);
        }
        let (expires, content) = body.split_first_chunk::<8>().ok_or(StateError::Forged)?;
        if now >= Timestamp::from_unix_millis(u64::from_be_bytes(*expires)) {
            return Err(StateError::Expired);
        }
        String::from_utf8(content.to_vec()).map_err(|_| StateError::Forged)
    }

    fn mac_key(&self, purpose: &str) -> Secret {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.expose());
        let mut context = hmac::Context::with_key(&key);
        context.update(b"otp-auth/state/v1\0");
        context.update(purpose.as_bytes());
        Secret::new(context.sign().as_ref().to_vec())
    }
}

/// Why a state is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Not signed with this key for this purpose.
    #[error("state was not signed here for this purpose")]
    Forged,
    /// Its time is over.
    #[error("state has expired")]
    Expired,
}

/// A return path of 2 KiB, with its clothes on.
const STATE_BYTES: usize = 4_096;

/// What fits beside the dot and 43 characters of signature, in base64, less eight bytes of time.
const CONTENT_BYTES: usize = (STATE_BYTES - 44) / 4 * 3 - 8;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_signed_can_be_read_back_and_what_can_not_is_refused() {
        let signer = StateSigner::new(Secret::new(vec![1; 32])).unwrap();
        let now = Timestamp::from_unix_secs(1_790_000_000);
        let end = now.plus(Duration::from_secs(60));
        let longest = "x".repeat(CONTENT_BYTES);
        let state = signer.sign("p", &longest, end).unwrap();
        assert!(state.len() <= STATE_BYTES);
        assert_eq!(signer.open("p", &state, now), Ok(longest.clone()));
        let error = signer.sign("p", &format!("{longest}x"), end).unwrap_err();
        assert!(error.is_caller_fault());
        assert!(
            error.to_string().contains(&format!("more than 3,{:03} bytes", CONTENT_BYTES % 1_000))
        );
    }

    #[test]
    fn changed_and_old_values_are_refused() {
        let signer = StateSigner::new(Secret::new(vec![1; 32])).unwrap();
        let now = Timestamp::from_unix_secs(1_790_000_000);
        let end = now.plus(Duration::from_secs(60));
        let state = signer.sign("p", "x", end).unwrap();
        assert_eq!(signer.open("p", &state, end), Err(StateError::Expired));
        for index in 0..state.len() {
            let mut bytes = state.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(signer.open("p", &changed, now), Err(StateError::Forged), "{index}");
        }
        for text in ["", ".", "A.A", &"A".repeat(5_000)] {
            assert_eq!(signer.open("p", text, now), Err(StateError::Forged));
        }
        let other = StateSigner::new(Secret::new(vec![2; 32])).unwrap();
        assert_eq!(other.open("p", &state, now), Err(StateError::Forged));
        assert!(StateSigner::new(Secret::new(vec![2; 31])).is_err());
    }
}
