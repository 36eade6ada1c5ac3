use std::{collections::BTreeMap, fmt, sync::Arc};

#[cfg(not(feature = "ring"))]
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
#[cfg(feature = "ring")]
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::crypto::CryptoProvider;
use zeroize::Zeroizing;

use crate::{
    error::{Error, Kind, StorageError},
    key::default_provider,
    storage::{Entry, Found, Key, Storage, Version, Work},
};

/// Encrypts what goes into another store, with AES-256-GCM: whoever reads the store learns sizes and names of objects, and no
/// key; whoever changes it or moves an object to another name is found out.
///
/// The name of the object is the associated data, so that objects cannot change places. Versions and names stay in the clear,
/// and an older value of the same object cannot be told from the newest one.
///
/// To change the key, put a new one in front: [`SealingKeys::with_previous`] still opens what the old one sealed, and each
/// write is by the new one. When [`Storage::list`] and a rewrite have touched all, leave the old one out. What is sealed with
/// a key that is not in the ring is [`StorageError::Locked`], and is left where it is.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use cert_manager::storage::{MemoryStore, Sealed, SealingKeys, Storage};
///
/// let inner = Arc::new(MemoryStore::new());
/// let store = Sealed::new(inner.clone(), SealingKeys::new("2027", &[7; 32])?);
/// let key = "accounts/example".parse()?;
/// store.put(&key, b"a private key", None).await?;
/// assert_eq!(*store.get(&key).await?.unwrap().value, *b"a private key");
/// assert!(!inner.get(&key).await?.unwrap().value.windows(7).any(|it| it == b"private"));
/// # Ok::<(), cert_manager::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Sealed<S> {
    inner: S,
    keys: SealingKeys,
    provider: CryptoProvider,
    accepts_unsealed: bool,
}

impl<S: Storage> Sealed<S> {
    /// Seals what goes into `inner`.
    pub fn new(inner: S, keys: SealingKeys) -> Self {
        Self { inner, keys, provider: default_provider(), accepts_unsealed: false }
    }

    /// Also reads what was written before the store was sealed.
    ///
    /// # Security
    ///
    /// Whoever can write to the store can then put anything there. Use it once, while everything is rewritten.
    #[must_use]
    pub fn danger_accept_unsealed(mut self) -> Self {
        self.accepts_unsealed = true;
        self
    }

    fn seal(&self, key: &Key, value: &[u8]) -> Result<Vec<u8>, StorageError> {
        let mut nonce = [0; NONCE_LEN];
        let failed = |_| StorageError::unavailable("the source of randomness failed");
        self.provider.secure_random.fill(&mut nonce).map_err(failed)?;
        let (id, sealing) = (&self.keys.current, self.keys.current());
        let mut body = Zeroizing::new(value.to_vec());
        let tag = sealing
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(key.as_str().as_bytes()),
                &mut body,
            )
            .map_err(|_| StorageError::TooLarge { key: key.to_string(), bytes: value.len() })?;
        let head = format!("{MAGIC}{id}\n");
        Ok([head.as_bytes(), &nonce, &body, tag.as_ref()].concat())
    }

    fn open(&self, key: &Key, entry: Entry) -> Result<Entry, StorageError> {
        let version = entry.version;
        let damaged = |reason| StorageError::Damaged { key: key.to_string(), version, reason };
        let Some(rest) = entry.value.strip_prefix(MAGIC.as_bytes()) else {
            return if self.accepts_unsealed {
                Ok(entry)
            } else {
                Err(damaged("it is not sealed"))
            };
        };
        let end = rest.iter().position(|byte| *byte == b'\n');
        let Some((id, rest)) = end.and_then(|end| Some((&rest[..end], rest.get(end + 1..)?)))
        else {
            return Err(damaged("its head is cut"));
        };
        let id = str::from_utf8(id).map_err(|_| damaged("its head is broken"))?;
        let Some(opening) = self.keys.keys.get(id) else {
            let (key, key_id) = (key.to_string(), id.to_owned());
            return Err(StorageError::Locked { key, key_id });
        };
        let Some((nonce, body)) = rest.split_first_chunk::<NONCE_LEN>() else {
            return Err(damaged("it is cut"));
        };
        let mut body = Zeroizing::new(body.to_vec());
        let aad = Aad::from(key.as_str().as_bytes());
        let len = opening
            .open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut body)
            .map_err(|_| damaged("it was changed, or is another object's"))?
            .len();
        body.truncate(len);
        Ok(Entry { value: body, version })
    }
}

impl<S: Storage> Storage for Sealed<S> {
    fn get<'a>(&'a self, key: &'a Key) -> Work<'a, Option<Entry>> {
        Box::pin(async move {
            let entry = self.inner.get(key).await?;
            entry.map(|entry| self.open(key, entry)).transpose()
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a Key,
        value: &'a [u8],
        expected: Option<Version>,
    ) -> Work<'a, Version> {
        Box::pin(async move {
            let sealed = self.seal(key, value)?;
            self.inner.put(key, &sealed, expected).await
        })
    }

    fn delete<'a>(&'a self, key: &'a Key, version: Version) -> Work<'a, ()> {
        self.inner.delete(key, version)
    }

    fn list<'a>(&'a self, folder: &'a str) -> Work<'a, Vec<Key>> {
        self.inner.list(folder)
    }

    fn get_many<'a>(&'a self, keys: &'a [Key]) -> Work<'a, Vec<Found>> {
        Box::pin(async move {
            let found = self.inner.get_many(keys).await?;
            let open = |(key, found): (&Key, Found)| {
                found.and_then(|entry| entry.map(|entry| self.open(key, entry)).transpose())
            };
            Ok(keys.iter().zip(found).map(open).collect())
        })
    }

    fn set_aside<'a>(&'a self, key: &'a Key, version: Version) -> Work<'a, String> {
        self.inner.set_aside(key, version)
    }
}

/// The keys that a [`Sealed`] store knows: one seals, all open.
#[derive(Clone)]
pub struct SealingKeys {
    current: String,
    keys: BTreeMap<String, Arc<LessSafeKey>>,
}

impl SealingKeys {
    /// Seals with a key of 32 random bytes. Keep it elsewhere than what it seals. `id` says later which key it was: up to 32
    /// letters, digits, `-` and `_`.
    ///
    /// One key may seal some four billion objects.
    ///
    /// # Errors
    ///
    /// If `id` is refused.
    pub fn new(id: &str, key: &[u8; 32]) -> Result<Self, Error> {
        let keys = Self { current: id.to_owned(), keys: BTreeMap::new() };
        keys.with_previous(id, key)
    }

    /// Also opens what this key sealed.
    ///
    /// # Errors
    ///
    /// If `id` is refused, or is another key's.
    pub fn with_previous(mut self, id: &str, key: &[u8; 32]) -> Result<Self, Error> {
        let is_plain = (1..=32).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| Kind::SealingKey);
        if !is_plain || self.keys.contains_key(id) {
            return Err(Kind::SealingKey.into());
        }
        self.keys.insert(id.to_owned(), Arc::new(LessSafeKey::new(key?)));
        Ok(self)
    }

    fn current(&self) -> &LessSafeKey {
        // INVARIANT: the first key was put in under this name, and none is taken out.
        &self.keys[&self.current]
    }
}

impl fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKeys")
            .field("current", &self.current)
            .field("ids", &self.keys.keys())
            .finish()
    }
}

/// What begins each sealed value; the id of the key and a line end follow, then nonce, text and tag.
const MAGIC: &str = "sealed 1 ";
