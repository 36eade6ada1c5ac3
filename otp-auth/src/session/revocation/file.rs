//! Revocations of one process, in a file.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{Changes, Cursor, Epoch, MemoryRevocations, RevocationKey, RevocationStore};
use crate::error::Error;
use crate::file;
use crate::timestamp::Timestamp;

/// A [`RevocationStore`] of one process, which a restart finds again: in memory, and in a file that is
/// replaced whole before a log-out is answered.
///
/// One process at a time: a second one on the same file would write over what the first has written. Runs
/// in a tokio runtime, which does the writing on its threads for blocking work.
///
/// What could not be written is refused here all the same, and written at the next chance:
/// [`Revocations::sync`](super::Revocations::sync) gives it one.
///
/// Entries that are older than a month and a minute, the longest life of a token, leave the file.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use otp_auth::session::{FileRevocations, Revocations};
/// use otp_auth::timestamp::Timestamp;
///
/// # let folder = tempfile::tempdir()?;
/// let now = Timestamp::from_unix_secs(1_790_000_000);
/// let store = FileRevocations::open(folder.path().join("revocations.txt"), now)?;
/// if let Some(why) = store.forgotten() {
///     eprintln!("everybody signs in anew: {why}");
/// }
/// let revocations = Revocations::shared(Arc::new(store));
/// revocations.sync(now).await?; // what was revoked before the restart
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct FileRevocations {
    shared: Arc<Shared>,
    forgotten: Option<Forgotten>,
}

struct Shared {
    path: PathBuf,
    memory: MemoryRevocations,
    /// How many changes there were, and how many of them lie in the file.
    counts: Mutex<Counts>,
    writing: Mutex<()>,
}

#[derive(Default)]
struct Counts {
    changed: u64,
    written: u64,
}

/// Why a [`FileRevocations`] began without memory, and refuses all tokens of before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Forgotten {
    /// There was no file. So it is at the first start.
    #[error("there was no file of revocations")]
    Absent,
    /// The file was there and could not be used. It was moved aside, beside its place, with `.damaged` at
    /// the end of its name.
    #[error("the file of revocations could not be read")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl FileRevocations {
    /// Reads the file, or begins a new one.
    ///
    /// Where there is none, or it cannot be used, every token is refused that was signed before `now`: what
    /// was revoked is not known any more, and nobody who logged out may come back. [`forgotten`](Self::forgotten) says so.
    ///
    /// # Errors
    ///
    /// The file cannot be written: no log-out would outlive this process.
    pub fn open(path: impl Into<PathBuf>, now: Timestamp) -> Result<Self, Error> {
        let path = path.into();
        let (memory, forgotten) = match read(&path) {
            Ok(memory) => (memory, None),
            Err(forgotten) => (MemoryRevocations::refusing_before(now), Some(forgotten)),
        };
        if matches!(forgotten, Some(Forgotten::Unreadable(_))) {
            // Kept for whoever wants to look. It is not worth failing for.
            let _lost = fs::rename(&path, with_ending(&path, ".damaged"));
        }
        let (counts, writing) = (Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { path, memory, counts, writing });
        shared.write(now).map_err(Error::store_unavailable)?;
        Ok(Self { shared, forgotten })
    }

    /// Why tokens of before the start are refused, if they are.
    pub fn forgotten(&self) -> Option<&Forgotten> {
        self.forgotten.as_ref()
    }

    async fn write(&self, now: Timestamp) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let written = tokio::task::spawn_blocking(move || shared.write(now)).await;
        written.map_err(Error::store_unavailable)?.map_err(Error::store_unavailable)
    }
}

impl Shared {
    /// Writes what is known. Blocks. Log-outs that come while another is written share one writing.
    fn write(&self, now: Timestamp) -> io::Result<()> {
        let number = self.lock_counts().changed;
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = {
            let counts = self.lock_counts();
            if counts.written >= number && number > 0 {
                return Ok(());
            }
            counts.changed
        };
        self.memory.forget_before(now.minus(MONTH));
        file::replace(&self.path, self.memory.save().as_bytes())?;
        self.lock_counts().written = changed;
        Ok(())
    }

    fn lock_counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RevocationStore for FileRevocations {
    async fn epoch(&self, now: Timestamp) -> Result<Epoch, Error> {
        self.shared.memory.epoch(now).await
    }

    /// # Cancel safety
    ///
    /// A dropped future has revoked here, and is written all the same.
    async fn revoke(&self, key: &RevocationKey, now: Timestamp) -> Result<Epoch, Error> {
        let epoch = self.shared.memory.revoke(key, now).await?;
        self.shared.lock_counts().changed += 1;
        self.write(now).await?;
        Ok(epoch)
    }

    /// Also writes what could not be written before.
    async fn changes(&self, after: &Cursor, now: Timestamp) -> Result<Changes, Error> {
        let is_behind = {
            let counts = self.shared.lock_counts();
            counts.written < counts.changed
        };
        if is_behind {
            self.write(now).await?;
        }
        self.shared.memory.changes(after, now).await
    }
}

impl fmt::Debug for FileRevocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileRevocations").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<MemoryRevocations, Forgotten> {
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Forgotten::Absent,
        _ => Forgotten::Unreadable(error.into()),
    })?;
    MemoryRevocations::load(&text).map_err(|error| Forgotten::Unreadable(error.into()))
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The longest life that an issuer gives, and leeway.
const MONTH: Duration = Duration::from_secs(31 * 86_400 + 60);
