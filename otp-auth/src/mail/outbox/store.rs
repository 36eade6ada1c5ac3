//! Where jobs lie until they are sent.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::error::Error;

/// Keeps the jobs of one [`Outbox`](super::Outbox), sealed, by their names.
///
/// # Contract
///
/// Names are 1 to 64 ASCII letters, digits, `-` and `_`, case counts. Values are visible ASCII of at most
/// 4 KiB. A job is durable before [`insert`](Self::insert) answers. One process has an outbox at a time: two
/// would send everything twice.
///
/// # Errors
///
/// An error means that the step may or may not have happened.
#[async_trait]
pub trait OutboxStore: fmt::Debug + Send + Sync {
    /// Keeps a job. What has the same name is replaced.
    async fn insert(&self, id: &str, sealed: &str) -> Result<(), Error>;

    /// Takes a job out. That there is none is no error. It need not be durable: a job that comes back is a
    /// mail that is sent twice, under the same message id.
    async fn remove(&self, id: &str) -> Result<(), Error>;

    /// All names and values, in any order.
    async fn load(&self) -> Result<Vec<(String, String)>, Error>;
}

/// An [`OutboxStore`] in memory: nothing in it outlives the process.
#[derive(Default)]
pub struct MemoryOutbox {
    jobs: Mutex<BTreeMap<String, String>>,
}

impl MemoryOutbox {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl OutboxStore for MemoryOutbox {
    async fn insert(&self, id: &str, sealed: &str) -> Result<(), Error> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.insert(id.to_owned(), sealed.to_owned());
        Ok(())
    }

    async fn remove(&self, id: &str) -> Result<(), Error> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        Ok(())
    }

    async fn load(&self) -> Result<Vec<(String, String)>, Error> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(jobs.iter().map(|(id, sealed)| (id.clone(), sealed.clone())).collect())
    }
}

impl fmt::Debug for MemoryOutbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryOutbox").finish_non_exhaustive()
    }
}
