//! Checking a token: pure, over keys and a time that are passed in.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;

use super::settings::Issuer;
use crate::limits;

/// An issuer's keys.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: String,
    public: PublicKey,
}

#[derive(Debug)]
enum PublicKey {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// An uncompressed point on P-256.
    P256([u8; 65]),
}

/// Why a token counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenError {
    #[error("the token is not a signed JWT")]
    Malformed,
    #[error("the token is signed with an algorithm that does not count here")]
    Algorithm,
    #[error("the token is signed with an unknown key")]
    UnknownKey,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token is another issuer's")]
    Issuer,
    #[error("the token has expired")]
    Expired,
    #[error("the token is from the future")]
    NotYet,
}

/// What a valid token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) audiences: Vec<String>,
}

impl Keys {
    /// Reads a JWK set (RFC 7517). Keys that are not for these signatures are left out.
    ///
    /// # Errors
    ///
    /// A document that is no key set, or holds too many keys.
    pub(super) fn parse(document: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<serde_json::Value>,
        }
        #[derive(Deserialize)]
        #[serde(tag = "kty")]
        enum Jwk {
            #[serde(rename = "RSA")]
            Rsa { kid: String, n: String, e: String },
            #[serde(rename = "EC")]
            Ec { kid: String, crv: String, x: String, y: String },
        }
        let Document { keys } = serde_json::from_slice(document).map_err(|_| "no key set")?;
        if keys.len() > limits::ACCESS_KEYS {
            return Err(format!("more than {} keys (ACCESS_KEYS)", limits::ACCESS_KEYS));
        }
        let keys = keys.into_iter().filter_map(|key| match serde_json::from_value(key).ok()? {
            Jwk::Rsa { kid, n, e } => {
                let public =
                    PublicKey::Rsa { modulus: unpad(&decode(&n)?), exponent: unpad(&decode(&e)?) };
                Some(Key { id: kid, public })
            }
            Jwk::Ec { kid, crv, x, y } if crv == "P-256" => {
                let mut point = [4; 65];
                point[1..33].copy_from_slice(decode(&x).filter(|x| x.len() == 32)?.as_slice());
                point[33..].copy_from_slice(decode(&y).filter(|y| y.len() == 32)?.as_slice());
                Some(Key { id: kid, public: PublicKey::P256(point) })
            }
            Jwk::Ec { .. } => None,
        });
        Ok(Self(keys.collect()))
    }

    /// Checks a token and tells its audiences. `now` is in seconds since 1970.
    ///
    /// # Errors
    ///
    /// Whatever makes it count for nothing.
    pub(super) fn verify(
        &self,
        token: &str,
        issuer: &Issuer,
        now: u64,
    ) -> Result<Claims, TokenError> {
        #[derive(Deserialize)]
        struct Head {
            alg: String,
            kid: Option<String>,
            crit: Option<serde_json::Value>,
        }
        #[derive(Deserialize)]
        struct Body {
            iss: String,
            exp: f64,
            nbf: Option<f64>,
            aud: Option<Audiences>,
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Audiences {
            One(String),
            Many(Vec<String>),
        }
        let malformed = || TokenError::Malformed;
        let mut parts = token.split('.');
        let (Some(head), Some(body), Some(sealed), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Malformed);
        };
        let signed = &token[..head.len() + 1 + body.len()];
        let head: Head = parse(head).ok_or_else(malformed)?;
        let sealed = decode(sealed).ok_or_else(malformed)?;
        // RFC 7515 section 4.1.11: an extension that must be understood and is not.
        if head.crit.is_some() {
            return Err(TokenError::Malformed);
        }
        let key = self.key(&head.alg, head.kid.as_deref().unwrap_or_default(), issuer)?;
        key.check(signed.as_bytes(), &sealed)?;
        let body: Body = parse(body).ok_or_else(malformed)?;
        if body.iss != issuer.name {
            return Err(TokenError::Issuer);
        }
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit for millennia")]
        let now = now as f64;
        // JSON has no NaN, so every number compares.
        if body.exp <= now {
            return Err(TokenError::Expired);
        }
        if body.nbf.is_some_and(|start| start > now + NOT_BEFORE_LEEWAY_SECS) {
            return Err(TokenError::NotYet);
        }
        let audiences = match body.aud {
            None => Vec::new(),
            Some(Audiences::One(audience)) => vec![audience],
            Some(Audiences::Many(audiences)) => audiences,
        };
        Ok(Claims { audiences })
    }

    fn key(&self, algorithm: &str, id: &str, issuer: &Issuer) -> Result<&PublicKey, TokenError> {
        let is_ec = match algorithm {
            "RS256" => false,
            "ES256" if issuer.is_custom => true,
            _ => return Err(TokenError::Algorithm),
        };
        // The key decides the algorithm; a token that says otherwise finds none.
        let fits = |key: &&Key| key.id == id && matches!(key.public, PublicKey::P256(_)) == is_ec;
        self.0.iter().find(fits).map(|key| &key.public).ok_or(TokenError::UnknownKey)
    }
}

impl PublicKey {
    fn check(&self, signed: &[u8], sealed: &[u8]) -> Result<(), TokenError> {
        let checked = match self {
            Self::Rsa { modulus, exponent } => RsaPublicKeyComponents { n: modulus, e: exponent }
                .verify(&signature::RSA_PKCS1_2048_8192_SHA256, signed, sealed),
            Self::P256(point) => UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                .verify(signed, sealed),
        };
        checked.map_err(|_| TokenError::Signature)
    }
}

/// Clocks differ; cloudflared allows five minutes here and none at the end.
const NOT_BEFORE_LEEWAY_SECS: f64 = 300.0;

fn parse<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    serde_json::from_slice(&decode(part)?).ok()
}

fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

/// `ring` takes numbers without leading zeros.
fn unpad(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number[zeros..].to_vec()
}
