use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::{BuildHasher, Hasher},
    hint::black_box,
    sync::Arc,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use foldhash::quality::RandomState;
use hashbrown::{HashTable, hash_table};
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
/// A lookup takes no lock and allocates nothing. A change is seen by new handshakes at once, name by name; running
/// connections keep what they have. Names lie in 256 parts, and a change copies those that it touches, so make many
/// changes with one call.
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
pub struct Resolver {
    /// Each name lies in one of them, by its hash.
    parts: Box<[ArcSwap<Part>]>,
    hasher: RandomState,
    default: ArcSwapOption<Certificate>,
    /// For authorities that validate names, by the name that they ask for.
    challenges: ArcSwap<HashMap<Box<str>, Certificate>>,
}

impl Resolver {
    /// Makes a resolver that knows no name. The `Arc` is what rustls and the manager share.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            parts: (0..PARTS).map(|_| ArcSwap::default()).collect(),
            hasher: RandomState::default(),
            default: ArcSwapOption::empty(),
            challenges: ArcSwap::default(),
        })
    }

    /// Replaces all certificates by these. The default stays.
    ///
    /// # Errors
    ///
    /// [`Error::is_name_conflict`] if two carry the same name, or one carries none; nothing is
    /// changed then.
    pub fn set(&self, certificates: impl IntoIterator<Item = Certificate>) -> Result<(), Error> {
        let mut new = self.by_part(entries(certificates)?);
        for (index, part) in self.parts.iter().enumerate() {
            let mut entries = Part::default();
            new.remove(&index)
                .into_iter()
                .flatten()
                .for_each(|entry| self.put(&mut entries, entry));
            part.store(Arc::new(entries));
        }
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
        for (index, new) in self.by_part(entries(certificates)?) {
            update(&self.parts[index], |entries| {
                for entry in &new {
                    self.put(entries, entry.clone());
                }
            });
        }
        Ok(())
    }

    /// Stops serving these names. Others of the same certificates stay.
    pub fn remove(&self, names: &[Name]) {
        for name in names {
            let hash = self.hash(key(name));
            update(self.part(hash), |entries| {
                if let Ok(found) = entries.find_entry(hash, |entry| entry.name == *name) {
                    found.remove();
                }
            });
        }
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
        self.default.store(certificate.into().map(Arc::new));
    }

    /// Returns all names, sorted.
    pub fn names(&self) -> Vec<Name> {
        let mut names = Vec::new();
        for part in &self.parts {
            names.extend(part.load().iter().map(|entry| entry.name.clone()));
        }
        names.sort_unstable();
        names
    }

    /// Returns the certificate that a client gets which asks for `server_name`.
    pub fn get(&self, server_name: Option<&str>) -> Option<Certificate> {
        self.find(server_name, Certificate::clone)
    }

    /// Says whether a client that asks for `server_name` gets a certificate.
    ///
    /// For acceptors that look at the hello first: if not, they can send
    /// [`UNRECOGNIZED_NAME_ALERT`](crate::presets::UNRECOGNIZED_NAME_ALERT).
    pub fn knows(&self, server_name: Option<&str>) -> bool {
        self.find(server_name, |_| ()).is_some()
    }

    /// As [`Resolver::get`], without the default.
    #[cfg(all(feature = "tokio", any(feature = "ring", feature = "aws-lc-rs")))]
    pub(crate) fn get_own(&self, server_name: &str) -> Option<Certificate> {
        self.find_name(server_name, Certificate::clone)
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

    /// The answer to a challenge by TLS-ALPN-01.
    #[cfg(all(feature = "acme", any(feature = "ring", feature = "aws-lc-rs")))]
    pub(crate) fn challenge(&self, server_name: &str) -> Option<Certificate> {
        self.challenges.load().get(server_name).cloned()
    }

    /// Hands on the certificate for a client that asks for `server_name`.
    fn find<T>(&self, server_name: Option<&str>, take: impl Fn(&Certificate) -> T) -> Option<T> {
        let found = server_name.and_then(|name| self.find_name(name, &take));
        found.or_else(|| self.default.load().as_deref().map(take))
    }

    fn find_name<T>(&self, name: &str, take: impl Fn(&Certificate) -> T) -> Option<T> {
        let name = name.strip_suffix('.').unwrap_or(name);
        // rustls hands names on in lower case; others may not. All bytes are looked at: that takes fewer steps.
        if !name.bytes().fold(false, |any, byte| any | byte.is_ascii_uppercase()) {
            return self.find_lower(name, take);
        }
        let mut buffer = [0; MAX_NAME_BYTES];
        let lower = buffer.get_mut(..name.len())?;
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        self.find_lower(str::from_utf8(lower).ok()?, take)
    }

    fn find_lower<T>(&self, name: &str, take: impl Fn(&Certificate) -> T) -> Option<T> {
        // A star is a pattern, not a name that a client may ask for; neither is what wildcards lie under.
        if matches!(name.as_bytes(), [b'*' | b'.', ..]) {
            return None;
        }
        let found = self.find_key(name, &take);
        found.or_else(|| self.find_key(&name[name.find('.')?..], &take))
    }

    fn find_key<T>(&self, wanted: &str, take: impl Fn(&Certificate) -> T) -> Option<T> {
        let wanted = wanted.as_bytes();
        let hash = self.hash(wanted);
        let part = self.part(hash).load();
        if part.num_buckets() >= LARGE {
            // Most lie where their hash points. Whoever touches that place waits for the table's index and for the entry at
            // once, and not for one after the other.
            #[expect(clippy::cast_possible_truncation, reason = "as the table does it")]
            let near = part.get_bucket(hash as usize & (part.num_buckets() - 1));
            black_box(near.map(|entry| entry.name.as_bytes().len()));
        }
        part.find(hash, |entry| key(&entry.name) == wanted).map(|entry| take(&entry.certificate))
    }

    fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        hasher.finish()
    }

    fn part(&self, hash: u64) -> &ArcSwap<Part> {
        // INVARIANT: there are as many parts as the remainder has values.
        &self.parts[part_index(hash)]
    }

    /// By the number of the part in which they belong.
    fn by_part(&self, entries: HashMap<Name, Certificate>) -> BTreeMap<usize, Vec<Entry>> {
        let mut parts = BTreeMap::<_, Vec<_>>::new();
        for (name, certificate) in entries {
            let index = part_index(self.hash(key(&name)));
            parts.entry(index).or_default().push(Entry { name, certificate });
        }
        parts
    }

    fn put(&self, part: &mut Part, new: Entry) {
        let is_same = |entry: &Entry| entry.name == new.name;
        match part.entry(self.hash(key(&new.name)), is_same, |entry| self.hash(key(&entry.name))) {
            hash_table::Entry::Occupied(mut found) => *found.get_mut() = new,
            hash_table::Entry::Vacant(free) => drop(free.insert(new)),
        }
    }
}

/// What a name lies under. A wildcard lies under what follows its star, which begins with a dot as no other name does: so
/// that a look-up has to write nothing.
fn key(name: &Name) -> &[u8] {
    let text = name.as_bytes();
    text.strip_prefix(b"*").unwrap_or(text)
}

fn part_index(hash: u64) -> usize {
    // A table uses the bits at both ends itself.
    usize::from(hash.to_le_bytes()[4])
}

fn update(part: &ArcSwap<Part>, change: impl Fn(&mut Part)) {
    // Writers are few; one that loses the race applies its change to the winner's table.
    part.rcu(|entries| {
        let mut entries = Part::clone(entries);
        change(&mut entries);
        entries
    });
}

/// Whether an authority asks for the answer to a challenge.
pub(crate) fn is_challenge(client_hello: &ClientHello<'_>) -> bool {
    // RFC 8737 section 3: the only protocol, or none of it.
    let mut protocols = client_hello.alpn().into_iter().flatten();
    (protocols.next(), protocols.next()) == (Some(b"acme-tls/1"), None)
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if is_challenge(&client_hello) {
            let challenges = self.challenges.load();
            let certificate = challenges.get(client_hello.server_name()?)?;
            return Some(certificate.certified_key());
        }
        self.find(client_hello.server_name(), Certificate::certified_key)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.parts.iter().map(|part| part.load().len()).sum::<usize>();
        f.debug_struct("Resolver")
            .field("names", &names)
            .field("has_default", &self.default.load().is_some())
            .field("challenges", &self.challenges.load().len())
            .finish_non_exhaustive()
    }
}

/// Smaller tables lie in the processor's own memory.
const LARGE: usize = 1024;

/// Names whose hashes are alike. The hash is keyed, because clients choose what is looked up.
///
/// Entries lie in the table itself. A look-up in a large one waits for memory more than for all else: for the table's index, for
/// the entry, and for the count of what is handed out.
type Part = HashTable<Entry>;

#[derive(Clone)]
struct Entry {
    name: Name,
    certificate: Certificate,
}

fn entries(
    certificates: impl IntoIterator<Item = Certificate>,
) -> Result<HashMap<Name, Certificate>, Error> {
    let mut entries = HashMap::<_, Certificate>::new();
    for certificate in certificates {
        if certificate.names().is_empty() {
            return Err(Kind::NoNames.into());
        }
        for name in certificate.names() {
            let previous = entries.insert(name.clone(), certificate.clone());
            // A certificate may well repeat a name; two that share one are a conflict.
            if previous.is_some_and(|other| other.serial() != certificate.serial()) {
                return Err(Kind::NameConflict(name.to_string()).into());
            }
        }
    }
    Ok(entries)
}

/// A change copies one of them: 4,000 names where there are a million.
const PARTS: usize = 256;
