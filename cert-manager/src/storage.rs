//! Where everything lies that must outlive a process, or be shared by several.
//!
//! [`Storage`] has one primitive: replace a value if it still is the one that was read. All else is built from it: several
//! nodes share the work by a [`Lease`], what is written is refused if somebody wrote meanwhile, and [`Sealed`] encrypts what
//! passes. So whoever writes a store of their own can get no lock wrong; [`conformance`](crate::conformance) tells whether
//! it keeps its promises.
//!
//! | Store | For |
//! |---|---|
//! | [`DirectoryStore`] | one machine, also several processes |
//! | [`MemoryStore`] | tests, and what need not outlive the process |
//! | `RedisStore`, feature `redis` | several machines |
//! | [`Sealed`] around one of them | a store that must not learn private keys |
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! use cert_manager::storage::{MemoryStore, Storage};
//!
//! let store = MemoryStore::new();
//! let key = "holds/example".parse()?;
//! let first = store.put(&key, b"one", None).await?;
//! let second = store.put(&key, b"two", Some(first)).await?;
//! assert!(second > first);
//! assert!(store.put(&key, b"three", Some(first)).await.unwrap_err().is_conflict());
//! assert_eq!(*store.get(&key).await?.unwrap().value, *b"two");
//! # Ok::<(), cert_manager::Error>(()) }).unwrap();
//! ```

mod directory;
mod folder;
mod key;
mod lease;
mod memory;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod sealed;

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use zeroize::Zeroizing;

pub use crate::{error::StorageError, version::Version};

#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use self::redis::RedisStore;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "ring", feature = "aws-lc-rs"))))]
pub use self::sealed::{Sealed, SealingKeys};
pub use self::{
    directory::{DirectoryStore, Expect, Put},
    key::Key,
    lease::{Lease, Taken},
    memory::MemoryStore,
};

/// Keeps small objects, up to 1 MiB each, and replaces one only if it still is what the writer has read.
///
/// Contract:
///
/// - A write is all or nothing, also when the power fails, and is seen by every [`Storage::get`] that begins after it ended.
/// - Of several writers that expect the same version, one wins, and all others get [`StorageError::Conflict`].
/// - A version is greater than each earlier one of the same key, those before a deletion included.
/// - An error other than a conflict leaves open whether the write happened.
///
/// Calls go on side by side. None may hold a thread for long.
pub trait Storage: fmt::Debug + Send + Sync {
    /// Reads an object; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`StorageError::Damaged`] if there is one that cannot be used, which [`Storage::set_aside`] then moves out of the
    /// way. All other errors are no absence: a caller must not write a fresh object.
    fn get<'a>(&'a self, key: &'a Key) -> Work<'a, Option<Entry>>;

    /// Writes an object in place of the version `expected`, or of nothing.
    ///
    /// # Errors
    ///
    /// [`StorageError::Conflict`] if there is another version, or one where none is expected, or none where one is.
    fn put<'a>(
        &'a self,
        key: &'a Key,
        value: &'a [u8],
        expected: Option<Version>,
    ) -> Work<'a, Version>;

    /// Takes an object away if it still has this version.
    ///
    /// # Errors
    ///
    /// As [`Storage::put`]; that there is none any more is a conflict too.
    fn delete<'a>(&'a self, key: &'a Key, version: Version) -> Work<'a, ()>;

    /// Lists all keys below a folder, such as `certificates`; with an empty text all keys. In any order, without those that
    /// were set aside.
    fn list<'a>(&'a self, folder: &'a str) -> Work<'a, Vec<Key>>;

    /// Reads many objects, and answers in the order of the keys, each as [`Storage::get`] does.
    ///
    /// One after the other by default; override it where a store can do better. A manager reads a thousand at a time when it
    /// starts.
    ///
    /// # Errors
    ///
    /// If none could be read.
    fn get_many<'a>(&'a self, keys: &'a [Key]) -> Work<'a, Vec<Found>> {
        Box::pin(async move {
            let mut found = Vec::with_capacity(keys.len());
            for key in keys {
                found.push(self.get(key).await);
            }
            Ok(found)
        })
    }

    /// Moves an object that cannot be used out of the way, if it still has this version, and says where it lies now.
    ///
    /// Does it by the other calls; override it where an object may be so damaged that they fail.
    fn set_aside<'a>(&'a self, key: &'a Key, version: Version) -> Work<'a, String> {
        Box::pin(async move {
            let Some(entry) = self.get(key).await?.filter(|entry| entry.version == version) else {
                return Err(StorageError::Conflict);
            };
            let target = key.set_aside(version);
            match self.put(&target, &entry.value, None).await {
                // Done before, and cut short before the deletion.
                Ok(_) | Err(StorageError::Conflict) => {}
                Err(error) => return Err(error),
            }
            self.delete(key, version).await?;
            Ok(target.to_string())
        })
    }
}

/// What a [`Storage`] does.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, StorageError>> + Send + 'a>>;

/// What [`Storage::get_many`] says of one key.
pub type Found = Result<Option<Entry>, StorageError>;

impl<S: Storage + ?Sized> Storage for Arc<S> {
    fn get<'a>(&'a self, key: &'a Key) -> Work<'a, Option<Entry>> {
        (**self).get(key)
    }

    fn put<'a>(
        &'a self,
        key: &'a Key,
        value: &'a [u8],
        expected: Option<Version>,
    ) -> Work<'a, Version> {
        (**self).put(key, value, expected)
    }

    fn delete<'a>(&'a self, key: &'a Key, version: Version) -> Work<'a, ()> {
        (**self).delete(key, version)
    }

    fn list<'a>(&'a self, folder: &'a str) -> Work<'a, Vec<Key>> {
        (**self).list(folder)
    }

    fn get_many<'a>(&'a self, keys: &'a [Key]) -> Work<'a, Vec<Found>> {
        (**self).get_many(keys)
    }

    fn set_aside<'a>(&'a self, key: &'a Key, version: Version) -> Work<'a, String> {
        (**self).set_aside(key, version)
    }
}

/// An object as it was read. `Debug` never shows the value, which may be a private key.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// What was written.
    pub value: Zeroizing<Vec<u8>>,
    /// What a write in its place has to expect.
    pub version: Version,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("bytes", &self.value.len())
            .field("version", &self.version)
            .finish()
    }
}

/// The largest value, in bytes. What wraps a store, such as [`Sealed`], may take 1 KiB less.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;

fn check_size(key: &Key, value: &[u8]) -> Result<(), StorageError> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(StorageError::TooLarge { key: key.to_string(), bytes: value.len() });
    }
    Ok(())
}
