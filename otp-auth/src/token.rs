//! Signed tokens: the compact form, its claims, and why one is refused.

mod claims;
mod json;
mod jws;

use std::fmt;

use ring::digest;
use thiserror::Error as ThisError;
use zeroize::Zeroizing;

pub(crate) use self::claims::{AppWire, MatchWire, MetaWire, OrgWire, Principal};
pub use self::claims::{Audience, Identity, IdentityProvider};
pub(crate) use self::jws::{CompactJws, TokenType, encode, signing_input};
use crate::error::Error;
use crate::timestamp::Timestamp;

/// A token as it goes into a cookie or field. Whoever has it is signed in, so `Debug` does not show it.
#[derive(Clone)]
pub struct SignedToken {
    compact: Zeroizing<String>,
    expires: Timestamp,
}

impl SignedToken {
    /// The compact form (RFC 7515 section 7.1): three parts of base64url, joined by dots.
    pub fn expose(&self) -> &str {
        &self.compact
    }

    /// The first moment at which it is refused.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Refuses what [`CompactJws`] would not read back.
    pub(crate) fn new(compact: String, expires: Timestamp) -> Result<Self, Error> {
        if compact.len() > jws::TOKEN_BYTES {
            return Err(Error::setting("claims", "their token is longer than verifiers read"));
        }
        Ok(Self { compact: Zeroizing::new(compact), expires })
    }
}

impl fmt::Debug for SignedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedToken").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// The signature algorithm of a key. The key decides it, never the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256 (RFC 7518 section 3.4).
    Es256,
    /// Ed25519 (RFC 8037 section 3.1).
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 section 3.3): what Access signs with.
    Rs256,
}

impl Algorithm {
    /// The name in headers and key sets.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }
}

/// Why a token is refused. Always a refusal: no variant means "accept with care".
#[derive(Debug, Clone, Copy, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum TokenError {
    /// Over 8 KiB.
    #[error("token is over 8 KiB")]
    TooLarge,
    /// Not three parts of canonical base64url, or a part is not a JSON object with unique names.
    #[error("token is malformed")]
    Malformed,
    /// The header asks for something that is not understood (`crit`) or is of another type (`typ`).
    #[error("token header is not supported")]
    UnsupportedHeader,
    /// No key of that `kid`. The only refusal after which a key set may be fetched anew.
    #[error("token names an unknown key")]
    UnknownKey,
    /// The header's `alg` is not the one of the key: `none`, HMAC and all other confusions end here.
    #[error("token names another algorithm than its key has")]
    WrongAlgorithm,
    /// The signature does not verify.
    #[error("token signature is wrong")]
    BadSignature,
    /// A required claim is missing, or a claim is not of its type.
    #[error("token claims are malformed")]
    BadClaims,
    /// A token of another type, for instance an org token at an application.
    #[error("token is of another type")]
    WrongType,
    /// From another issuer.
    #[error("token is from another issuer")]
    WrongIssuer,
    /// For another audience.
    #[error("token is for another audience")]
    WrongAudience,
    /// Its time is over.
    #[error("token has expired")]
    Expired,
    /// Its time has not come (`nbf` or `iat` in the future).
    #[error("token is not valid yet")]
    NotYetValid,
    /// Logged out.
    #[error("token was revoked")]
    Revoked,
    /// Whether it was revoked can't be known at the moment, see [`Outage`](crate::session::Outage).
    #[error("revocations are not known at the moment")]
    RevocationsUnknown,
}

/// SHA-256 as 64 hexadecimal digits, the shape of names in Access.
pub(crate) fn sha256_hex(input: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digest = digest::digest(&digest::SHA256, input);
    let halves = digest.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
    halves.map(|half| DIGITS[usize::from(half)]).collect()
}
