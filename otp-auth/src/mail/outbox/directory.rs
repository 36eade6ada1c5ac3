//! Jobs as files in a folder.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::OutboxStore;
use crate::error::Error;
use crate::file;

/// An [`OutboxStore`] in a folder of its own: a file a job, on the disk before the answer.
///
/// The folder is made 0700 and files 0600. Other files in it are left alone, but for those that were being
/// written when a process died. Runs in a tokio runtime, which does the writing on its threads for blocking
/// work.
#[derive(Debug, Clone)]
pub struct DirectoryOutbox {
    folder: PathBuf,
}

impl DirectoryOutbox {
    /// Opens or makes the folder.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, Error> {
        let folder = folder.into();
        file::create_folder(&folder).map_err(Error::store_unavailable)?;
        Ok(Self { folder })
    }

    fn path(&self, id: &str) -> Result<PathBuf, Error> {
        if !is_name_of_job(id) {
            return Err(Error::setting("job id", "it is not the name of a file"));
        }
        Ok(self.folder.join(format!("{id}{ENDING}")))
    }
}

#[async_trait]
impl OutboxStore for DirectoryOutbox {
    async fn insert(&self, id: &str, sealed: &str) -> Result<(), Error> {
        let (path, sealed) = (self.path(id)?, sealed.to_owned());
        blocking(move || file::replace(&path, sealed.as_bytes())).await
    }

    async fn remove(&self, id: &str) -> Result<(), Error> {
        let path = self.path(id)?;
        blocking(move || match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }

    async fn load(&self) -> Result<Vec<(String, String)>, Error> {
        let folder = self.folder.clone();
        blocking(move || read_all(&folder)).await
    }
}

fn read_all(folder: &Path) -> io::Result<Vec<(String, String)>> {
    let mut jobs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if name.ends_with(file::UNFINISHED) {
            // Nobody was answered on the strength of it.
            let _lost = fs::remove_file(&path);
        } else if let Some(id) = name.strip_suffix(ENDING).filter(|id| is_name_of_job(id)) {
            // Neither a folder, nor a pipe that nobody writes to.
            if !fs::symlink_metadata(&path)?.is_file() {
                continue;
            }
            let mut text = String::new();
            let read = File::open(&path)?.take(AT_MOST).read_to_string(&mut text);
            match read {
                Ok(_) => {}
                // What is no text is not ours, and will not open.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => text.clear(),
                Err(error) => return Err(error),
            }
            jobs.push((id.to_owned(), text));
        }
    }
    Ok(jobs)
}

fn is_name_of_job(id: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=64).contains(&id.len()) && id.bytes().all(is_allowed)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await.map_err(Error::store_unavailable)?;
    done.map_err(Error::store_unavailable)
}

const ENDING: &str = ".job";

/// A job is smaller.
const AT_MOST: u64 = 16 * 1024;
