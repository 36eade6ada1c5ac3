//! Public keys.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};

use crate::token::{Algorithm, TokenError, sha256_hex};

/// A public key that verifies tokens, with the one algorithm it is for. Cheap to clone.
#[derive(Clone)]
pub struct VerifyingKey {
    inner: Arc<Inner>,
}

#[derive(PartialEq, Eq)]
struct Inner {
    kid: String,
    material: Material,
}

#[derive(PartialEq, Eq)]
pub(super) enum Material {
    /// SEC 1 section 2.3.3: 0x04, x, y.
    P256([u8; 65]),
    /// RFC 8032 section 5.1.5.
    Ed25519([u8; 32]),
    /// Big-endian, without leading zeros.
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
}

impl VerifyingKey {
    /// The key's name.
    pub fn kid(&self) -> &str {
        &self.inner.kid
    }

    /// The only algorithm that this key verifies.
    pub fn algorithm(&self) -> Algorithm {
        match self.inner.material {
            Material::P256(_) => Algorithm::Es256,
            Material::Ed25519(_) => Algorithm::EdDsa,
            Material::Rsa { .. } => Algorithm::Rs256,
        }
    }

    /// Checks a raw signature: r and s of 32 bytes each for ES256 (RFC 7518 section 3.4), 64 bytes for
    /// `EdDSA` (RFC 8037 section 3.1), as long as the modulus for RS256 (RFC 7518 section 3.3).
    ///
    /// # Errors
    ///
    /// [`TokenError::BadSignature`] for everything that does not verify, DER form included.
    pub fn verify_signature(&self, message: &[u8], signature: &[u8]) -> Result<(), TokenError> {
        let verified = match &self.inner.material {
            Material::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Material::Ed25519(point) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, signature)
            }
            Material::Rsa { modulus, exponent } => {
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(
                    &RSA_PKCS1_2048_8192_SHA256,
                    message,
                    signature,
                )
            }
        };
        verified.map_err(|_| TokenError::BadSignature)
    }

    /// Takes an uncompressed point, and a name if it has one other than its thumbprint.
    pub(super) fn p256(point: &[u8], kid: Option<String>) -> Option<Self> {
        let point: [u8; 65] = point.try_into().ok()?;
        (point[0] == 4).then(|| Self::new(Material::P256(point), kid))
    }

    pub(super) fn ed25519(point: &[u8], kid: Option<String>) -> Option<Self> {
        Some(Self::new(Material::Ed25519(point.try_into().ok()?), kid))
    }

    /// Takes 2048 to 8192 bits, which is what ring verifies.
    pub(super) fn rsa(modulus: Vec<u8>, exponent: Vec<u8>, kid: Option<String>) -> Option<Self> {
        let is_good = |number: &[u8]| {
            number.first().is_some_and(|byte| *byte != 0)
                && number.last().is_some_and(|byte| byte % 2 == 1)
        };
        // RFC 7518 section 6.3.1.1: no leading zeros. An even number is no RSA key.
        if !is_good(&modulus) || !is_good(&exponent) {
            return None;
        }
        let fits = Self::is_rsa_size(&modulus, &exponent) && exponent != [1];
        fits.then(|| Self::new(Material::Rsa { modulus, exponent }, kid))
    }

    /// 2048 to 8192 bits, and an exponent of at most 40.
    pub(super) fn is_rsa_size(modulus: &[u8], exponent: &[u8]) -> bool {
        (256..=1024).contains(&modulus.len()) && (1..=5).contains(&exponent.len())
    }

    pub(super) fn material(&self) -> &Material {
        &self.inner.material
    }

    fn new(material: Material, kid: Option<String>) -> Self {
        let kid = kid.unwrap_or_else(|| thumbprint(&material));
        Self { inner: Arc::new(Inner { kid, material }) }
    }
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner) || self.inner == other.inner
    }
}

impl Eq for VerifyingKey {}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("kid", &self.kid())
            .field("algorithm", &self.algorithm())
            .finish_non_exhaustive()
    }
}

/// RFC 7638 section 3: SHA-256 over the required members in lexical order. In hexadecimal.
fn thumbprint(material: &Material) -> String {
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let input = match material {
        Material::P256(point) => {
            let (x, y) = point[1..].split_at(32);
            format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, text(x), text(y))
        }
        // RFC 8037 section 2.
        Material::Ed25519(point) => {
            format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(point))
        }
        Material::Rsa { modulus, exponent } => {
            format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text(exponent), text(modulus))
        }
    };
    sha256_hex(input.as_bytes())
}
