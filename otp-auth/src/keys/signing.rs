//! Private keys.

use std::fmt;

use ring::rand::SecureRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};

use super::VerifyingKey;
use super::pem::{self, Label};
use crate::error::Error;
use crate::random::SystemRandom;
use crate::secret::Secret;
use crate::token::Algorithm;

/// A private key that signs tokens, parsed once, with the one algorithm it is for.
///
/// | Algorithm | Created by | Imported from |
/// |---|---|---|
/// | ES256 | [`generate`](Self::generate) | PKCS#8 |
/// | EdDSA | [`generate_ed25519`](Self::generate_ed25519) | PKCS#8 |
/// | RS256 | `generate_rsa`, feature `aws-lc-rs` | PKCS#8, PKCS#1; 2048 to 4096 bits |
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
    pair: Pair,
    public: VerifyingKey,
    pkcs8: Secret,
    random: SystemRandom,
}

enum Pair {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

impl SigningKey {
    /// Draws a new key for ES256.
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

    /// Draws a new key for `EdDSA`.
    ///
    /// # Errors
    ///
    /// Fails when the generator does.
    pub fn generate_ed25519(random: &SystemRandom) -> Result<Self, Error> {
        let pkcs8 =
            Ed25519KeyPair::generate_pkcs8(random.as_ring()).map_err(|_| Error::randomness())?;
        Self::from_pkcs8(&Secret::new(pkcs8.as_ref().to_vec()), random)
    }

    /// Draws a new RSA key of 2048 bits for RS256, from the generator of aws-lc.
    ///
    /// Takes 0.04 to 0.3 seconds of processor time: not a thing to do while a visitor waits.
    ///
    /// # Errors
    ///
    /// Fails when the generator does.
    #[cfg(feature = "aws-lc-rs")]
    #[cfg_attr(docsrs, doc(cfg(feature = "aws-lc-rs")))]
    pub fn generate_rsa(random: &SystemRandom) -> Result<Self, Error> {
        use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
        use aws_lc_rs::rsa::{KeyPair, KeySize};

        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| Error::randomness())?;
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| Error::randomness())?;
        Self::from_pkcs8(&Secret::new(pkcs8.as_ref().to_vec()), random)
    }

    /// Loads a key from PKCS#8 in DER (RFC 5208, RFC 5958): P-256 with its public key inside, Ed25519, or
    /// RSA. What the key is decides the algorithm.
    ///
    /// # Errors
    ///
    /// Refuses anything else, as the caller's fault.
    pub fn from_pkcs8(pkcs8: &Secret, random: &SystemRandom) -> Result<Self, Error> {
        let (pair, public) = parse(pkcs8.expose(), random.as_ring())?;
        Ok(Self { pair, public, pkcs8: pkcs8.clone(), random: random.clone() })
    }

    /// Loads an RSA key from PKCS#1 in DER (RFC 8017 appendix A.1.2).
    ///
    /// # Errors
    ///
    /// Refuses anything but an intact RSA key of 2048 to 4096 bits, as the caller's fault.
    pub fn from_pkcs1(pkcs1: &Secret, random: &SystemRandom) -> Result<Self, Error> {
        RsaKeyPair::from_der(pkcs1.expose())
            .map_err(|_| Error::key("it is not an RSA key of 2048 to 4096 bits in PKCS#1"))?;
        Self::from_pkcs8(&pem::pkcs8_of_pkcs1(pkcs1), random)
    }

    /// Loads a key from text: `PRIVATE KEY` (PKCS#8) or `RSA PRIVATE KEY` (PKCS#1), the first in it.
    ///
    /// # Errors
    ///
    /// Refuses text without such a key, and keys as [`from_pkcs8`](Self::from_pkcs8) does.
    pub fn from_pem(text: &str, random: &SystemRandom) -> Result<Self, Error> {
        match pem::decode(text)? {
            (Label::Pkcs8, der) => Self::from_pkcs8(&der, random),
            (Label::Pkcs1, der) => Self::from_pkcs1(&der, random),
        }
    }

    /// The key as PKCS#8 in DER.
    pub fn to_pkcs8(&self) -> Secret {
        self.pkcs8.clone()
    }

    /// The key's name: the RFC 7638 thumbprint as 64 hexadecimal digits.
    pub fn kid(&self) -> &str {
        self.public.kid()
    }

    /// The algorithm it signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.public.algorithm()
    }

    /// The public half.
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }

    /// Signs, and appends the signature in the form of RFC 7518 section 3 or RFC 8037 section 3.1.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let random = self.random.as_ring();
        match &self.pair {
            Pair::Es256(pair) => {
                let signature = pair.sign(random, message).map_err(|_| Error::randomness())?;
                Ok(signature.as_ref().to_vec())
            }
            Pair::EdDsa(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, random, message, &mut signature)
                    .map_err(|_| Error::randomness())?;
                Ok(signature)
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid())
            .field("algorithm", &self.algorithm())
            .finish_non_exhaustive()
    }
}

/// Each parser refuses the object identifiers of the others, so the order has no meaning.
fn parse(pkcs8: &[u8], random: &dyn SecureRandom) -> Result<(Pair, VerifyingKey), Error> {
    if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, random) {
        let public = VerifyingKey::p256(pair.public_key().as_ref(), None);
        return public.map(|public| (Pair::Es256(pair), public)).ok_or_else(unusable);
    }
    // OpenSSL writes version 1, without the public key; ring then works it out.
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8) {
        let public = VerifyingKey::ed25519(pair.public_key().as_ref(), None);
        return public.map(|public| (Pair::EdDsa(pair), public)).ok_or_else(unusable);
    }
    let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(|_| unusable())?;
    let components: ring::rsa::PublicKeyComponents<Vec<u8>> = pair.public().into();
    let public = VerifyingKey::rsa(components.n, components.e, None).ok_or_else(unusable)?;
    Ok((Pair::Rs256(pair), public))
}

fn unusable() -> Error {
    Error::key("it is not a P-256, Ed25519 or RSA key (2048 to 4096 bits) in PKCS#8")
}

#[cfg(all(test, feature = "aws-lc-rs"))]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_rsa_key_signs_and_is_loaded_again() {
        let random = SystemRandom::new();
        let key = SigningKey::generate_rsa(&random).unwrap();
        assert_eq!(key.algorithm(), Algorithm::Rs256);
        let signature = key.sign(b"message").unwrap();
        assert_eq!(signature.len(), 256);
        assert_eq!(key.verifying_key().verify_signature(b"message", &signature), Ok(()));
        let again = SigningKey::from_pkcs8(&key.to_pkcs8(), &random).unwrap();
        assert_eq!(again.kid(), key.kid());
    }
}
