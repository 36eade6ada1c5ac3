//! One connection's account of what its bodies hold.

use std::{
    fmt,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, ready},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{limits, state::holdings::Holdings};

/// The account. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    shared: Arc<Shared>,
    patience: Option<Duration>,
}

#[derive(Default)]
struct Shared {
    holdings: Mutex<Holdings>,
    crowd: OnceLock<Box<Crowd>>,
    /// Bytes of short bodies, read or not.
    short: AtomicUsize,
}

/// A short body's bytes, counted until this is dropped.
#[derive(Debug)]
pub(super) struct Short {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Drop for Short {
    fn drop(&mut self) {
        self.shared.short.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// How many streams are taken beyond those that leave room for others.
type Crowd = dyn Fn() -> usize + Send + Sync;

impl Held {
    /// For bodies whose readers must not stop for longer than this while there is room.
    pub(crate) fn hurried(&self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self.clone() }
    }

    /// Whom to ask, once, whether the connection's streams run short.
    pub(crate) fn ask_of_crowd(&self, crowd: impl Fn() -> usize + Send + Sync + 'static) {
        let _ = self.shared.crowd.set(Box::new(crowd));
    }

    /// Bodies that hold so much that windows shall shrink for them.
    pub(super) fn laden(&self) -> usize {
        self.lock().laden()
    }

    /// Room for a short body that is whole, until the value is dropped; nothing if all of them take too much.
    pub(super) fn keep_short(&self, bytes: usize) -> Option<Short> {
        let short = Short { shared: Arc::clone(&self.shared), bytes };
        let before = self.shared.short.fetch_add(bytes, Ordering::Relaxed);
        (before + bytes <= limits::SHORT_BODIES_BYTES).then_some(short)
    }

    /// Adds a body.
    pub(super) fn open(&self) -> Account {
        let key = self.lock().open(self.patience, now());
        Account { held: self.clone(), key }
    }

    fn lock(&self) -> MutexGuard<'_, Holdings> {
        self.shared.holdings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("holdings", &self.holdings).finish_non_exhaustive()
    }
}

/// One body's part of it, until this is dropped.
#[derive(Debug)]
pub(super) struct Account {
    held: Held,
    key: u64,
}

impl Account {
    /// Bytes arrived.
    pub(super) fn arrived(&self, bytes: usize) {
        self.held.lock().handle_arrival(self.key, bytes, now());
    }

    /// The reader is done with bytes.
    pub(super) fn read(&self, bytes: usize) {
        self.held.lock().handle_read(self.key, bytes, now());
    }

    /// How many bytes the sender may send for those that were read.
    pub(super) fn release(&self, bytes: usize) -> usize {
        self.held.lock().handle_release(self.key, bytes)
    }

    /// Waits until the body must go; tells the bound. Sets no timer while nothing is held.
    ///
    /// Poll it after what calls [`Self::arrived`], in the same task.
    pub(super) async fn must_go(&self) -> &'static str {
        // The grace is also how often a body is looked at.
        let mut check = pin!(sleep(limits::STALL_GRACE));
        let mut is_set = false;
        poll_fn(|cx| {
            loop {
                if !is_set {
                    if !self.held.lock().holds(self.key) {
                        return Poll::Pending;
                    }
                    check.as_mut().reset(clock() + limits::STALL_GRACE);
                    is_set = true;
                }
                ready!(check.as_mut().poll(cx));
                is_set = false;
                let crowd = self.held.shared.crowd.get().map_or(0, |crowd| crowd());
                let verdict = self.held.lock().verdict(self.key, crowd, now());
                if let Some(limit) = verdict {
                    return Poll::Ready(limit);
                }
            }
        })
        .await
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.held.lock().close(self.key);
    }
}

fn now() -> Instant {
    clock().into_std()
}

/// tokio's clock, so that tests can pause it.
#[expect(clippy::disallowed_methods, reason = "a shell")]
fn clock() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
