use std::{io, path::PathBuf, sync::Arc};

use zeroize::Zeroizing;

use crate::{
    error::{Error, Kind, StorageError},
    storage::{
        Entry, Found, Key, Storage, Version, Work, check_size,
        folder::{Folder, failed},
        key::QUARANTINE,
    },
};

/// Keeps small objects as files in one folder, so that a restart finds them again. Several processes may share it.
///
/// A file holds the value and nothing else: PEM is PEM. A write is all or nothing, also when the power fails: temporary file,
/// `fsync`, rename, `fsync` of the folder. Files are made 0600 and folders 0700.
///
/// As a [`Storage`], the version of an object is its file's time of change, in microseconds, which each write sets to one
/// greater than before; whoever edits a file by hand makes a new version. Writers of all processes take turns by a lock on
/// the file `.lock` (`flock`; elsewhere than on Unix, one process only may write), whose own time is the greatest version of all
/// objects that went, so that their successors come after them. Do not share the folder over NFS.
///
/// Its own calls, such as [`DirectoryStore::load`], do the same without `async` and without versions.
///
/// What cannot be read is never deleted: [`DirectoryStore::quarantine`] moves it aside.
///
/// ```
/// use cert_manager::{DirectoryStore, Expect, Put};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let store = DirectoryStore::open(folder.path().join("state"))?;
/// assert_eq!(store.keep("ca/example", b"one", Expect::Absent)?, Put::Stored);
/// assert_eq!(store.keep("ca/example", b"two", Expect::Absent)?, Put::Conflict);
/// assert_eq!(store.load("ca/example")?.unwrap().as_slice(), b"one");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DirectoryStore(Arc<Folder>);

impl DirectoryStore {
    /// Opens a folder, making it if it does not exist. Temporary files of processes that were killed, which may hold
    /// keys, are removed: those older than 10 minutes.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, Error> {
        Ok(Self(Arc::new(Folder::open(root.into())?)))
    }

    /// Reads an object; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// [`Error::is_store`] if the file is there but cannot be read. That is not absence: a caller
    /// must not write a fresh object over it.
    pub fn load(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        Ok(self.0.read(&not_set_aside(name)?)?.map(|entry| entry.value))
    }

    /// Writes an object, if the store holds what is expected.
    pub fn keep(&self, name: &str, value: &[u8], expect: Expect) -> Result<Put, Error> {
        let key = not_set_aside(name)?;
        let is_wanted = |found: Option<Version>| expect == Expect::Any || found.is_none();
        let done = self.0.write(&key, value, is_wanted)?;
        Ok(if done.is_some() { Put::Stored } else { Put::Conflict })
    }

    /// Takes an object away. That there is none is no error.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        self.0.remove(&not_set_aside(name)?, |_| true).map(drop)
    }

    /// Moves an object that cannot be used into the folder `quarantine` and returns where it is.
    pub fn quarantine(&self, name: &str) -> Result<PathBuf, Error> {
        let key = not_set_aside(name)?;
        let moved = self.0.move_aside(&key, |_| true)?;
        moved.ok_or_else(|| failed("move", &self.0.path(&key))(io::ErrorKind::NotFound.into()))
    }

    /// Does what may block on a thread for that, if there is a runtime that has them.
    fn run<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Folder) -> Result<T, StorageError> + Send + 'static,
    ) -> Work<'_, T> {
        #[cfg(feature = "tokio")]
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let folder = Arc::clone(&self.0);
            return Box::pin(async move {
                let done = runtime.spawn_blocking(move || act(&folder)).await;
                done.unwrap_or_else(|error| Err(StorageError::unavailable(error)))
            });
        }
        Box::pin(async move { act(&self.0) })
    }
}

impl Storage for DirectoryStore {
    fn get<'a>(&'a self, key: &'a Key) -> Work<'a, Option<Entry>> {
        let key = key.clone();
        self.run(move |folder| folder.get(&key))
    }

    fn get_many<'a>(&'a self, keys: &'a [Key]) -> Work<'a, Vec<Found>> {
        let keys = keys.to_vec();
        self.run(move |folder| Ok(keys.iter().map(|key| folder.get(key)).collect()))
    }

    fn put<'a>(
        &'a self,
        key: &'a Key,
        value: &'a [u8],
        expected: Option<Version>,
    ) -> Work<'a, Version> {
        let (key, value) = (key.clone(), Zeroizing::new(value.to_vec()));
        self.run(move |folder| {
            check_size(&key, &value)?;
            let done = folder.write(&key, &value, |found| found == expected);
            done.map_err(StorageError::unavailable)?.ok_or(StorageError::Conflict)
        })
    }

    fn delete<'a>(&'a self, key: &'a Key, version: Version) -> Work<'a, ()> {
        let key = key.clone();
        self.run(move |folder| {
            let done = folder.remove(&key, |found| found == version);
            let is_done = done.map_err(StorageError::unavailable)?;
            if is_done { Ok(()) } else { Err(StorageError::Conflict) }
        })
    }

    fn list<'a>(&'a self, folder: &'a str) -> Work<'a, Vec<Key>> {
        let below = folder.to_owned();
        self.run(move |folder| folder.list(&below).map_err(StorageError::unavailable))
    }

    fn set_aside<'a>(&'a self, key: &'a Key, version: Version) -> Work<'a, String> {
        let key = key.clone();
        self.run(move |folder| {
            let moved = folder.move_aside(&key, |found| found == version);
            let moved = moved.map_err(StorageError::unavailable)?.ok_or(StorageError::Conflict)?;
            Ok(moved.display().to_string())
        })
    }
}

/// What a write expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expect {
    /// Nothing under that name.
    Absent,
    /// Whatever there is.
    Any,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Put {
    /// The value is safe on disk.
    Stored,
    /// The store held something else than expected and was left as it is.
    Conflict,
}

fn not_set_aside(name: &str) -> Result<Key, Error> {
    let key: Key = name.parse()?;
    if key.as_str() == QUARANTINE || key.is_set_aside() {
        return Err(Kind::ObjectName(name.to_owned()).into());
    }
    Ok(key)
}
