use std::{
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    crypto::CryptoProvider,
    pki_types::CertificateDer,
    sign::{CertifiedKey, SigningKey},
};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
};

use crate::{
    error::{Error, Kind},
    kept_key::KeptKey,
    key::{PrivateKey, SecretPem},
    name::Name,
    pem,
};

/// A certificate chain with its private key, checked and ready to be served.
///
/// Cheap to clone. The leaf belongs to the key, stands first, and is followed by its issuers in
/// order; a root is left out. An expired certificate is a state, not an error: see
/// [`Certificate::is_expired`].
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use cert_manager::{Certificate, PrivateCa, Profile};
///
/// # fn main() -> Result<(), cert_manager::Error> {
/// let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
/// let ca = PrivateCa::generate("Example CA", now)?;
/// let issued = ca.issue(&["app.example.jp".parse()?], Profile::server(), now)?;
///
/// let read = Certificate::from_pem(issued.chain_pem(), issued.key_pem().expose())?;
/// assert_eq!(read.names(), issued.names());
/// assert!(!read.is_expired(now));
/// assert!(read.is_expired(now + Duration::from_secs(8 * 86_400)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Certificate {
    /// Beside the rest and not in it: a handshake needs nothing else.
    certified: Arc<CertifiedKey>,
    rest: Arc<Rest>,
}

impl Certificate {
    /// Reads a chain and its key from PEM texts, which may be one and the same.
    ///
    /// Takes what is found in the wild: CRLF, byte order marks, text outside of blocks, keys as
    /// `PRIVATE KEY`, `EC PRIVATE KEY` or `RSA PRIVATE KEY`, the leaf at any place. Certificates
    /// that do not belong to the leaf's chain are left out.
    ///
    /// # Errors
    ///
    /// [`Error::is_missing_certificate`], [`Error::is_missing_key`], [`Error::is_encrypted_key`],
    /// [`Error::is_malformed`], or [`Error::is_key_mismatch`] if no certificate is the key's.
    #[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
    #[cfg_attr(docsrs, doc(cfg(any(feature = "ring", feature = "aws-lc-rs"))))]
    pub fn from_pem(chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Self, Error> {
        Self::from_pem_with_provider(chain, key, &crate::key::default_provider())
    }

    /// Reads a chain and its key as [`Certificate::from_pem`] does, for signing with `provider`.
    pub fn from_pem_with_provider(
        chain: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
        provider: &CryptoProvider,
    ) -> Result<Self, Error> {
        let key = PrivateKey::from_pem(key)?;
        Self::new(pem::certificates(chain.as_ref())?, key, provider)
    }

    /// Puts a chain and its key together, checking them as [`Certificate::from_pem`] does.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKey,
        provider: &CryptoProvider,
    ) -> Result<Self, Error> {
        let signing_key = key.signing_key(provider)?;
        let spki = signing_key
            .public_key()
            .ok_or_else(|| Kind::UnusableKey(rustls::InconsistentKeys::Unknown.into()))?;
        let (chain, facts) = arrange(chain, &spki)?;
        Ok(Self::of(chain, key, signing_key, facts))
    }

    /// Takes what was just signed here, for the key that was loaded for it; `check` may look at it.
    #[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
    pub(crate) fn issued(
        leaf: CertificateDer<'static>,
        (key, signing_key): (PrivateKey, Arc<dyn SigningKey>),
        check: impl FnOnce(&X509Certificate<'_>) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let facts = {
            let parsed = parse(0, &leaf)?;
            check(&parsed)?;
            Facts::read(&parsed)
        };
        Ok(Self::of(vec![leaf], key, signing_key, facts))
    }

    fn of(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKey,
        signing_key: Arc<dyn SigningKey>,
        facts: Facts,
    ) -> Self {
        let rest = Rest { key: KeptKey::new(key, &*signing_key), facts };
        Self { certified: Arc::new(CertifiedKey::new(chain, signing_key)), rest: Arc::new(rest) }
    }

    /// Returns the names in the leaf's subject alternative name extension, in their order.
    ///
    /// Names that [`Name`] refuses, such as those with underscores, are left out.
    pub fn names(&self) -> &[Name] {
        &self.rest.facts.names
    }

    /// Returns the first second in which the leaf is valid.
    pub fn not_before(&self) -> SystemTime {
        from_seconds(self.rest.facts.not_before)
    }

    /// Returns the last second in which the leaf is valid.
    pub fn not_after(&self) -> SystemTime {
        from_seconds(self.rest.facts.not_after)
    }

    /// Says whether the leaf's last second is over.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        // RFC 5280 section 4.1.2.5: the second of notAfter still belongs to the life.
        self.not_after() + Duration::from_secs(1) <= now
    }

    /// Returns the serial number that the authority gave.
    pub fn serial(&self) -> &Serial {
        &self.rest.facts.serial
    }

    /// Returns the chain, leaf first, as PEM.
    pub fn chain_pem(&self) -> String {
        pem::encode_chain(self.chain())
    }

    /// Returns the chain, leaf first, as DER.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// Returns the private key as PEM.
    pub fn key_pem(&self) -> SecretPem {
        self.rest.key.to_pem(&*self.certified.key)
    }

    /// Checks that each certificate of the chain was signed by the next, and that all are valid at `now`. What lies above
    /// the last one is not looked at.
    #[cfg(all(feature = "acme", any(feature = "ring", feature = "aws-lc-rs")))]
    pub(crate) fn check_signatures(
        &self,
        provider: &Arc<CryptoProvider>,
        now: SystemTime,
    ) -> Result<(), Error> {
        use rustls::{
            RootCertStore,
            client::{WebPkiServerVerifier, danger::ServerCertVerifier},
            pki_types::UnixTime,
        };

        let [leaf, issuers @ ..] = self.chain() else { return Ok(()) };
        let Some(top) = issuers.last() else { return Ok(()) };
        let mut roots = RootCertStore::empty();
        roots.add(top.clone()).map_err(Kind::Chain)?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(provider))
                .build()
                .map_err(|error| Kind::Chain(rustls::Error::General(error.to_string())))?;
        let now = UnixTime::since_unix_epoch(
            now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
        );
        let Some(name) = self.names().first() else { return Ok(()) };
        // Any name that it is for will do.
        let name = name.as_str().replacen('*', "any", 1).try_into();
        let name =
            name.map_err(|_| Kind::Chain(rustls::Error::General("a name is not usable".into())))?;
        verifier.verify_server_cert(leaf, issuers, &name, &[], now).map_err(Kind::Chain)?;
        Ok(())
    }

    /// Returns what rustls needs to serve the certificate.
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names())
            .field("serial", self.serial())
            .field("not_before", &self.not_before())
            .field("not_after", &self.not_after())
            .finish_non_exhaustive()
    }
}

/// The serial number of a certificate: content bytes of the DER integer.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Serial(SerialBytes);

/// All that keep to the standard lie in place.
#[derive(Clone, PartialEq, Eq, Hash)]
enum SerialBytes {
    InPlace(u8, [u8; SERIAL_IN_PLACE]),
    Long(Box<[u8]>),
}

impl Serial {
    /// Returns the bytes, most significant first. A leading zero byte is part of them.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            SerialBytes::InPlace(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or_default(),
            SerialBytes::Long(bytes) => bytes,
        }
    }

    /// Reads what `Display` writes.
    pub fn from_hex(text: &str) -> Option<Self> {
        let is_hex = text.bytes().all(|b| b.is_ascii_hexdigit());
        if text.is_empty() || text.len() % 2 == 1 || text.len() > 2 * MAX_SERIAL_BYTES || !is_hex {
            return None;
        }
        let bytes = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16));
        bytes.collect::<Result<Vec<_>, _>>().ok().map(|bytes| Self::of(&bytes))
    }

    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut place = [0; SERIAL_IN_PLACE];
        Self(match (u8::try_from(bytes.len()), place.get_mut(..bytes.len())) {
            (Ok(len), Some(start)) => {
                start.copy_from_slice(bytes);
                SerialBytes::InPlace(len, place)
            }
            _ => SerialBytes::Long(bytes.into()),
        })
    }
}

/// RFC 5280 section 4.1.2.2 allows 20; some authorities wrote more.
const MAX_SERIAL_BYTES: usize = 64;
/// One more than the 20 for the sign, and one that fills the last word.
const SERIAL_IN_PLACE: usize = 22;

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

struct Rest {
    key: KeptKey,
    facts: Facts,
}

/// What the leaf says about itself.
struct Facts {
    names: Box<[Name]>,
    /// In Unix time.
    not_before: i64,
    not_after: i64,
    serial: Serial,
}

impl Facts {
    fn read(leaf: &X509Certificate<'_>) -> Self {
        Self {
            names: names(leaf),
            not_before: leaf.validity().not_before.timestamp(),
            not_after: leaf.validity().not_after.timestamp(),
            serial: Serial::of(leaf.raw_serial()),
        }
    }
}

/// Puts the leaf first and its issuers behind it.
fn arrange(
    chain: Vec<CertificateDer<'static>>,
    spki: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, Facts), Error> {
    if chain.is_empty() {
        return Err(Kind::MissingCertificate.into());
    }
    let (order, facts) = {
        let parsed = chain
            .iter()
            .enumerate()
            .map(|(position, der)| parse(position, der))
            .collect::<Result<Vec<_>, _>>()?;
        let leaf = (0..parsed.len())
            .filter(|index| parsed[*index].public_key().raw == spki)
            // A key may have served before: of its certificates, the one that ends last counts.
            .max_by_key(|index| parsed[*index].validity().not_after.timestamp())
            .ok_or(Kind::KeyMismatch)?;
        (issuers(&parsed, leaf), Facts::read(&parsed[leaf]))
    };
    if order.len() < chain.len() {
        tracing::debug!(
            given = chain.len(),
            kept = order.len(),
            "left certificates out of a chain: roots or strangers"
        );
    }
    let mut slots = chain.into_iter().map(Some).collect::<Vec<_>>();
    // Sized at once: it is kept, and there are many.
    let mut chain = Vec::with_capacity(order.len());
    chain.extend(order.iter().filter_map(|index| slots[*index].take()));
    Ok((chain, facts))
}

/// Walks from the leaf to the last issuer that is at hand and is no root.
fn issuers(parsed: &[X509Certificate<'_>], leaf: usize) -> Vec<usize> {
    let mut order = vec![leaf];
    let mut current = leaf;
    let of_name = |of: usize, order: &[usize]| -> Vec<usize> {
        let fits = |index: &usize| {
            let candidate = &parsed[*index];
            !order.contains(index)
                && candidate.subject().as_raw() == parsed[of].issuer().as_raw()
                && candidate.subject().as_raw() != candidate.issuer().as_raw()
        };
        (0..parsed.len()).filter(fits).collect()
    };
    // An authority that changed its key may stand there twice under one name.
    while let Some(next) = {
        let named = of_name(current, &order);
        let signed = named.iter().find(|index| names_key(&parsed[current], &parsed[**index]));
        signed.or(named.first()).copied()
    } {
        order.push(next);
        current = next;
    }
    order
}

/// Whether a certificate says that this issuer's key signed it (RFC 5280 sections 4.2.1.1 and 4.2.1.2).
fn names_key(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    let wanted = certificate.iter_extensions().find_map(|it| match it.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(it) => it.key_identifier.as_ref(),
        _ => None,
    });
    let own = issuer.iter_extensions().find_map(|it| match it.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(it) => Some(it),
        _ => None,
    });
    wanted.is_some() && wanted == own
}

pub(crate) fn parse<'a>(
    position: usize,
    der: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, Error> {
    let malformed = |reason| Kind::MalformedCertificate { position, reason };
    let (rest, certificate) =
        x509_parser::parse_x509_certificate(der).map_err(|error| malformed(error.to_string()))?;
    if !rest.is_empty() {
        return Err(malformed("bytes follow after its end".to_owned()).into());
    }
    Ok(certificate)
}

pub(crate) fn names(leaf: &X509Certificate<'_>) -> Box<[Name]> {
    let Ok(Some(extension)) = leaf.subject_alternative_name() else {
        return Box::default();
    };
    extension
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(text) => text.parse().ok(),
            GeneralName::IPAddress(octets) => address(octets).map(Name::from),
            _ => None,
        })
        .collect()
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
pub(crate) fn to_system_time(time: x509_parser::time::ASN1Time) -> SystemTime {
    from_seconds(time.timestamp())
}

fn from_seconds(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    // X.509 knows the years 0 to 9999, all of which a 64-bit count of seconds can hold.
    let time = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}
