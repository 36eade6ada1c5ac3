//! Signing keys, their life, and the public key set.

mod jwk;
mod ring_of_keys;
mod set;

use std::fmt;

use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};

pub use self::jwk::{PublicKeySet, PublicKeySetError};
pub use self::ring_of_keys::{FindKey, KeyRing};
pub use self::set::{KeySet, KeyState};
use crate::error::Error;
use crate::random::SystemRandom;
use crate::secret::Secret;
use crate::token::{Algorithm, TokenError};

/// A private key that signs tokens: ECDSA on P-256, algorithm ES256.
///
/// ```
/// use otp_auth::keys::SigningKey;
/// use otp_auth::random::SystemRandom;
///
/// let random = SystemRandom::new();
/// let key = SigningKey::generate(&random)?;
/// let saved = key.to_pkcs8(); // keep it in a protected place
/// let loaded = SigningKey::from_pkcs8(&saved, &random)?;
/// assert_eq!(loaded.kid(), key.kid());
/// # Ok::<(), otp_auth::error::Error>(())
/// ```
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: VerifyingKey,
    pkcs8: Secret,
    random: SystemRandom,
}

impl SigningKey {
    /// Draws a new key.
    ///
    /// # Errors
    ///
    /// Fails when the generator does.
    pub fn generate(random: &SystemRandom) -> Result<Self, Error> {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, random.as_ring())
                .map_err(|_| Error::randomness())?;
        Self::from_pkcs8(&Secret::new(pkcs8.as_ref().to_vec()), random)
    }

    /// Loads a key from PKCS#8 in DER, with its public key inside (RFC 5958).
    ///
    /// # Errors
    ///
    /// Refuses anything but an intact P-256 key, as the caller's fault.
    pub fn from_pkcs8(pkcs8: &Secret, random: &SystemRandom) -> Result<Self, Error> {
        let pair = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            pkcs8.expose(),
            random.as_ring(),
        )
        .map_err(|_| Error::key("it is not a P-256 key in PKCS#8"))?;
        let mut point = [0; POINT_BYTES];
        point.copy_from_slice(pair.public_key().as_ref());
        let public = VerifyingKey::new(point, None);
        Ok(Self { pair, public, pkcs8: pkcs8.clone(), random: random.clone() })
    }

    /// The key as PKCS#8 in DER.
    pub fn to_pkcs8(&self) -> Secret {
        self.pkcs8.clone()
    }

    /// The key's name: the RFC 7638 thumbprint as 64 hexadecimal digits.
    pub fn kid(&self) -> &str {
        self.public.kid()
    }

    /// The public half.
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature =
            self.pair.sign(self.random.as_ring(), message).map_err(|_| Error::randomness())?;
        Ok(signature.as_ref().to_vec())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid()).finish_non_exhaustive()
    }
}

/// A public key that verifies tokens, with the one algorithm it is for.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    kid: String,
    point: [u8; POINT_BYTES],
}

impl VerifyingKey {
    /// The key's name.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The only algorithm that this key verifies.
    pub fn algorithm(&self) -> Algorithm {
        Algorithm::Es256
    }

    /// Checks a raw signature, r and s of 32 bytes each (RFC 7518 section 3.4).
    ///
    /// # Errors
    ///
    /// [`TokenError::BadSignature`] for everything that does not verify, DER form included.
    pub fn verify_signature(&self, message: &[u8], signature: &[u8]) -> Result<(), TokenError> {
        if signature.len() != 64 {
            return Err(TokenError::BadSignature);
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.point)
            .verify(message, signature)
            .map_err(|_| TokenError::BadSignature)
    }

    /// Takes an uncompressed point, and a name if it has one other than its thumbprint.
    fn new(point: [u8; POINT_BYTES], kid: Option<String>) -> Self {
        let mut key = Self { kid: String::new(), point };
        key.kid = kid.unwrap_or_else(|| key.thumbprint());
        key
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// SEC 1 section 2.3.3: 0x04, x, y.
const POINT_BYTES: usize = 65;
