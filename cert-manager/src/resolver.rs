use std::{collections::HashMap, fmt, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{
    certificate::Certificate,
    error::{Error, Kind},
    name::{MAX_NAME_BYTES, Name},
};

/// Picks the certificate of a TLS handshake by the name that the client asks for.
///
/// In this order: the exact name; a wildcard over its first label; the default certificate, if one
/// was set; else the handshake is refused, so that nobody is shown another tenant's certificate.
/// A client that asks for no name gets the default or is refused. A client that offers `acme-tls/1` alone is an authority,
/// and gets the answer to a challenge or is refused.
///
/// A lookup takes no lock and allocates nothing. A change replaces the whole table at once: new
/// handshakes see it, running connections keep what they have. Each change copies the table, about
/// 0.7 ms at 10,000 names, so make many changes with one call.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use cert_manager::{PrivateCa, Profile, Resolver};
///
/// # fn main() -> Result<(), cert_manager::Error> {
/// let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
/// let ca = PrivateCa::generate("Example CA", now)?;
/// let resolver = Resolver::new();
/// resolver.insert(ca.issue(&["*.example.jp".parse()?], Profile::server(), now)?)?;
///
/// assert!(resolver.knows(Some("App.example.jp")));
/// assert!(!resolver.knows(Some("example.jp")));
/// assert!(!resolver.knows(None));
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Resolver {
    table: ArcSwap<Table>,
    /// For authorities that validate names, by the name that they ask for.
    challenges: ArcSwap<HashMap<Box<str>, Certificate>>,
}

impl Resolver {
    /// Makes a resolver that knows no name. The `Arc` is what rustls and the manager share.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Replaces all certificates by these. The default stays.
    ///
    /// # Errors
    ///
    /// [`Error::is_name_conflict`] if two carry the same name, or one carries none; nothing is
    /// changed then.
    pub fn set(&self, certificates: impl IntoIterator<Item = Certificate>) -> Result<(), Error> {
        let entries = entries(certificates)?;
        self.update(|table| table.entries.clone_from(&entries));
        Ok(())
    }

    /// Serves a certificate for all of its names, in place of what served them before.
    ///
    /// # Errors
    ///
    /// If the certificate carries no name.
    pub fn insert(&self, certificate: Certificate) -> Result<(), Error> {
        self.insert_all([certificate])
    }

    /// Serves many certificates with one change, each as by [`Resolver::insert`].
    ///
    /// # Errors
    ///
    /// As [`Resolver::set`]; nothing is changed then.
    pub fn insert_all(
        &self,
        certificates: impl IntoIterator<Item = Certificate>,
    ) -> Result<(), Error> {
        let entries = entries(certificates)?;
        if !entries.is_empty() {
            self.update(|table| {
                let new = entries.iter();
                table.entries.extend(new.map(|(name, entry)| (name.clone(), entry.clone())));
            });
        }
        Ok(())
    }

    /// Stops serving these names. Others of the same certificates stay.
    pub fn remove(&self, names: &[Name]) {
        self.update(|table| {
            for name in names {
                table.entries.remove(name.as_str());
            }
        });
    }

    /// Sets what clients get that ask for no name, or for one that is not known; `None` refuses
    /// them, and is what a new resolver does.
    ///
    /// Clients that dial an IP address ask for no name (RFC 6066 section 3).
    ///
    /// # Security
    ///
    /// Anyone can see this certificate. Where several tenants share a listener, set none.
    pub fn set_default(&self, certificate: impl Into<Option<Certificate>>) {
        let certificate = certificate.into();
        self.update(|table| table.default.clone_from(&certificate));
    }

    /// Returns all names, sorted.
    pub fn names(&self) -> Vec<Name> {
        let table = self.table.load();
        let mut names = table.entries.values().map(|entry| entry.name.clone()).collect::<Vec<_>>();
        names.sort_unstable();
        names
    }

    /// Returns the certificate that a client gets which asks for `server_name`.
    pub fn get(&self, server_name: Option<&str>) -> Option<Certificate> {
        self.table.load().find(server_name).cloned()
    }

    /// Says whether a client that asks for `server_name` gets a certificate.
    ///
    /// For acceptors that look at the hello first: if not, they can send
    /// [`UNRECOGNIZED_NAME_ALERT`](crate::presets::UNRECOGNIZED_NAME_ALERT).
    pub fn knows(&self, server_name: Option<&str>) -> bool {
        self.table.load().find(server_name).is_some()
    }

    /// Answers a challenge by TLS-ALPN-01, or stops to. Such a certificate is shown to nobody else.
    #[cfg(all(feature = "acme", any(feature = "ring", feature = "aws-lc-rs")))]
    pub(crate) fn set_challenge(&self, server_name: &str, certificate: Option<&Certificate>) {
        self.challenges.rcu(|challenges| {
            let mut challenges = HashMap::clone(challenges);
            match certificate {
                Some(certificate) => challenges.insert(server_name.into(), certificate.clone()),
                None => challenges.remove(server_name),
            };
            challenges
        });
    }

    fn update(&self, change: impl Fn(&mut Table)) {
        // Writers are few; one that loses the race applies its change to the winner's table.
        self.table.rcu(|table| {
            let mut table = Table::clone(table);
            change(&mut table);
            table
        });
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // RFC 8737 section 3: the only protocol, or none of it.
        let mut protocols = client_hello.alpn().into_iter().flatten();
        if (protocols.next(), protocols.next()) == (Some(b"acme-tls/1"), None) {
            let challenges = self.challenges.load();
            let certificate = challenges.get(client_hello.server_name()?)?;
            return Some(certificate.certified_key());
        }
        let table = self.table.load();
        let found = table.find(client_hello.server_name());
        found.map(Certificate::certified_key)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table.load();
        f.debug_struct("Resolver")
            .field("names", &table.entries.len())
            .field("has_default", &table.default.is_some())
            .field("challenges", &self.challenges.load().len())
            .finish()
    }
}

#[derive(Clone, Default)]
struct Table {
    entries: HashMap<Arc<str>, Entry>,
    default: Option<Certificate>,
}

impl Table {
    fn find(&self, server_name: Option<&str>) -> Option<&Certificate> {
        server_name.and_then(|name| self.find_name(name)).or(self.default.as_ref())
    }

    fn find_name(&self, name: &str) -> Option<&Certificate> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let mut buffer = [0; MAX_NAME_BYTES];
        let lower = buffer.get_mut(..name.len())?;
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        if let Some(entry) = self.entries.get(str::from_utf8(lower).ok()?) {
            // A star is a pattern, not a name that a client may ask for.
            return (!entry.name.is_wildcard()).then_some(&entry.certificate);
        }
        // `app.example.jp` becomes `*.example.jp` in place: the star overwrites the byte before
        // the first dot. A name that starts with a dot has no such byte.
        let star = lower.iter().position(|byte| *byte == b'.')?.checked_sub(1)?;
        lower[star] = b'*';
        let wildcard = str::from_utf8(&lower[star..]).ok()?;
        self.entries.get(wildcard).map(|entry| &entry.certificate)
    }
}

#[derive(Clone)]
struct Entry {
    name: Name,
    certificate: Certificate,
}

fn entries(
    certificates: impl IntoIterator<Item = Certificate>,
) -> Result<HashMap<Arc<str>, Entry>, Error> {
    let mut entries = HashMap::new();
    for certificate in certificates {
        if certificate.names().is_empty() {
            return Err(Kind::NoNames.into());
        }
        for name in certificate.names() {
            let entry = Entry { name: name.clone(), certificate: certificate.clone() };
            let previous = entries.insert(name.shared_text(), entry);
            // A certificate may well repeat a name; two that share one are a conflict.
            if previous.is_some_and(|other| other.certificate.serial() != certificate.serial()) {
                return Err(Kind::NameConflict(name.to_string()).into());
            }
        }
    }
    Ok(entries)
}
