//! A request body that can be sent anew as long as nothing of it has been read.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A body in two hands: one sends it, the other may take it back.
pub(crate) struct Kept<B>(Option<Arc<Mutex<Slot<B>>>>);

struct Slot<B> {
    /// Nothing once it has been taken back.
    body: Option<Pin<Box<B>>>,
    is_touched: bool,
}

impl<B: Body<Data = Bytes>> Kept<B> {
    pub(crate) fn new(body: B) -> Self {
        let is_empty = body.is_end_stream();
        Self((!is_empty).then(|| Self::slot(Box::pin(body))))
    }

    /// The hand that sends it.
    pub(crate) fn lend(&self) -> Self {
        Self(self.0.clone())
    }

    /// Takes it back from whoever has it, unless some of it has been read.
    pub(crate) fn take_back(self) -> Option<Self> {
        let Some(slot) = self.0 else {
            return Some(Self(None));
        };
        let mut slot = lock(&slot);
        if slot.is_touched {
            return None;
        }
        slot.body.take().map(|body| Self(Some(Self::slot(body))))
    }

    fn slot(body: Pin<Box<B>>) -> Arc<Mutex<Slot<B>>> {
        Arc::new(Mutex::new(Slot { body: Some(body), is_touched: false }))
    }

    fn ask<T>(&self, ask: impl FnOnce(&B) -> T, empty: T) -> T {
        match &self.0 {
            Some(slot) => lock(slot).body.as_deref().map_or(empty, ask),
            None => empty,
        }
    }
}

impl<B: Body<Data = Bytes>> Body for Kept<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(slot) = &self.0 else {
            return Poll::Ready(None);
        };
        let mut slot = lock(slot);
        // Whoever sent it is about to be dropped if it has been taken back.
        let Some(body) = &mut slot.body else {
            return Poll::Pending;
        };
        let frame = ready!(body.as_mut().poll_frame(cx));
        slot.is_touched = true;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ask(B::is_end_stream, true)
    }

    fn size_hint(&self) -> SizeHint {
        self.ask(B::size_hint, SizeHint::with_exact(0))
    }
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
