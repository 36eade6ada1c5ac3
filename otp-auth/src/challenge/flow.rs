//! What ties a flow to the browser that began it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{ChallengeId, MalformedFlow, decode};
use crate::address::EmailAddress;
use crate::code::CodeLength;
use crate::secret::{Keys, PepperKeys, mac};

/// The secret that ties a flow to the browser that began it: 76 characters of base64url.
///
/// Set it as a cookie with `Secure`, `HttpOnly`, `SameSite=Lax`, `Path=/` and a `__Host-` name. It holds
/// 24 random bytes; a keyed hash under which failed tries are counted before the challenge is touched;
/// how long the code is; and a seal, so that nobody reaches the store with a cookie of their own making.
#[derive(Clone)]
pub struct FlowCookie {
    bytes: Zeroizing<[u8; COOKIE_BYTES]>,
}

impl FlowCookie {
    /// The cookie's value.
    pub fn expose(&self) -> String {
        URL_SAFE_NO_PAD.encode(*self.bytes)
    }

    /// Makes the cookie of a new flow, and opens it.
    pub(crate) fn seal<'a>(
        keys: &'a Keys,
        purpose: &'static str,
        random: &[u8; FLOW_RANDOM_BYTES],
        lane: Lane,
        length: CodeLength,
    ) -> (Self, OpenFlow<'a>) {
        let mut bytes = Zeroizing::new([0; COOKIE_BYTES]);
        bytes[..FLOW_RANDOM_BYTES].copy_from_slice(random);
        bytes[FLOW_RANDOM_BYTES..OPEN_BYTES - 1].copy_from_slice(&lane.tag);
        bytes[OPEN_BYTES - 1] = flags(lane, length);
        let hash = mac(&keys.flow, &[purpose.as_bytes(), &bytes[..OPEN_BYTES]]);
        bytes[OPEN_BYTES..].copy_from_slice(&hash[16..]);
        (Self { bytes }, OpenFlow { keys, purpose, hash, lane, length })
    }

    /// Opens what a browser sent, if it was sealed here for this purpose and for the challenge `nonce`.
    pub(crate) fn open<'a>(
        text: &str,
        nonce: ChallengeId,
        keys: &'a PepperKeys,
        purpose: &'static str,
    ) -> Option<OpenFlow<'a>> {
        let bytes: Zeroizing<[u8; COOKIE_BYTES]> = Zeroizing::new(decode(text).ok()?);
        let (open, seal) = bytes.split_at(OPEN_BYTES);
        let (keys, hash) = keys.all().find_map(|keys| {
            let hash = mac(&keys.flow, &[purpose.as_bytes(), open]);
            let is_ours = hash[16..].ct_eq(seal) & hash[..16].ct_eq(nonce.as_bytes());
            bool::from(is_ours).then_some((keys, hash))
        })?;
        let mut tag = [0; 16];
        tag.copy_from_slice(&open[FLOW_RANDOM_BYTES..OPEN_BYTES - 1]);
        let flags = open[OPEN_BYTES - 1];
        let lane = Lane { tag, is_known_device: flags & KNOWN_DEVICE != 0 };
        let length = match flags & !KNOWN_DEVICE {
            0 => CodeLength::Six,
            1 => CodeLength::Eight,
            2 => CodeLength::Nine,
            _ => CodeLength::Twelve,
        };
        Some(OpenFlow { keys, purpose, hash, lane, length })
    }
}

impl std::str::FromStr for FlowCookie {
    type Err = MalformedFlow;

    fn from_str(text: &str) -> Result<Self, MalformedFlow> {
        decode(text).map(|bytes| Self { bytes: Zeroizing::new(bytes) })
    }
}

impl PartialEq for FlowCookie {
    fn eq(&self, other: &Self) -> bool {
        self.bytes.ct_eq(&*other.bytes).into()
    }
}

impl Eq for FlowCookie {}

impl fmt::Debug for FlowCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FlowCookie(..)")
    }
}

/// A flow whose cookie was found to be ours.
pub(crate) struct OpenFlow<'a> {
    /// The keys that the cookie was sealed with, and the code's digest is made with.
    pub(crate) keys: &'a Keys,
    pub(crate) purpose: &'static str,
    /// The keyed hash of the flow's secret: the public id and the seal.
    pub(crate) hash: [u8; 32],
    pub(crate) lane: Lane,
    pub(crate) length: CodeLength,
}

impl OpenFlow<'_> {
    /// The one challenge that the cookie opens.
    pub(crate) fn challenge(&self) -> ChallengeId {
        let mut id = [0; 16];
        id.copy_from_slice(&self.hash[..16]);
        ChallengeId(id)
    }
}

/// Whose failures are counted together: those of strangers at an address, or those of its known devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) tag: [u8; 16],
    pub(crate) is_known_device: bool,
}

/// The keyed hash under which an address is counted.
pub(crate) fn address_tag(keys: &Keys, address: &EmailAddress) -> [u8; 16] {
    let digest = mac(&keys.address, &[address.key().as_bytes()]);
    let mut tag = [0; 16];
    tag.copy_from_slice(&digest[..16]);
    tag
}

fn flags(lane: Lane, length: CodeLength) -> u8 {
    let length = match length {
        CodeLength::Six => 0,
        CodeLength::Eight => 1,
        CodeLength::Nine => 2,
        CodeLength::Twelve => 3,
    };
    if lane.is_known_device { length | KNOWN_DEVICE } else { length }
}

/// 192 bits: nobody guesses a flow. With the rest, purpose included, it fits one block of SHA-256.
pub(crate) const FLOW_RANDOM_BYTES: usize = 24;

const OPEN_BYTES: usize = FLOW_RANDOM_BYTES + 16 + 1;

const COOKIE_BYTES: usize = OPEN_BYTES + 16;

const KNOWN_DEVICE: u8 = 0x80;
