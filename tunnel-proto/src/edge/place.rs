//! Room for streams on a connection.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::{Notify, watch};

use super::connection::{Connection, Phase, Shared};
use crate::{
    error::{Error, ErrorKind},
    limits,
    net::held::Held,
};

/// The places of one connection.
#[derive(Debug)]
pub(super) struct Places {
    taken: watch::Sender<usize>,
    /// Wakes one waiter for each place that comes free, the longest waiting first.
    freed: Notify,
    waiting: AtomicUsize,
}

impl Places {
    pub(super) fn new(taken: watch::Sender<usize>) -> Self {
        Self { taken, freed: Notify::new(), waiting: AtomicUsize::new(0) }
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        *self.taken.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<usize> {
        self.taken.subscribe()
    }

    /// Lets all waiters look whether waiting is still of use.
    pub(super) fn wake_waiters(&self) {
        self.freed.notify_waiters();
    }
}

/// One request's place, from before it is sent until its response body is dropped.
pub(super) struct InFlight(Arc<Shared>);

impl InFlight {
    /// Takes a place unless the connection is full: no more streams than the connector allows,
    /// beside the control stream.
    pub(super) fn take(shared: &Arc<Shared>) -> Option<Self> {
        let allowed = shared.allowed_streams();
        let taken = shared.places.taken.send_if_modified(|count| {
            let is_free = *count < allowed;
            *count += usize::from(is_free);
            is_free
        });
        taken.then(|| Self(Arc::clone(shared)))
    }

    /// Waits for a place, as long as the connection takes requests.
    ///
    /// # Cancel safety
    ///
    /// Safe: a place that came free meanwhile goes to the next who waits.
    pub(super) async fn wait(shared: &Arc<Shared>) -> Result<Self, Error> {
        let mut waiter = None;
        loop {
            // In the queue before the look: of two places that come free in between, `notify_one` would
            // keep only one in mind.
            let mut freed = pin!(shared.places.freed.notified());
            freed.as_mut().enable();
            if shared.phase() != Phase::Serving {
                let what = "the connection takes no more requests";
                return Err(ErrorKind::Network(what.into()).into());
            }
            if let Some(place) = Self::take(shared) {
                return Ok(place);
            }
            if waiter.is_none() {
                waiter = Some(Waiter::new(&shared.places)?);
            }
            freed.await;
        }
    }

    /// Whose place it is.
    pub(super) fn connection(&self) -> Connection {
        Connection::from(Arc::clone(&self.0))
    }

    /// The account of what the connection's bodies hold.
    pub(super) fn held(&self) -> &Held {
        self.0.held()
    }

    /// The same for a response's body: a visitor who takes nothing of it may lose it.
    pub(super) fn hurried(&self) -> Held {
        self.0.held().hurried(self.0.stall_patience)
    }

    /// Counts the request as sent.
    pub(super) fn count(&self) {
        self.0.count_sent();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.places.taken.send_modify(|count| *count -= 1);
        self.0.places.freed.notify_one();
    }
}

/// One request that waits.
struct Waiter<'a>(&'a Places);

impl<'a> Waiter<'a> {
    fn new(places: &'a Places) -> Result<Self, Error> {
        let waiter = Self(places);
        if places.waiting.fetch_add(1, Ordering::Relaxed) >= limits::STREAM_WAITERS {
            return Err(Error::from(ErrorKind::Busy).with_limit("STREAM_WAITERS"));
        }
        Ok(waiter)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
