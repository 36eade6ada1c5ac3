use std::{
    fs, io,
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use zeroize::Zeroizing;

use crate::error::{Error, Kind};

/// Keeps small objects as files in one folder, so that a restart finds them again.
///
/// Names are lower case, `/` separates folders, components are `[a-z0-9_-]` and dots inside.
/// Values are up to 1 MiB. A write is all or nothing, also when the power fails: temporary file,
/// `fsync`, rename, `fsync` of the folder. Files are made 0600 and folders 0700.
///
/// What cannot be read is never deleted: [`DirectoryStore::quarantine`] moves it aside.
///
/// ```
/// use cert_manager::{DirectoryStore, Expect, Put};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let store = DirectoryStore::open(folder.path().join("state"))?;
/// assert_eq!(store.put("ca/example", b"one", Expect::Absent)?, Put::Stored);
/// assert_eq!(store.put("ca/example", b"two", Expect::Absent)?, Put::Conflict);
/// assert_eq!(store.load("ca/example")?.unwrap().as_slice(), b"one");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DirectoryStore {
    root: PathBuf,
    temporary: AtomicU64,
}

impl DirectoryStore {
    /// Opens a folder, making it if it does not exist.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let root = root.into();
        create_folder(&root)?;
        Ok(Self { root, temporary: AtomicU64::new(0) })
    }

    /// Reads an object; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// [`Error::is_store`] if the file is there but cannot be read. That is not absence: a caller
    /// must not write a fresh object over it.
    pub fn load(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let path = self.path(name)?;
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed("open", &path)(source)),
        };
        warn_if_open_to_others(&file, &path);
        let mut value = Zeroizing::new(Vec::new());
        file.take(MAX_VALUE_BYTES + 1).read_to_end(&mut value).map_err(failed("read", &path))?;
        if value.len() as u64 > MAX_VALUE_BYTES {
            return Err(failed("read", &path)(io::ErrorKind::FileTooLarge.into()));
        }
        Ok(Some(value))
    }

    /// Writes an object, if the store holds what is expected.
    pub fn put(&self, name: &str, value: &[u8], expect: Expect) -> Result<Put, Error> {
        let path = self.path(name)?;
        if value.len() as u64 > MAX_VALUE_BYTES {
            return Err(failed("write", &path)(io::ErrorKind::FileTooLarge.into()));
        }
        let folder = path.parent().unwrap_or(&self.root);
        create_folder(folder)?;
        let temporary = self.write_temporary(folder, value)?;
        let put = match expect {
            Expect::Any => fs::rename(&temporary, &path).map(|()| Put::Stored),
            // A link fails where a rename would silently replace.
            Expect::Absent => match fs::hard_link(&temporary, &path) {
                Ok(()) => Ok(Put::Stored),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Put::Conflict),
                Err(error) => Err(error),
            },
        };
        if !(expect == Expect::Any && put.is_ok()) {
            // Not worth failing for: it is a stray file of the same mode.
            let _ = fs::remove_file(&temporary);
        }
        let put = put.map_err(failed("replace", &path))?;
        sync_folder(folder)?;
        Ok(put)
    }

    /// Takes an object away. That there is none is no error.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.path(name)?;
        match fs::remove_file(&path) {
            Ok(()) => sync_folder(path.parent().unwrap_or(&self.root)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(failed("remove", &path)(source)),
        }
    }

    /// Moves an object that cannot be used into the folder `quarantine` and returns where it is.
    pub fn quarantine(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path(name)?;
        let folder = self.root.join(QUARANTINE);
        create_folder(&folder)?;
        let flat = name.replace('/', "__");
        for attempt in 0..MAX_QUARANTINED {
            let target = folder.join(format!("{flat}.{attempt}"));
            match fs::hard_link(&path, &target) {
                Ok(()) => {
                    fs::remove_file(&path).map_err(failed("move", &path))?;
                    sync_folder(&folder)?;
                    return Ok(target);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(failed("move", &path)(source)),
            }
        }
        Err(failed("move", &path)(io::ErrorKind::QuotaExceeded.into()))
    }

    fn path(&self, name: &str) -> Result<PathBuf, Error> {
        let is_component = |component: &str| {
            (1..=255).contains(&component.len())
                && !component.starts_with('.')
                && component
                    .bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
        };
        let first = name.split('/').next();
        if !name.split('/').all(is_component) || first == Some(QUARANTINE) {
            return Err(Kind::ObjectName(name.to_owned()).into());
        }
        Ok(self.root.join(name))
    }

    fn write_temporary(&self, folder: &Path, value: &[u8]) -> Result<PathBuf, Error> {
        loop {
            let number = self.temporary.fetch_add(1, Ordering::Relaxed);
            // Objects never begin with a dot, so the two cannot meet.
            let path = folder.join(format!(".new-{}-{number}", std::process::id()));
            let mut file = match private_file().open(&path) {
                Ok(file) => file,
                // Left behind by a process of the same number that died.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(source) => return Err(failed("create", &path)(source)),
            };
            let written = file.write_all(value).and_then(|()| file.sync_all());
            if let Err(source) = written {
                let _ = fs::remove_file(&path);
                return Err(failed("write", &path)(source));
            }
            return Ok(path);
        }
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

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Kind::Store { doing, path, source }.into()
}

fn create_folder(path: &Path) -> Result<(), Error> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(failed("create folder", path))
}

fn private_file() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes a rename survive a power failure. Other systems than Unix have no such call.
fn sync_folder(path: &Path) -> Result<(), Error> {
    if cfg!(unix) {
        fs::File::open(path)
            .and_then(|folder| folder.sync_all())
            .map_err(failed("sync folder", path))?;
    }
    Ok(())
}

fn warn_if_open_to_others(file: &fs::File, path: &Path) {
    #[cfg(unix)]
    if let Ok(metadata) = file.metadata() {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
        if mode & 0o077 != 0 {
            tracing::warn!(path = %path.display(), mode = format_args!("{:o}", mode & 0o777),
                "file may hold a private key and is open to other users");
        }
    }
    #[cfg(not(unix))]
    let _ = (file, path);
}

const QUARANTINE: &str = "quarantine";
const MAX_VALUE_BYTES: u64 = 1024 * 1024;
/// More broken copies of one object than this want a person's eyes, not more copies.
const MAX_QUARANTINED: u32 = 1000;
