use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SerialNumber,
};
use rustls::{crypto::CryptoProvider, pki_types::CertificateDer};
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use zeroize::Zeroizing;

use crate::{
    certificate::{self, Certificate},
    error::{Error, Kind},
    key::{PrivateKey, SecretPem, default_provider},
    key_pair::{KeyPair, san},
    name::Name,
    pem,
    storage::{DirectoryStore, Expect, Put},
};

/// A certificate authority of one's own, for local use and for the tunnel.
///
/// Clients that trust [`PrivateCa::root_pem`] accept what it issues; nobody else does.
///
/// Here the root signs leaves itself: an intermediate protects nothing while both keys lie on one
/// machine, and has to be renewed and sent in each handshake. Where the root shall lie elsewhere, or machines
/// enrol, use an [`Intermediate`](crate::ca::Intermediate); the root's path length of 1 allows it.
///
/// | | Root | Leaf |
/// |---|---|---|
/// | key | P-256 | P-256, new for each certificate |
/// | life | 10 years | 7 days, see [`Profile`] |
/// | subject | common name | empty: names stand in the SAN only |
/// | may | sign certificates and CRLs | serve TLS, and nothing else |
///
/// Each certificate begins 60 seconds before `now`, for clients whose clocks are late, and has a
/// random serial number of 128 bits.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use cert_manager::{PrivateCa, Profile};
///
/// # fn main() -> Result<(), cert_manager::Error> {
/// let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
/// let ca = PrivateCa::generate("Example CA", now)?;
/// let names = ["example.jp".parse()?, "*.example.jp".parse()?, "127.0.0.1".parse()?];
/// let certificate = ca.issue(&names, Profile::server(), now)?;
/// assert_eq!(certificate.names(), names);
///
/// let same = PrivateCa::from_pem(ca.root_pem(), ca.key_pem().expose())?;
/// assert_eq!(same.root_der(), ca.root_der());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PrivateCa {
    provider: Arc<CryptoProvider>,
    key: PrivateKey,
    root: CertificateDer<'static>,
    subject: Box<[u8]>,
    not_before: SystemTime,
    not_after: SystemTime,
    issuer: rcgen::Issuer<'static, KeyPair>,
}

impl PrivateCa {
    /// Makes a new authority: a P-256 key and a root certificate for ten years.
    ///
    /// The common name is what people see in their trust settings: say whose it is.
    ///
    /// # Errors
    ///
    /// If there is no randomness, or the name cannot be encoded.
    pub fn generate(common_name: &str, now: SystemTime) -> Result<Self, Error> {
        let provider = Arc::new(default_provider());
        let key = PrivateKey::generate()?;
        let signer = KeyPair::new(&key, &provider)?;
        let mut params = params(&provider, now, ROOT_LIFE)?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params
            .self_signed(&signer)
            .map_err(|source| Kind::Issue { doing: "sign the root certificate", source })?;
        Self::new(root.der().clone(), key, provider)
    }

    /// Reads an authority from PEM texts, which may be one and the same.
    ///
    /// # Errors
    ///
    /// As [`Certificate::from_pem`], or [`Error::is_not_an_authority`] if the certificate is not a
    /// self-signed authority.
    pub fn from_pem(certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Self, Error> {
        let provider = Arc::new(default_provider());
        let key = PrivateKey::from_pem(key)?;
        let mut certificates = pem::certificates(certificate.as_ref())?;
        if certificates.len() > 1 {
            return Err(Kind::NotAnAuthority("one root certificate is expected").into());
        }
        Self::new(certificates.remove(0), key, provider)
    }

    /// Opens the authority that a store keeps, or makes one and keeps it there.
    ///
    /// Certificate and key are one object, so they cannot come apart. If that object is damaged,
    /// it is moved to the store's quarantine, a new authority takes its place, and
    /// [`Opened::origin`] says so: clients then have to trust the new root.
    ///
    /// # Errors
    ///
    /// [`Error::is_store`] if the store cannot be read or written; nothing is replaced then.
    pub fn open(
        store: &DirectoryStore,
        common_name: &str,
        now: SystemTime,
    ) -> Result<Opened, Error> {
        let mut origin = Origin::Generated;
        // Another process may be first in between, but not forever.
        for _ in 0..OPEN_ATTEMPTS {
            if let Some(text) = store.load(STORED_AS)? {
                match Self::from_pem(&*text, &*text) {
                    Ok(ca) => {
                        let origin = match origin {
                            Origin::Generated => Origin::Loaded,
                            other => other,
                        };
                        return Ok(Opened { ca, origin });
                    }
                    Err(reason) => {
                        let kept_at = store.quarantine(STORED_AS)?;
                        tracing::error!(%reason, kept_at = %kept_at.display(),
                            "stored authority is damaged; making a new one, which clients must trust anew");
                        origin = Origin::Replaced { kept_at, reason };
                    }
                }
            }
            let ca = Self::generate(common_name, now)?;
            let text = ca.to_object();
            match store.keep(STORED_AS, text.as_bytes(), Expect::Absent)? {
                Put::Stored => return Ok(Opened { ca, origin }),
                Put::Conflict => {}
            }
        }
        Err(Kind::NotAnAuthority("others keep replacing it in the store").into())
    }

    fn new(
        root: CertificateDer<'static>,
        key: PrivateKey,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let signer = KeyPair::new(&key, &provider)?;
        let (subject, not_before, not_after) = {
            let parsed = certificate::parse(0, &root)?;
            if parsed.public_key().raw != signer.spki.as_ref() {
                return Err(Kind::KeyMismatch.into());
            }
            if !parsed.is_ca() {
                return Err(Kind::NotAnAuthority("its basic constraints say so").into());
            }
            if let Ok(Some(usage)) = parsed.key_usage()
                && !usage.value.key_cert_sign()
            {
                return Err(Kind::NotAnAuthority("its key usage lacks signing").into());
            }
            if parsed.subject().as_raw() != parsed.issuer().as_raw() {
                return Err(Kind::NotAnAuthority("it is not self-signed").into());
            }
            let validity = parsed.validity();
            let times = [validity.not_before, validity.not_after].map(certificate::to_system_time);
            (parsed.subject().as_raw().into(), times[0], times[1])
        };
        let issuer = rcgen::Issuer::from_ca_cert_der(&root, signer)
            .map_err(|source| Kind::Issue { doing: "read the root certificate", source })?;
        Ok(Self { provider, key, root, subject, not_before, not_after, issuer })
    }

    /// Signs, and lets issued certificates sign, with another provider.
    ///
    /// # Errors
    ///
    /// If the provider cannot use the authority's key.
    pub fn with_provider(self, provider: Arc<CryptoProvider>) -> Result<Self, Error> {
        Self::new(self.root, self.key, provider)
    }

    /// Issues a certificate for `names`, with a new key.
    ///
    /// Its life ends no later than the root's.
    ///
    /// # Errors
    ///
    /// If `names` is empty, the root is expired or not yet valid, or there is no randomness.
    pub fn issue(
        &self,
        names: &[Name],
        profile: Profile,
        now: SystemTime,
    ) -> Result<Certificate, Error> {
        if names.is_empty() {
            return Err(Kind::NoNames.into());
        }
        self.check_time(now)?;
        let key = PrivateKey::generate()?;
        let subject = KeyPair::new(&key, &self.provider)?;
        let mut params = params(&self.provider, now, profile.life)?;
        params.not_after = params.not_after.min(self.not_after.into());
        params.subject_alt_names = names.iter().map(san).collect::<Result<_, _>>()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params
            .signed_by(&subject, &self.issuer)
            .map_err(|source| Kind::Issue { doing: "sign a certificate", source })?;
        let key = (key, subject.into_signing_key());
        Certificate::issued(leaf.der().clone(), key, |leaf| self.check_issuer(leaf))
    }

    /// Signs the certificate of an authority below. It ends no later than the root.
    pub(crate) fn sign_authority(
        &self,
        mut params: CertificateParams,
        subject: &KeyPair,
        now: SystemTime,
    ) -> Result<CertificateDer<'static>, Error> {
        self.check_time(now)?;
        params.not_after = params.not_after.min(self.not_after.into());
        let authority = params
            .signed_by(subject, &self.issuer)
            .map_err(|source| Kind::Issue { doing: "sign an intermediate", source })?;
        self.check_issuer(&certificate::parse(0, authority.der())?)?;
        Ok(authority.der().clone())
    }

    fn check_time(&self, now: SystemTime) -> Result<(), Error> {
        if now < self.not_before || now >= self.not_after {
            return Err(Kind::NotAnAuthority(
                "the root is not valid at this time; is this machine's clock right?",
            )
            .into());
        }
        Ok(())
    }

    /// Returns the root certificate as PEM: what clients have to trust.
    pub fn root_pem(&self) -> String {
        pem::encode_chain(std::slice::from_ref(&self.root))
    }

    /// Returns the root certificate as DER.
    pub fn root_der(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// Returns the authority's private key as PEM.
    ///
    /// # Security
    ///
    /// Whoever has it can pose as any site towards those who trust the root.
    pub fn key_pem(&self) -> SecretPem {
        self.key.to_pem()
    }

    /// Returns the last second of the root's life.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Roots made elsewhere may encode their subject in ways that the encoder changes. Clients
    /// compare bytes, so such a leaf would be refused by all of them.
    fn check_issuer(&self, signed: &X509Certificate<'_>) -> Result<(), Error> {
        if *signed.issuer().as_raw() != *self.subject {
            return Err(Kind::NotAnAuthority("its subject has an unusual encoding").into());
        }
        Ok(())
    }

    fn to_object(&self) -> Zeroizing<String> {
        let (root, key) = (self.root_pem(), self.key.to_pem());
        let mut text = Zeroizing::new(String::with_capacity(root.len() + key.expose().len()));
        text.push_str(&root);
        text.push_str(key.expose());
        text
    }
}

/// What to issue: today only how long it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Profile {
    pub(crate) life: Duration,
}

impl Profile {
    /// A certificate for a TLS server that lives 7 days.
    ///
    /// Up to that length a certificate counts as short-lived in the baseline requirements and
    /// needs no revocation.
    pub fn server() -> Self {
        Self { life: SERVER_LIFE }
    }

    /// Sets the whole life, in seconds; the 60 seconds before `now` are part of it.
    pub fn life(self, life: Duration) -> Self {
        Self { life }
    }
}

/// An authority out of a store, and how it came to be.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened {
    /// The authority.
    pub ca: PrivateCa,
    /// Whether clients know its root already.
    pub origin: Origin,
}

/// How an authority came out of a store.
#[derive(Debug)]
#[non_exhaustive]
pub enum Origin {
    /// It was there.
    Loaded,
    /// There was none, so it was made and stored.
    Generated,
    /// What was there was damaged. It was moved aside, and a new authority took its place.
    Replaced {
        /// Where the damaged object lies now.
        kept_at: PathBuf,
        /// What was wrong with it.
        reason: Error,
    },
}

/// What root and leaf share.
pub(crate) fn params(
    provider: &CryptoProvider,
    now: SystemTime,
    life: Duration,
) -> Result<CertificateParams, Error> {
    let out_of_range = || Kind::Life(life.as_secs());
    let not_before = now.checked_sub(BACKDATE).ok_or_else(out_of_range)?;
    let not_after = life
        .checked_sub(Duration::from_secs(1))
        .and_then(|life| not_before.checked_add(life))
        .filter(|not_after| *not_after > now && *not_after < year_9999())
        .ok_or_else(out_of_range)?;
    let mut serial = [0; 16];
    provider.secure_random.fill(&mut serial).map_err(|_| Kind::Randomness)?;
    let mut params = CertificateParams::default();
    params.not_before = OffsetDateTime::from(not_before);
    params.not_after = OffsetDateTime::from(not_after);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    Ok(params)
}

/// X.509 has no room for later years (RFC 5280 section 4.1.2.5).
fn year_9999() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(253_370_764_800)
}

/// The name of the object that holds certificate and key.
const STORED_AS: &str = "ca/root.pem";
const OPEN_ATTEMPTS: u32 = 8;
/// For clients whose clocks are late.
const BACKDATE: Duration = Duration::from_secs(60);
const ROOT_LIFE: Duration = Duration::from_secs(3652 * 86_400);
const SERVER_LIFE: Duration = Duration::from_secs(7 * 86_400);
