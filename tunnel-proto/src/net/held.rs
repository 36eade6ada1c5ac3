//! One connection's account of what its bodies hold.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, ready},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{limits, state::holdings::Holdings};

/// The account. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    holdings: Arc<Mutex<Holdings>>,
    patience: Option<Duration>,
}

impl Held {
    /// For bodies whose readers must not stop for longer than [`limits::STALL_TIMEOUT`].
    pub(crate) fn hurried(&self) -> Self {
        Self { patience: Some(limits::STALL_TIMEOUT), ..self.clone() }
    }

    /// Bodies that hold so much that windows shall shrink for them.
    pub(super) fn laden(&self) -> usize {
        self.lock().laden()
    }

    /// Adds a body.
    pub(super) fn open(&self) -> Account {
        let key = self.lock().open(now());
        Account { held: self.clone(), key }
    }

    fn lock(&self) -> MutexGuard<'_, Holdings> {
        self.holdings.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// The reader took bytes.
    pub(super) fn read(&self, bytes: usize) {
        self.held.lock().handle_read(self.key, bytes, now());
    }

    /// The reader is done with bytes: how many the sender may send for them.
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
                let verdict = self.held.lock().verdict(self.key, self.held.patience, now());
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
