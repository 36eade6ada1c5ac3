//! What a machine asks to have signed.

use std::fmt;

use rcgen::{CertificateParams, DistinguishedName};
use rustls::pki_types::{CertificateSigningRequestDer, pem::PemObject};
use x509_parser::{
    certification_request::X509CertificationRequest, prelude::FromDer, public_key::PublicKey,
    x509::SubjectPublicKeyInfo,
};

use crate::{
    error::{Error, Kind},
    key::{PrivateKey, default_provider},
    key_pair::KeyPair,
    pem,
};

/// A request for a certificate (PKCS #10, RFC 2986): of all it says, only the key is taken, and that the sender has it.
///
/// Keys are P-256, P-384, Ed25519, or RSA of 2048 to 8192 bits.
#[derive(Clone)]
pub struct SigningRequest {
    spki: Box<[u8]>,
    public_key: Box<[u8]>,
    algorithm: &'static rcgen::SignatureAlgorithm,
}

impl SigningRequest {
    /// Reads a request from PEM (`CERTIFICATE REQUEST`) of at most 16 KiB, and checks that it is signed by its own key.
    ///
    /// # Errors
    ///
    /// [`Error::is_refused_request`]: damaged, signed by another key, or a key of another kind or size.
    pub fn parse(pem: &str) -> Result<Self, Error> {
        if pem.len() > MAX_PEM_BYTES {
            return Err(Kind::Request("it is larger than 16 KiB").into());
        }
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| Kind::Request("it is no PEM block `CERTIFICATE REQUEST`"))?;
        Self::from_der(&der)
    }

    /// Reads a request from DER.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        let (rest, request) = X509CertificationRequest::from_der(der)
            .map_err(|_| Kind::Request("it is malformed"))?;
        if !rest.is_empty() {
            return Err(Kind::Request("bytes follow after its end").into());
        }
        let spki = &request.certification_request_info.subject_pki;
        let algorithm = algorithm(spki)?;
        request.verify_signature().map_err(|_| Kind::Request("its signature is wrong"))?;
        let public_key = spki.subject_public_key.data.as_ref().into();
        Ok(Self { spki: spki.raw.into(), public_key, algorithm })
    }

    /// Writes the request for a key, as PEM.
    ///
    /// # Errors
    ///
    /// A key of another kind.
    pub fn write(key: &PrivateKey) -> Result<String, Error> {
        let signer = KeyPair::new(key, &default_provider())?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params
            .serialize_request(&signer)
            .map_err(|source| Kind::Issue { doing: "sign a request", source })?;
        Ok(pem::encode("CERTIFICATE REQUEST", request.der()).to_string())
    }

    /// The key, as in a certificate (`SubjectPublicKeyInfo`, DER).
    pub fn public_key_info(&self) -> &[u8] {
        &self.spki
    }
}

impl rcgen::PublicKeyData for SigningRequest {
    fn der_bytes(&self) -> &[u8] {
        &self.public_key
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.algorithm
    }
}

impl fmt::Debug for SigningRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningRequest").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

fn algorithm(spki: &SubjectPublicKeyInfo<'_>) -> Result<&'static rcgen::SignatureAlgorithm, Kind> {
    let refused =
        || Kind::Request("its key is none of P-256, P-384, Ed25519, and RSA of 2048 to 8192 bits");
    let curve = || {
        let parameters = spki.algorithm.parameters.as_ref()?;
        Some(parameters.as_oid().ok()?.to_id_string())
    };
    match spki.algorithm.algorithm.to_id_string().as_str() {
        OID_ED25519 => Ok(&rcgen::PKCS_ED25519),
        OID_EC => match curve().as_deref() {
            Some(OID_P256) => Ok(&rcgen::PKCS_ECDSA_P256_SHA256),
            Some(OID_P384) => Ok(&rcgen::PKCS_ECDSA_P384_SHA384),
            _ => Err(refused()),
        },
        OID_RSA => match spki.parsed() {
            Ok(PublicKey::RSA(key)) if (2_048..=8_192).contains(&key.key_size()) => {
                Ok(&rcgen::PKCS_RSA_SHA256)
            }
            _ => Err(refused()),
        },
        _ => Err(refused()),
    }
}

const OID_ED25519: &str = "1.3.101.112";
const OID_EC: &str = "1.2.840.10045.2.1";
const OID_P256: &str = "1.2.840.10045.3.1.7";
const OID_P384: &str = "1.3.132.0.34";
const OID_RSA: &str = "1.2.840.113549.1.1.1";

const MAX_PEM_BYTES: usize = 16 * 1024;
