//! The authority whose key lies where leaves are signed.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, DnType, IsCa, KeyUsagePurpose};
use rustls::{crypto::CryptoProvider, pki_types::CertificateDer};

use super::{grant::Grant, request::SigningRequest};
use crate::{
    certificate::{self, Serial},
    error::{Error, Kind},
    issuer::{self, PrivateCa},
    key::{PrivateKey, SecretPem, default_provider},
    key_pair::KeyPair,
    pem,
};

/// An authority below a root: it signs leaves for machines, and no other authority.
///
/// Its key is P-256, its life a year, its path length 0. Make the next one when [`is_due`](Self::is_due) says so; what
/// the old one signed stays good until it ends, since verifiers trust the root and leaves bring their intermediate; tell
/// [`Enrolment::earlier`](super::Enrolment::earlier) of the old one, so that it is renewed.
pub struct Intermediate {
    provider: Arc<CryptoProvider>,
    key: PrivateKey,
    certificate: CertificateDer<'static>,
    not_before: SystemTime,
    not_after: SystemTime,
    issuer: rcgen::Issuer<'static, KeyPair>,
}

impl Intermediate {
    /// Lets a root sign a new one, for a year, or as long as the root lives.
    ///
    /// # Errors
    ///
    /// The root is not valid now, or there is no randomness.
    pub fn issue(root: &PrivateCa, common_name: &str, now: SystemTime) -> Result<Self, Error> {
        let provider = Arc::new(default_provider());
        let key = PrivateKey::generate()?;
        let subject = KeyPair::new(&key, &provider)?;
        let mut params = issuer::params(&provider, now, LIFE)?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = true;
        let certificate = root.sign_authority(params, &subject, now)?;
        Self::new(certificate, key, provider)
    }

    /// Reads what [`to_pem`](Self::to_pem) wrote: the certificate and its key.
    ///
    /// # Errors
    ///
    /// As [`PrivateCa::from_pem`], or [`Error::is_not_an_authority`] if it is a root.
    pub fn from_pem(text: impl AsRef<[u8]>) -> Result<Self, Error> {
        let key = PrivateKey::from_pem(&text)?;
        let mut certificates = pem::certificates(text.as_ref())?;
        if certificates.len() > 1 {
            return Err(Kind::NotAnAuthority("one certificate is expected").into());
        }
        Self::new(certificates.remove(0), key, Arc::new(default_provider()))
    }

    /// Certificate and key as PEM.
    ///
    /// # Security
    ///
    /// Whoever has it can pose as any machine.
    pub fn to_pem(&self) -> SecretPem {
        let chain = pem::encode_chain(std::slice::from_ref(&self.certificate));
        SecretPem::from(chain + self.key.to_pem().expose())
    }

    fn new(
        certificate: CertificateDer<'static>,
        key: PrivateKey,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let signer = KeyPair::new(&key, &provider)?;
        let (not_before, not_after) = {
            let parsed = certificate::parse(0, &certificate)?;
            if parsed.public_key().raw != signer.spki.as_ref() {
                return Err(Kind::KeyMismatch.into());
            }
            if !parsed.is_ca() {
                return Err(Kind::NotAnAuthority("its basic constraints say so").into());
            }
            if parsed.subject().as_raw() == parsed.issuer().as_raw() {
                return Err(
                    Kind::NotAnAuthority("it is a root; an intermediate is expected").into()
                );
            }
            let validity = parsed.validity();
            let times = [validity.not_before, validity.not_after].map(certificate::to_system_time);
            (times[0], times[1])
        };
        let issuer = rcgen::Issuer::from_ca_cert_der(&certificate, signer).map_err(|source| {
            Kind::Issue { doing: "read the intermediate's certificate", source }
        })?;
        Ok(Self { provider, key, certificate, not_before, not_after, issuer })
    }

    /// Its certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The last second of its life.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Whether half of its life is over: time for the next one.
    pub fn is_due(&self, now: SystemTime) -> bool {
        let life = self.not_after.duration_since(self.not_before).unwrap_or_default();
        self.not_before + life / 2 <= now
    }

    /// Signs the key of a request for whom the grant names. It ends no later than the intermediate.
    ///
    /// # Errors
    ///
    /// The intermediate is not valid now, or there is no randomness.
    pub fn sign(
        &self,
        request: &SigningRequest,
        grant: &Grant,
        now: SystemTime,
    ) -> Result<Signed, Error> {
        if now < self.not_before || now >= self.not_after {
            let reason =
                "the intermediate is not valid at this time; is this machine's clock right?";
            return Err(Kind::NotAnAuthority(reason).into());
        }
        let mut params = issuer::params(&self.provider, now, grant.lifetime())?;
        params.not_after = params.not_after.min(self.not_after.into());
        params.subject_alt_names = grant.identity().alternative_names()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![grant.identity().usage()];
        params.use_authority_key_identifier_extension = true;
        let leaf = params
            .signed_by(request, &self.issuer)
            .map_err(|source| Kind::Issue { doing: "sign a certificate", source })?;
        let leaf = leaf.der().clone();
        let (serial, not_after) = {
            let parsed = certificate::parse(0, &leaf)?;
            let not_after = certificate::to_system_time(parsed.validity().not_after);
            (Serial::of(parsed.raw_serial()), not_after)
        };
        Ok(Signed { chain: vec![leaf, self.certificate.clone()], serial, not_after })
    }
}

impl fmt::Debug for Intermediate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intermediate")
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// A certificate that was signed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Signed {
    /// The leaf, then the intermediate.
    pub chain: Vec<CertificateDer<'static>>,
    /// For a [`DenyList`](super::DenyList).
    pub serial: Serial,
    /// The last second of the leaf's life.
    pub not_after: SystemTime,
}

impl Signed {
    /// The chain as PEM.
    pub fn chain_pem(&self) -> String {
        pem::encode_chain(&self.chain)
    }
}

const LIFE: Duration = Duration::from_secs(365 * 86_400);
