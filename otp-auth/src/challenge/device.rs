//! What a browser keeps after a sign-in, so that strangers' failures do not lock it out.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{CLOCK_TOLERANCE, MalformedFlow, decode};
use crate::address::EmailAddress;
use crate::error::Error;
use crate::random::Random;
use crate::secret::{Keys, PepperKeys, mac};
use crate::timestamp::Timestamp;

/// The mark of a browser in which an address has signed in before: 54 characters of base64url.
///
/// Set it as a cookie for [`LIFETIME`](Self::LIFETIME) with `Secure`, `HttpOnly`, `SameSite=Strict`,
/// `Path=/` and a `__Host-` name, and hand it to [`Begin::device`](crate::login::Begin::device). It is
/// bound to its address, and is no factor: it proves nobody. It only puts the browser's tries on an
/// account that all known devices of the address share and strangers' tries do not touch. Where nothing is left
/// on that account the browser is a stranger, so that a device in wrong hands takes no more than the account away.
#[derive(Clone)]
pub struct DeviceCookie {
    bytes: Zeroizing<[u8; COOKIE_BYTES]>,
    expires: Timestamp,
}

impl DeviceCookie {
    /// For how long a browser is known: 30 days.
    pub const LIFETIME: Duration = Duration::from_secs(30 * 86_400);

    /// The cookie's value.
    pub fn expose(&self) -> String {
        URL_SAFE_NO_PAD.encode(*self.bytes)
    }

    /// The first moment at which the browser is a stranger again.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    pub(crate) fn draw(
        random: &dyn Random,
        keys: &Keys,
        address: &EmailAddress,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let expires = now.plus(Self::LIFETIME);
        let mut bytes = Zeroizing::new([0; COOKIE_BYTES]);
        random.fill(&mut bytes[..ID_BYTES])?;
        bytes[ID_BYTES..OPEN_BYTES].copy_from_slice(&expires.as_unix_millis().to_be_bytes());
        let seal = seal(keys, &bytes[..OPEN_BYTES], address);
        bytes[OPEN_BYTES..].copy_from_slice(&seal[..16]);
        Ok(Self { bytes, expires })
    }

    /// Whether the browser that sent `text` is known for this address.
    pub(crate) fn is_known(
        text: &str,
        keys: &PepperKeys,
        address: &EmailAddress,
        now: Timestamp,
    ) -> bool {
        let Ok(bytes) = decode::<COOKIE_BYTES>(text).map(Zeroizing::new) else { return false };
        let (open, stored) = bytes.split_at(OPEN_BYTES);
        let mut seals = keys.all().map(|keys| seal(keys, open, address));
        if !seals.any(|seal| bool::from(seal[..16].ct_eq(stored))) {
            return false;
        }
        let expires = open[ID_BYTES..].iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
        let expires = Timestamp::from_unix_millis(expires);
        // Set for the future by a clock that was wrong: a stranger again, rather than for ever known.
        now < expires && expires.since(now) <= Self::LIFETIME + CLOCK_TOLERANCE
    }
}

impl std::str::FromStr for DeviceCookie {
    type Err = MalformedFlow;

    fn from_str(text: &str) -> Result<Self, MalformedFlow> {
        let bytes: [u8; COOKIE_BYTES] = decode(text)?;
        let expires = bytes[ID_BYTES..OPEN_BYTES].iter();
        let expires = expires.fold(0, |value, byte| value << 8 | u64::from(*byte));
        Ok(Self { bytes: Zeroizing::new(bytes), expires: Timestamp::from_unix_millis(expires) })
    }
}

impl fmt::Debug for DeviceCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceCookie(..)")
    }
}

fn seal(keys: &Keys, open: &[u8], address: &EmailAddress) -> [u8; 32] {
    mac(&keys.device, &[open, address.key().as_bytes()])
}

const ID_BYTES: usize = 16;

const OPEN_BYTES: usize = ID_BYTES + 8;

const COOKIE_BYTES: usize = OPEN_BYTES + 16;
