//! An issuer, a store and a clock that misbehave as they are told.

#![allow(dead_code, reason = "each test uses another part")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use cert_manager::{
    Certificate, Failure, PrivateCa,
    manager::{Issuer, Issuing, PrivateIssuer, Request},
    storage::{Entry, Key, MemoryStore, Storage, StorageError, Version, Work},
};

/// A private authority that fails when told.
#[derive(Clone, Debug)]
pub(crate) struct Faulty(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    issuer: PrivateIssuer,
    failure: Mutex<Option<Failure>>,
    takes: Mutex<Duration>,
    panics: AtomicBool,
    requests: AtomicUsize,
}

impl Faulty {
    pub(crate) fn new(ca: Arc<PrivateCa>) -> Self {
        let (failure, takes, requests) = (Mutex::default(), Mutex::default(), AtomicUsize::new(0));
        let (issuer, panics) = (PrivateIssuer::new(ca), AtomicBool::new(false));
        Self(Arc::new(Inner { issuer, failure, takes, panics, requests }))
    }

    pub(crate) fn fail_with(&self, failure: Option<Failure>) {
        *self.0.failure.lock().unwrap() = failure;
    }

    pub(crate) fn take(&self, time: Duration) {
        *self.0.takes.lock().unwrap() = time;
    }

    pub(crate) fn panic(&self, panics: bool) {
        self.0.panics.store(panics, Ordering::Relaxed);
    }

    pub(crate) fn requests(&self) -> usize {
        self.0.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn id(&self) -> &str {
        self.0.issuer.id()
    }
}

impl Issuer for Faulty {
    fn id(&self) -> &str {
        self.0.issuer.id()
    }

    fn issue<'a>(&'a self, request: &'a Request) -> Issuing<'a, Certificate> {
        Box::pin(async {
            self.0.requests.fetch_add(1, Ordering::Relaxed);
            let takes = *self.0.takes.lock().unwrap();
            tokio::time::sleep(takes).await;
            assert!(!self.0.panics.load(Ordering::Relaxed), "a bug in an issuer");
            let failure = self.0.failure.lock().unwrap().clone();
            match failure {
                Some(failure) => Err(failure.into()),
                None => self.0.issuer.issue(request).await,
            }
        })
    }
}

/// A store that is away, or full, when told.
#[derive(Debug, Default)]
pub(crate) struct FlakyStore {
    inner: MemoryStore,
    is_away: AtomicBool,
    refuses_certificates: AtomicBool,
}

impl FlakyStore {
    pub(crate) fn fail(&self, fails: bool) {
        self.is_away.store(fails, Ordering::Relaxed);
    }

    pub(crate) fn refuse_certificates(&self, refuses: bool) {
        self.refuses_certificates.store(refuses, Ordering::Relaxed);
    }

    fn check(&self) -> Result<(), StorageError> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(StorageError::unavailable("it is away"));
        }
        Ok(())
    }
}

impl Storage for FlakyStore {
    fn get<'a>(&'a self, key: &'a Key) -> Work<'a, Option<Entry>> {
        Box::pin(async {
            self.check()?;
            self.inner.get(key).await
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a Key,
        value: &'a [u8],
        expected: Option<Version>,
    ) -> Work<'a, Version> {
        Box::pin(async move {
            self.check()?;
            let is_full = self.refuses_certificates.load(Ordering::Relaxed);
            if is_full && key.is_below("certificates") {
                return Err(StorageError::unavailable("no space left on device"));
            }
            self.inner.put(key, value, expected).await
        })
    }

    fn delete<'a>(&'a self, key: &'a Key, version: Version) -> Work<'a, ()> {
        Box::pin(async move {
            self.check()?;
            self.inner.delete(key, version).await
        })
    }

    fn list<'a>(&'a self, folder: &'a str) -> Work<'a, Vec<Key>> {
        Box::pin(async {
            self.check()?;
            self.inner.list(folder).await
        })
    }
}

/// A wall clock that moves with tokio's paused time, and can be set.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    zero: tokio::time::Instant,
    wall: Arc<Mutex<SystemTime>>,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "paused time, which the test moves")]
    pub(crate) fn new() -> Self {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        Self { zero: tokio::time::Instant::now(), wall: Arc::new(Mutex::new(start)) }
    }

    pub(crate) fn read(&self) -> impl Fn() -> SystemTime + Send + Sync + 'static {
        let clock = self.clone();
        move || clock.now()
    }

    pub(crate) fn now(&self) -> SystemTime {
        *self.wall.lock().unwrap() + self.zero.elapsed()
    }

    pub(crate) fn jump(&self, by: Duration) {
        *self.wall.lock().unwrap() += by;
    }

    pub(crate) fn fall_back(&self, by: Duration) {
        *self.wall.lock().unwrap() -= by;
    }
}
