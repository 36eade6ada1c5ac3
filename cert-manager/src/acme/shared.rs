//! Answers in the store, so that any node can give them to an authority.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::timeout};

use crate::{
    acme::challenge::{Challenge, ChallengeKind},
    error::{Error, StorageError},
    record::short_hash,
    storage::{Key, Storage},
};

/// What other nodes are asked for by authorities, and this one shows. Nothing here is a secret: an authority reads it from
/// a public port.
#[derive(Debug)]
pub(crate) struct SharedAnswers {
    storage: Arc<dyn Storage>,
    kind: ChallengeKind,
    /// Strangers may ask for anything, and each unknown question costs a look into the store.
    looks: Semaphore,
}

impl SharedAnswers {
    pub(crate) fn new(storage: Arc<dyn Storage>, kind: ChallengeKind) -> Self {
        Self { storage, kind, looks: Semaphore::new(LOOKS_AT_ONCE) }
    }

    /// Shows an answer to all nodes. `asked` is what an authority asks for.
    pub(crate) async fn keep(&self, asked: &str, challenge: &Challenge) -> Result<(), Error> {
        let key = self.key(asked)?;
        // Texts always have a form.
        let text = serde_json::to_vec(challenge).unwrap_or_default();
        for _ in 0..ATTEMPTS {
            let before = match self.storage.get(&key).await {
                Ok(entry) => entry.map(|entry| entry.version),
                Err(StorageError::Damaged { version, .. }) => Some(version),
                Err(error) => return Err(error.into()),
            };
            match self.storage.put(&key, &text, before).await {
                Err(StorageError::Conflict) => {}
                done => return Ok(done.map(drop)?),
            }
        }
        Err(StorageError::Conflict.into())
    }

    /// Takes an answer away, if it still is this one.
    pub(crate) async fn forget(&self, asked: &str, challenge: &Challenge) -> Result<(), Error> {
        let key = self.key(asked)?;
        let Some(entry) = self.storage.get(&key).await? else { return Ok(()) };
        if serde_json::from_slice::<Challenge>(&entry.value).ok().as_ref() != Some(challenge) {
            return Ok(());
        }
        match self.storage.delete(&key, entry.version).await {
            Ok(()) | Err(StorageError::Conflict) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What some node shows; nothing too if the store fails or is slow.
    pub(crate) async fn find(&self, asked: &str) -> Option<Challenge> {
        let key = self.key(asked).ok()?;
        let look = async {
            let _place = self.looks.acquire().await.ok()?;
            match self.storage.get(&key).await {
                Ok(entry) => serde_json::from_slice(&entry?.value).ok(),
                Err(error) => {
                    tracing::debug!(%error, "the answers of other nodes cannot be read");
                    None
                }
            }
        };
        timeout(PATIENCE, look).await.ok().flatten()
    }

    fn key(&self, asked: &str) -> Result<Key, Error> {
        // What strangers ask for is no name of an object.
        format!("challenges/{}/{}.json", self.kind.as_str(), short_hash(asked)).parse()
    }
}

/// The store has better things to do; authorities ask from some five places at once.
const LOOKS_AT_ONCE: usize = 8;
/// Authorities wait for about ten seconds.
const PATIENCE: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 8;
