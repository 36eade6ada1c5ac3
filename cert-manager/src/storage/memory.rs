use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use zeroize::Zeroizing;

use crate::{
    error::StorageError,
    storage::{Entry, Key, Storage, Version, Work, check_size},
};

/// Keeps objects as long as the process lives. Nodes of one process share it as `Arc<MemoryStore>`.
#[derive(Default)]
pub struct MemoryStore(Mutex<Objects>);

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        // Entries go in and out whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Objects {
    entries: BTreeMap<Key, Entry>,
    /// Of all keys, so that a deleted one goes on where it was.
    last_version: u64,
}

impl Storage for MemoryStore {
    fn get<'a>(&'a self, key: &'a Key) -> Work<'a, Option<Entry>> {
        Box::pin(async { Ok(self.objects().entries.get(key).cloned()) })
    }

    fn put<'a>(
        &'a self,
        key: &'a Key,
        value: &'a [u8],
        expected: Option<Version>,
    ) -> Work<'a, Version> {
        Box::pin(async move {
            check_size(key, value)?;
            let mut objects = self.objects();
            if objects.entries.get(key).map(|entry| entry.version) != expected {
                return Err(StorageError::Conflict);
            }
            objects.last_version += 1;
            let version = Version::new(objects.last_version);
            let value = Zeroizing::new(value.to_vec());
            objects.entries.insert(key.clone(), Entry { value, version });
            Ok(version)
        })
    }

    fn delete<'a>(&'a self, key: &'a Key, version: Version) -> Work<'a, ()> {
        Box::pin(async move {
            let mut objects = self.objects();
            if objects.entries.get(key).map(|entry| entry.version) != Some(version) {
                return Err(StorageError::Conflict);
            }
            objects.entries.remove(key);
            Ok(())
        })
    }

    fn list<'a>(&'a self, folder: &'a str) -> Work<'a, Vec<Key>> {
        Box::pin(async move {
            let objects = self.objects();
            let keys = objects.entries.keys().filter(|key| key.is_below(folder));
            Ok(keys.filter(|key| !key.is_set_aside()).cloned().collect())
        })
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("objects", &self.objects().entries.len()).finish()
    }
}
