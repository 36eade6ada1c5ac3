use std::{fmt, sync::Arc};

#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{crypto::CryptoProvider, pki_types::PrivateKeyDer, sign::SigningKey};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    error::{Error, Kind},
    pem,
};

/// A private key. `Debug` never shows it, and its bytes are zeroed on drop.
pub struct PrivateKey(PrivateKeyDer<'static>);

impl PrivateKey {
    /// Reads a key from PEM: `PRIVATE KEY`, `EC PRIVATE KEY` or `RSA PRIVATE KEY`.
    ///
    /// CRLF, byte order marks, text and other blocks around the key are fine.
    ///
    /// # Errors
    ///
    /// [`Error::is_encrypted_key`], [`Error::is_missing_key`] or [`Error::is_malformed`].
    pub fn from_pem(text: impl AsRef<[u8]>) -> Result<Self, Error> {
        pem::private_key(text.as_ref()).map(Self)
    }

    /// Makes a new P-256 key with the randomness of the provider that features selected.
    ///
    /// # Errors
    ///
    /// If the system has no randomness to give.
    #[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
    #[cfg_attr(docsrs, doc(cfg(any(feature = "ring", feature = "aws-lc-rs"))))]
    #[cfg_attr(
        feature = "ring",
        expect(clippy::disallowed_methods, reason = "the system's randomness is what it is for")
    )]
    pub fn generate() -> Result<Self, Error> {
        #[cfg(not(feature = "ring"))]
        use aws_lc_rs::{rand::SystemRandom, signature};
        #[cfg(feature = "ring")]
        use ring::{rand::SystemRandom, signature};

        // rcgen would load the key as well, which takes as long as to make it.
        let key = signature::EcdsaKeyPair::generate_pkcs8(
            &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
            &SystemRandom::new(),
        );
        let key = key.map_err(|_| Kind::Randomness)?;
        Ok(Self(PrivatePkcs8KeyDer::from(key.as_ref().to_vec()).into()))
    }

    /// Writes the key as one PEM block.
    ///
    /// # Security
    ///
    /// Whoever reads the text is the certificate's owner: files 0600, no logs.
    pub fn to_pem(&self) -> SecretPem {
        let label = match &self.0 {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        SecretPem(pem::encode(label, self.0.secret_der()))
    }

    /// The bytes, if it is in the form of PKCS #8.
    pub(crate) fn pkcs8(&self) -> Option<&[u8]> {
        match &self.0 {
            PrivateKeyDer::Pkcs8(key) => Some(key.secret_pkcs8_der()),
            _ => None,
        }
    }

    pub(crate) fn signing_key(
        &self,
        provider: &CryptoProvider,
    ) -> Result<Arc<dyn SigningKey>, Error> {
        provider
            .key_provider
            .load_private_key(self.0.clone_key())
            .map_err(|source| Kind::UnusableKey(source).into())
    }
}

impl From<PrivateKeyDer<'static>> for PrivateKey {
    fn from(key: PrivateKeyDer<'static>) -> Self {
        Self(key)
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// PEM text that holds a private key. `Debug` never shows it, and it is zeroed on drop.
#[derive(Clone)]
pub struct SecretPem(Zeroizing<String>);

impl SecretPem {
    /// Gives the text away. The word is there so that reviewers can search for it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretPem {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for SecretPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretPem(..)")
    }
}

/// Picks the provider that features selected: `ring` if both are on.
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
pub(crate) fn default_provider() -> CryptoProvider {
    #[cfg(feature = "ring")]
    return rustls::crypto::ring::default_provider();
    #[cfg(not(feature = "ring"))]
    rustls::crypto::aws_lc_rs::default_provider()
}
