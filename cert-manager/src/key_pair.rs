//! Keys that rcgen signs with.

use std::sync::Arc;

use rcgen::SanType;
use rustls::{
    SignatureScheme,
    crypto::CryptoProvider,
    sign::{Signer, SigningKey},
};
use x509_parser::{prelude::FromDer, x509::SubjectPublicKeyInfo};

use crate::{
    error::{Error, Kind},
    key::PrivateKey,
    name::Name,
};

/// Lets rcgen sign through the rustls provider: any key format and any provider will do.
#[derive(Debug)]
pub(crate) struct KeyPair {
    key: Arc<dyn SigningKey>,
    scheme: SignatureScheme,
    algorithm: &'static rcgen::SignatureAlgorithm,
    pub(crate) spki: Box<[u8]>,
    public_key: Box<[u8]>,
}

impl KeyPair {
    pub(crate) fn new(key: &PrivateKey, provider: &CryptoProvider) -> Result<Self, Error> {
        let key = key.signing_key(provider)?;
        let spki = key
            .public_key()
            .ok_or_else(|| Kind::UnusableKey(rustls::InconsistentKeys::Unknown.into()))?;
        let (_, parsed) = SubjectPublicKeyInfo::from_der(&spki)
            .map_err(|_| Kind::NotAnAuthority("its public key is malformed"))?;
        let public_key = parsed.subject_public_key.data.as_ref().into();
        let (scheme, algorithm) = ALGORITHMS
            .into_iter()
            .find(|(scheme, _)| key.choose_scheme(&[*scheme]).is_some())
            .ok_or(Kind::NotAnAuthority("its kind of key is not supported"))?;
        Ok(Self { spki: spki.as_ref().into(), key, scheme, algorithm, public_key })
    }

    /// The key as it was loaded, for what comes after the signature.
    pub(crate) fn into_signing_key(self) -> Arc<dyn SigningKey> {
        self.key
    }

    fn signer(&self) -> Option<Box<dyn Signer>> {
        self.key.choose_scheme(&[self.scheme])
    }
}

impl rcgen::PublicKeyData for KeyPair {
    fn der_bytes(&self) -> &[u8] {
        &self.public_key
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.algorithm
    }
}

impl rcgen::SigningKey for KeyPair {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.signer()
            .and_then(|signer| signer.sign(message).ok())
            .ok_or(rcgen::Error::RemoteKeyError)
    }
}

/// A name as rcgen has it.
pub(crate) fn san(name: &Name) -> Result<SanType, Error> {
    Ok(match name.ip() {
        Some(address) => SanType::IpAddress(address),
        None => SanType::DnsName(
            name.as_str()
                .try_into()
                .map_err(|source| Kind::Issue { doing: "encode a name", source })?,
        ),
    })
}

static ALGORITHMS: [(SignatureScheme, &rcgen::SignatureAlgorithm); 4] = [
    (SignatureScheme::ECDSA_NISTP256_SHA256, &rcgen::PKCS_ECDSA_P256_SHA256),
    (SignatureScheme::ECDSA_NISTP384_SHA384, &rcgen::PKCS_ECDSA_P384_SHA384),
    (SignatureScheme::ED25519, &rcgen::PKCS_ED25519),
    (SignatureScheme::RSA_PKCS1_SHA256, &rcgen::PKCS_RSA_SHA256),
];
