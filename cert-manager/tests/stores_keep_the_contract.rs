//! Each store passes the kit that third parties use, and a store that breaks a promise does not.
#![cfg(all(feature = "conformance", feature = "ring"))]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]
#![allow(clippy::disallowed_methods, reason = "a server lives by the real clock")]

#[cfg(feature = "redis")]
#[path = "support/redis.rs"]
mod redis;

use std::sync::Arc;

use cert_manager::{
    conformance::{Plan, check, pause},
    storage::{
        DirectoryStore, Entry, Key, MemoryStore, Sealed, SealingKeys, Storage, StorageError,
        Version, Work,
    },
};

#[tokio::test]
async fn in_memory() {
    let report = check(Arc::new(MemoryStore::new()), &Plan::full()).await.unwrap();
    assert!(report.writes > 64_000 && report.conflicts > 64_000, "{report:?}");
}

#[tokio::test]
async fn in_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(DirectoryStore::open(folder.path()).unwrap());
    check(store, &Plan::quick().seeds(4).parties(4)).await.unwrap();
}

#[tokio::test]
async fn sealed() {
    let keys = SealingKeys::new("a", &[1; 32]).unwrap();
    let store = Arc::new(Sealed::new(MemoryStore::new(), keys));
    check(store, &Plan::quick()).await.unwrap();
}

#[cfg(feature = "redis")]
#[tokio::test]
#[ignore = "needs redis-server"]
async fn in_redis() {
    let server = redis::Server::start();
    let store = cert_manager::storage::RedisStore::connect(&server.url()).await.unwrap();
    check(Arc::new(store), &Plan::quick()).await.unwrap();
}

#[tokio::test]
async fn a_store_that_compares_and_then_writes_is_found() {
    let failed = check(Arc::new(Broken::new(Fault::ComparesThenWrites)), &Plan::quick()).await;
    assert!(failed.unwrap_err().seed().is_some(), "a race is needed to see it");
}

#[tokio::test]
async fn stores_that_break_a_promise_without_a_race_are_found() {
    for fault in [
        Fault::IgnoresVersions,
        Fault::ForgetsVersions,
        Fault::DeletesAnything,
        Fault::ListsByPrefix,
        Fault::ListsTheQuarantine,
        Fault::CutsAtZero,
    ] {
        let failed = check(Arc::new(Broken::new(fault)), &Plan::quick()).await;
        assert_eq!(failed.unwrap_err().seed(), None, "{fault:?}");
    }
}

/// A store with one fault.
#[derive(Debug)]
struct Broken {
    fault: Fault,
    inner: MemoryStore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    ComparesThenWrites,
    IgnoresVersions,
    ForgetsVersions,
    DeletesAnything,
    ListsByPrefix,
    ListsTheQuarantine,
    CutsAtZero,
}

impl Broken {
    fn new(fault: Fault) -> Self {
        Self { fault, inner: MemoryStore::new() }
    }

    async fn current(&self, key: &Key) -> Option<Version> {
        self.inner.get(key).await.unwrap().map(|entry| entry.version)
    }
}

impl Storage for Broken {
    fn get<'a>(&'a self, key: &'a Key) -> Work<'a, Option<Entry>> {
        Box::pin(async move {
            let entry = self.inner.get(key).await?;
            Ok(entry.map(|mut entry| {
                if self.fault == Fault::ForgetsVersions {
                    entry.version = Version::new(1);
                }
                entry
            }))
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a Key,
        value: &'a [u8],
        expected: Option<Version>,
    ) -> Work<'a, Version> {
        Box::pin(async move {
            match self.fault {
                Fault::ComparesThenWrites => {
                    if self.current(key).await != expected {
                        return Err(StorageError::Conflict);
                    }
                    pause().await;
                    self.inner.put(key, value, self.current(key).await).await
                }
                Fault::IgnoresVersions => self.inner.put(key, value, self.current(key).await).await,
                Fault::ForgetsVersions => {
                    let current = self.current(key).await;
                    if current.is_some() != expected.is_some() {
                        return Err(StorageError::Conflict);
                    }
                    self.inner.put(key, value, current).await.map(|_| Version::new(1))
                }
                Fault::CutsAtZero => {
                    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
                    self.inner.put(key, &value[..end], expected).await
                }
                _ => self.inner.put(key, value, expected).await,
            }
        })
    }

    fn delete<'a>(&'a self, key: &'a Key, version: Version) -> Work<'a, ()> {
        Box::pin(async move {
            let version = match self.fault {
                Fault::DeletesAnything | Fault::ForgetsVersions => {
                    self.current(key).await.unwrap_or(version)
                }
                _ => version,
            };
            self.inner.delete(key, version).await
        })
    }

    fn list<'a>(&'a self, folder: &'a str) -> Work<'a, Vec<Key>> {
        Box::pin(async move {
            let mut keys = self.inner.list("").await?;
            match self.fault {
                Fault::ListsByPrefix => keys.retain(|key| key.as_str().starts_with(folder)),
                Fault::ListsTheQuarantine => {
                    keys = self.inner.list(folder).await?;
                    keys.extend(self.inner.list("quarantine").await?);
                    keys.extend("conformance/broken".parse::<Key>().ok());
                }
                _ => keys.retain(|key| key.is_below(folder)),
            }
            Ok(keys)
        })
    }
}
