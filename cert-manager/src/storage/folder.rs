//! Objects as files, each replaced in one step.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use crate::{
    error::{Error, Kind, StorageError},
    regular_file,
    storage::{Entry, Found, Key, MAX_VALUE_BYTES, Version, key::QUARANTINE},
};

/// A folder of files, each of which is an object.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    temporary: AtomicU64,
}

impl Folder {
    /// Makes it, if there is none, and sweeps it.
    pub(super) fn open(root: PathBuf) -> Result<Self, Error> {
        create_folder(&root)?;
        sweep(&root);
        Ok(Self { root, temporary: AtomicU64::new(0) })
    }

    pub(super) fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    pub(super) fn get(&self, key: &Key) -> Found {
        self.read(key).map_err(|error| self.why(key, error))
    }

    pub(super) fn read(&self, key: &Key) -> Result<Option<Entry>, Error> {
        let path = &self.path(key);
        let (value, metadata) = match regular_file::read(path, MAX_VALUE_BYTES as u64) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed("read", path)(source)),
        };
        warn_if_open_to_others(&metadata, path);
        Ok(Some(Entry { value, version: version(&metadata) }))
    }

    /// The keys of all objects below one.
    pub(super) fn list(&self, below: &str) -> Result<Vec<Key>, Error> {
        let mut keys = Vec::new();
        list(&self.root, "", below, &mut keys)?;
        Ok(keys)
    }

    /// What is no file, or too large, will never be read; all else may be, later.
    fn why(&self, key: &Key, error: Error) -> StorageError {
        let path = self.path(key);
        match fs::symlink_metadata(&path) {
            Ok(found) if !found.is_file() || found.len() > MAX_VALUE_BYTES as u64 => {
                let reason = if found.is_file() { "it is too large" } else { "it is no file" };
                let version = version(&found);
                StorageError::Damaged { key: key.to_string(), version, reason }
            }
            _ => StorageError::unavailable(error),
        }
    }

    /// Writes if what is there is wanted; says the new version, or that it was not.
    pub(super) fn write(
        &self,
        key: &Key,
        value: &[u8],
        is_wanted: impl FnOnce(Option<Version>) -> bool,
    ) -> Result<Option<Version>, Error> {
        let path = self.path(key);
        if value.len() > MAX_VALUE_BYTES {
            return Err(failed("write", &path)(io::ErrorKind::FileTooLarge.into()));
        }
        let folder = path.parent().unwrap_or(&self.root);
        create_folder(folder)?;
        let (temporary, mut file) = self.create_temporary(folder)?;
        let done = file
            .write_all(value)
            .map_err(failed("write", &temporary))
            .and_then(|()| self.replace(&path, &temporary, &file, is_wanted));
        if !matches!(done, Ok(Some(_))) {
            // Not worth failing for: it is a stray file of the same mode.
            let _ = fs::remove_file(&temporary);
        }
        done
    }

    fn replace(
        &self,
        path: &Path,
        temporary: &Path,
        file: &fs::File,
        is_wanted: impl FnOnce(Option<Version>) -> bool,
    ) -> Result<Option<Version>, Error> {
        let date = |micros: u64| {
            let time = SystemTime::UNIX_EPOCH + Duration::from_micros(micros);
            file.set_modified(time)
                .and_then(|()| file.sync_all())
                .map_err(failed("write", temporary))
        };
        // Most often it stays so; then nobody waits for the disk while the lock is held.
        let mut next = micros(now());
        date(next)?;
        let turn = self.lock()?;
        let found = found(path)?;
        if !is_wanted(found) {
            return Ok(None);
        }
        // This one was dated before its turn: another may have come since, and may even be gone again.
        let last = found.map_or_else(|| self.last_gone(&turn), Ok)?;
        if last.number() >= next {
            next = last.number() + 1;
            date(next)?;
        }
        let kept = file.metadata().map_err(failed("read", temporary))?;
        if version(&kept).number() != next {
            // Such as FAT: two seconds.
            return Err(failed("keep a time in microseconds for", temporary)(
                io::ErrorKind::Unsupported.into(),
            ));
        }
        fs::rename(temporary, path).map_err(failed("replace", path))?;
        // The turn lasts until this one is told: else whoever comes next may be told first, and a lease's tokens seem to fall.
        sync_folder(path.parent().unwrap_or(&self.root))?;
        Ok(Some(Version::new(next)))
    }

    /// Says whether there was one that is wanted to go.
    pub(super) fn remove(
        &self,
        key: &Key,
        is_wanted: impl Fn(Version) -> bool,
    ) -> Result<bool, Error> {
        let path = self.path(key);
        let turn = self.lock()?;
        let Some(version) = found(&path)?.filter(|version| is_wanted(*version)) else {
            return Ok(false);
        };
        self.note_gone(&turn, version)?;
        fs::remove_file(&path).map_err(failed("remove", &path))?;
        sync_folder(path.parent().unwrap_or(&self.root))?;
        Ok(true)
    }

    /// Says where it lies now, if there was one that is wanted to go.
    pub(super) fn move_aside(
        &self,
        key: &Key,
        is_wanted: impl Fn(Version) -> bool,
    ) -> Result<Option<PathBuf>, Error> {
        let path = self.path(key);
        let folder = self.root.join(QUARANTINE);
        create_folder(&folder)?;
        let turn = self.lock()?;
        let Some(version) = found(&path)?.filter(|version| is_wanted(*version)) else {
            return Ok(None);
        };
        self.note_gone(&turn, version)?;
        let flat = key.as_str().replace('/', "__");
        for attempt in 0..MAX_QUARANTINED {
            let target = folder.join(format!("{flat}.{attempt}"));
            if found(&target)?.is_none() {
                fs::rename(&path, &target).map_err(failed("move", &path))?;
                sync_folder(&folder)?;
                sync_folder(path.parent().unwrap_or(&self.root))?;
                return Ok(Some(target));
            }
        }
        Err(failed("move", &path)(io::ErrorKind::QuotaExceeded.into()))
    }

    fn create_temporary(&self, folder: &Path) -> Result<(PathBuf, fs::File), Error> {
        loop {
            let number = self.temporary.fetch_add(1, Ordering::Relaxed);
            // Objects never begin with a dot, so the two cannot meet.
            let path = folder.join(format!("{TEMPORARY}{}-{number}", std::process::id()));
            match private_file().create_new(true).open(&path) {
                Ok(file) => return Ok((path, file)),
                // Left behind by a process of the same number that died.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(failed("create", &path)(source)),
            }
        }
    }

    /// An object with this version goes: the next one of its name has to come after it. The lock file's time remembers the
    /// last of all that went.
    fn note_gone(&self, turn: &fs::File, version: Version) -> Result<(), Error> {
        if self.last_gone(turn)? < version {
            let time = SystemTime::UNIX_EPOCH + Duration::from_micros(version.number());
            turn.set_modified(time).map_err(failed("date", &self.root.join(LOCK)))?;
        }
        Ok(())
    }

    fn last_gone(&self, turn: &fs::File) -> Result<Version, Error> {
        let metadata = turn.metadata().map_err(failed("look at", &self.root.join(LOCK)))?;
        Ok(version(&metadata))
    }

    /// Waits for the turn, among all processes. It ends when the file is closed, by whatever end.
    fn lock(&self) -> Result<fs::File, Error> {
        let path = self.root.join(LOCK);
        let file = private_file().create(true).open(&path).map_err(failed("open", &path))?;
        #[cfg(unix)]
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|error| failed("lock", &path)(error.into()))?;
        Ok(file)
    }
}

/// Adds what lies in one folder and, as far as it is asked for, below it.
fn list(at: &Path, name: &str, below: &str, keys: &mut Vec<Key>) -> Result<(), Error> {
    let entries = match fs::read_dir(at) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(failed("list", at)(source)),
    };
    for entry in entries {
        let entry = entry.map_err(failed("list", at))?;
        let Some(file) = entry.file_name().to_str().map(ToOwned::to_owned) else { continue };
        let name = if name.is_empty() { file } else { format!("{name}/{file}") };
        // Temporary files, the lock and what others put here have no names of objects.
        let Ok(key) = name.parse::<Key>() else { continue };
        if key.as_str() == QUARANTINE {
            continue;
        }
        if entry.file_type().map_err(failed("list", at))?.is_dir() {
            let is_on_the_way =
                key.as_str() == below || key.is_below(below) || is_parent(&name, below);
            if is_on_the_way {
                list(&entry.path(), &name, below, keys)?;
            }
        } else if key.is_below(below) {
            keys.push(key);
        }
    }
    Ok(())
}

/// Removes what processes left behind that were killed while they wrote. That it fails keeps nobody from working.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (Ok(file_type), path) = (entry.file_type(), entry.path()) else { continue };
        if file_type.is_dir() {
            sweep(&path);
        }
        let is_temporary = entry.file_name().to_string_lossy().starts_with(TEMPORARY);
        if !file_type.is_file() || !is_temporary {
            continue;
        }
        let written = entry.metadata().and_then(|it| it.modified()).ok();
        let age = written.and_then(|at| now().duration_since(at).ok());
        if age.is_some_and(|age| age > LONGEST_WRITE) && fs::remove_file(&path).is_ok() {
            tracing::debug!(path = %path.display(), "removed what a killed process had left behind");
        }
    }
}

fn is_parent(name: &str, of: &str) -> bool {
    of.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'))
}

/// The version of what lies there.
fn found(path: &Path) -> Result<Option<Version>, Error> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(version(&metadata))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed("look at", path)(source)),
    }
}

fn version(metadata: &fs::Metadata) -> Version {
    Version::new(metadata.modified().map(micros).unwrap_or_default())
}

fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "this is the shell around the file system")]
fn now() -> SystemTime {
    SystemTime::now()
}

pub(super) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
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
    options.write(true);
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

fn warn_if_open_to_others(metadata: &fs::Metadata, path: &Path) {
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
        if mode & 0o077 != 0 {
            tracing::warn!(path = %path.display(), mode = format_args!("{:o}", mode & 0o777),
                "file may hold a private key and is open to other users");
        }
    }
    #[cfg(not(unix))]
    let _ = (metadata, path);
}

/// Objects never begin so.
const TEMPORARY: &str = ".new-";

/// Writers take milliseconds, and seconds where the disk is slow.
const LONGEST_WRITE: Duration = Duration::from_secs(600);

/// More broken copies of one object than this want a person's eyes, not more copies.
const MAX_QUARANTINED: u32 = 1000;
const LOCK: &str = ".lock";
