//! The account's key, and what is signed with it (RFC 8555 section 6.2, RFC 7515).

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::{SignatureScheme, crypto::CryptoProvider, sign::SigningKey};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    digest::{hmac_sha256, sha256},
    error::{Error, Kind},
    key::{PrivateKey, SecretPem},
};

/// The key that stands for an account at a certificate authority: P-256, never a certificate's key.
///
/// Keep it: whoever has it can revoke what the account issued.
#[derive(Clone)]
pub struct AccountKey {
    key: Arc<PrivateKey>,
    signing: Arc<dyn SigningKey>,
    /// Both coordinates.
    point: [u8; 64],
}

impl AccountKey {
    /// Makes a new key.
    ///
    /// # Errors
    ///
    /// If the system has no randomness to give.
    #[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
    pub fn generate() -> Result<Self, Error> {
        Self::new(PrivateKey::generate()?, &crate::key::default_provider())
    }

    /// Takes a P-256 key.
    ///
    /// # Errors
    ///
    /// [`Error::is_malformed`] if it is of another kind.
    pub fn new(key: PrivateKey, provider: &CryptoProvider) -> Result<Self, Error> {
        let signing = key.signing_key(provider)?;
        let spki = signing.public_key();
        let point = spki
            .as_deref()
            .and_then(|spki| spki.strip_prefix(P256_PREFIX))
            .and_then(|point| point.try_into().ok())
            .ok_or(Kind::AccountKey)?;
        Ok(Self { key: Arc::new(key), signing, point })
    }

    /// Writes the key as one PEM block.
    pub fn to_pem(&self) -> SecretPem {
        self.key.to_pem()
    }

    /// The SHA-256 of the public key in the form of RFC 7638, in base64url.
    pub fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(sha256(&[self.jwk().as_bytes()]))
    }

    /// The public key, its members in the order that RFC 7638 asks for.
    pub(crate) fn jwk(&self) -> String {
        let (x, y) = self.point.split_at(32);
        let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
        format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)
    }

    /// Signs a request. `identity` is the account's URL, or nothing to send the public key.
    pub(crate) fn sign(
        &self,
        identity: Option<&str>,
        nonce: Option<&str>,
        url: &str,
        payload: &str,
    ) -> Result<String, Error> {
        let mut header = json!({ "alg": "ES256", "url": url });
        if let Some(nonce) = nonce {
            header["nonce"] = nonce.into();
        }
        let header = match identity {
            Some(account) => {
                header["kid"] = account.into();
                header.to_string()
            }
            // The key stays byte for byte as its thumbprint has it.
            None => {
                format!(r#"{},"jwk":{}}}"#, header.to_string().trim_end_matches('}'), self.jwk())
            }
        };
        let input = signing_input(&header, payload);
        let signature = self.signature(input.as_bytes())?;
        Ok(flattened(&input, &signature))
    }

    fn signature(&self, message: &[u8]) -> Result<[u8; 64], Error> {
        let signer = self
            .signing
            .choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256])
            .ok_or(Kind::AccountKey)?;
        let der = signer.sign(message).map_err(Kind::UnusableKey)?;
        fixed_signature(&der).ok_or_else(|| Kind::AccountKey.into())
    }
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AccountKey").field(&self.thumbprint()).finish()
    }
}

/// What a certificate authority gives to customers, so that they can open an account (RFC 8555 section 7.3.4).
#[derive(Clone)]
pub struct ExternalAccount {
    key_id: String,
    mac_key: Zeroizing<Vec<u8>>,
}

impl ExternalAccount {
    /// Takes the key identifier and the MAC key, in base64url as authorities show it.
    ///
    /// # Errors
    ///
    /// If the key is not base64url, or is empty.
    pub fn new(key_id: impl Into<String>, mac_key: &str) -> Result<Self, Error> {
        let text = mac_key.trim().trim_end_matches('=');
        let mac_key = URL_SAFE_NO_PAD.decode(text).map_err(|_| Kind::ExternalAccount)?;
        if mac_key.is_empty() {
            return Err(Kind::ExternalAccount.into());
        }
        Ok(Self { key_id: key_id.into(), mac_key: Zeroizing::new(mac_key) })
    }

    /// Binds an account key to the customer.
    pub(crate) fn bind(&self, key: &AccountKey, url: &str) -> String {
        let header = json!({ "alg": "HS256", "kid": self.key_id, "url": url }).to_string();
        let input = signing_input(&header, &key.jwk());
        flattened(&input, &hmac_sha256(&self.mac_key, input.as_bytes()))
    }
}

impl fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalAccount").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

fn signing_input(header: &str, payload: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
}

/// The flattened JSON form (RFC 7515 section 7.2.2).
fn flattened(input: &str, signature: &[u8]) -> String {
    let (header, payload) = input.split_once('.').unwrap_or_default();
    let signature = URL_SAFE_NO_PAD.encode(signature);
    json!({ "protected": header, "payload": payload, "signature": signature }).to_string()
}

/// Turns the DER of `SEQUENCE { r INTEGER, s INTEGER }` into r and s, 32 bytes each (RFC 7518 section 3.4).
fn fixed_signature(der: &[u8]) -> Option<[u8; 64]> {
    let [0x30, len, rest @ ..] = der else { return None };
    if usize::from(*len) != rest.len() {
        return None;
    }
    let (r, rest) = integer(rest)?;
    let (s, rest) = integer(rest)?;
    let mut fixed = [0; 64];
    let (left, right) = fixed.split_at_mut(32);
    left.get_mut(32_usize.checked_sub(r.len())?..)?.copy_from_slice(r);
    right.get_mut(32_usize.checked_sub(s.len())?..)?.copy_from_slice(s);
    rest.is_empty().then_some(fixed)
}

/// The bytes of a positive integer, without the zero that keeps it positive.
fn integer(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let [0x02, len, rest @ ..] = der else { return None };
    let (value, rest) = rest.split_at_checked(usize::from(*len))?;
    Some((value.strip_prefix(&[0]).unwrap_or(value), rest))
}

/// What stands before the two coordinates in the `SubjectPublicKeyInfo` of each P-256 key (RFC 5480).
const P256_PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_come_in_two_numbers_of_32_bytes() {
        let mut der = vec![0x30, 0x45, 0x02, 0x21, 0x00];
        der.extend([0xff; 32]);
        der.extend([0x02, 0x20]);
        der.extend([0x11; 32]);
        let fixed = fixed_signature(&der).unwrap();
        assert_eq!((fixed[0], fixed[31], fixed[32], fixed[63]), (0xff, 0xff, 0x11, 0x11));
        // A short number is filled up at its front.
        let fixed = fixed_signature(&[0x30, 6, 2, 1, 7, 2, 1, 9]).unwrap();
        assert_eq!((fixed[30], fixed[31], fixed[62], fixed[63]), (0, 7, 0, 9));
        for broken in [&[0x30, 5, 2, 1, 7, 2, 1, 9][..], &[], &[0x30, 0], &[0x30, 3, 2, 9, 1]] {
            assert_eq!(fixed_signature(broken), None, "{broken:?}");
        }
    }
}
