//! Where certificates come from.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa};
use rustls::crypto::CryptoProvider;

#[cfg(feature = "acme")]
use crate::acme::Acme;
use crate::{
    certificate::Certificate,
    error::{Error, Kind},
    failure::{Failure, FailureClass},
    issuer::{PrivateCa, Profile, params},
    key::{PrivateKey, default_provider},
    key_pair::{KeyPair, san},
    lifecycle::RenewalInfo,
    name::Name,
    record::short_hash,
};

/// Issues certificates for a [`Manager`](crate::Manager): an ACME account, a private authority, or yours.
///
/// The manager sees to it that one node asks at a time, waits after failures as their [`FailureClass`] says, and checks
/// nothing: what comes back has to be valid for the names.
pub trait Issuer: fmt::Debug + Send + Sync {
    /// A name that stays the same over restarts: up to 200 of `[a-z0-9._-]`. Certificates of another issuer than those that a
    /// manager has are replaced.
    fn id(&self) -> &str;

    /// Issues a certificate.
    ///
    /// What costs money or counts against limits has to survive a crash until [`Issuer::settle`]: called again for the same
    /// names before that, it goes on where it was, and ends with the same certificate.
    ///
    /// # Errors
    ///
    /// A [`Failure`](crate::acme::Failure) says what follows from it; any other error counts as
    /// [`FailureClass::Request`](crate::acme::FailureClass::Request).
    fn issue<'a>(&'a self, request: &'a Request) -> Issuing<'a, Certificate>;

    /// The certificate for these names is stored: forgets what was kept to survive a crash. Nothing by default.
    fn settle<'a>(&'a self, names: &'a [Name]) -> Issuing<'a, ()> {
        let _ = names;
        Box::pin(async { Ok(()) })
    }

    /// Whether [`Issuer::renewal_info`] may have something to say. Not by default.
    fn says_when_to_renew(&self) -> bool {
        false
    }

    /// When it wishes a certificate to be renewed; nothing by default.
    fn renewal_info<'a>(
        &'a self,
        certificate: &'a Certificate,
    ) -> Issuing<'a, Option<RenewalInfo>> {
        let _ = certificate;
        Box::pin(async { Ok(None) })
    }

    /// Takes a certificate back, with a reason of RFC 5280 section 5.3.1. By default it cannot.
    fn revoke<'a>(&'a self, certificate: &'a Certificate, reason: u8) -> Issuing<'a, ()> {
        let _ = (certificate, reason);
        let failure = Failure::because(
            FailureClass::Request,
            "revoke a certificate",
            "this issuer takes nothing back: what it issues ends soon",
        );
        Box::pin(async { Err(failure.into()) })
    }
}

/// What an [`Issuer`] does.
pub type Issuing<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// What is asked of an [`Issuer`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// The certificate has to carry all of them.
    pub names: Vec<Name>,
    /// The certificate of the same issuer that is replaced, if there is one.
    pub replaces: Option<Certificate>,
    /// The time.
    pub now: SystemTime,
}

#[cfg(feature = "acme")]
impl Issuer for Acme {
    fn id(&self) -> &str {
        Self::id(self)
    }

    fn issue<'a>(&'a self, request: &'a Request) -> Issuing<'a, Certificate> {
        Box::pin(Self::issue(self, &request.names, request.replaces.as_ref()))
    }

    fn settle<'a>(&'a self, names: &'a [Name]) -> Issuing<'a, ()> {
        Box::pin(Self::settle(self, names))
    }

    fn says_when_to_renew(&self) -> bool {
        true
    }

    fn renewal_info<'a>(
        &'a self,
        certificate: &'a Certificate,
    ) -> Issuing<'a, Option<RenewalInfo>> {
        Box::pin(Self::renewal_info(self, certificate))
    }

    fn revoke<'a>(&'a self, certificate: &'a Certificate, reason: u8) -> Issuing<'a, ()> {
        Box::pin(Self::revoke(self, certificate, reason))
    }
}

/// A [`PrivateCa`] as the issuer of a manager.
#[derive(Debug)]
pub struct PrivateIssuer {
    ca: Arc<PrivateCa>,
    profile: Profile,
    id: String,
}

impl PrivateIssuer {
    /// Issues from this authority what [`Profile::server`] says: 7 days.
    pub fn new(ca: impl Into<Arc<PrivateCa>>) -> Self {
        let ca = ca.into();
        // A new root is a new issuer: what the old one signed has to be replaced.
        let id = format!("private-{}", &short_hash(&ca.root_pem())[..16]);
        Self { ca, profile: Profile::server(), id }
    }

    /// Sets what is issued.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }
}

impl Issuer for PrivateIssuer {
    fn id(&self) -> &str {
        &self.id
    }

    fn issue<'a>(&'a self, request: &'a Request) -> Issuing<'a, Certificate> {
        Box::pin(async { self.ca.issue(&request.names, self.profile, request.now) })
    }
}

/// Certificates that sign themselves, for development: browsers warn, and `curl` needs `--insecure`.
#[derive(Debug)]
pub struct SelfSigned {
    provider: CryptoProvider,
    profile: Profile,
}

impl SelfSigned {
    /// Lives 7 days, as [`Profile::server`] says.
    pub fn new() -> Self {
        Self { provider: default_provider(), profile: Profile::server() }
    }

    fn sign(&self, request: &Request) -> Result<Certificate, Error> {
        let key = PrivateKey::generate()?;
        let signer = KeyPair::new(&key, &self.provider)?;
        let mut params: CertificateParams = params(&self.provider, request.now, self.profile.life)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Self-signed, for development");
        params.subject_alt_names = request.names.iter().map(san).collect::<Result<_, _>>()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params
            .self_signed(&signer)
            .map_err(|source| Kind::Issue { doing: "sign a certificate by itself", source })?;
        let key = (key, signer.into_signing_key());
        Certificate::issued(certificate.der().clone(), key, |_| Ok(()))
    }
}

impl Default for SelfSigned {
    fn default() -> Self {
        Self::new()
    }
}

impl Issuer for SelfSigned {
    fn id(&self) -> &'static str {
        "self-signed"
    }

    fn issue<'a>(&'a self, request: &'a Request) -> Issuing<'a, Certificate> {
        Box::pin(async { self.sign(request) })
    }
}
