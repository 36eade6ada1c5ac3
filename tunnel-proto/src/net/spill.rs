//! Reading a body of unknown length as fast as it arrives.
//!
//! `h2` charges small unread DATA frames to a budget of the whole connection and closes it when that is
//! used up, so one visitor who stops reading an event stream would take everybody else's requests
//! along. Here a task of its own takes frames out of `h2` at once and joins small ones. No room is
//! given back to the sender before the reader has taken the bytes, so at most one stream's window
//! is held.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use h2::{FlowControl, RecvStream};
use http::HeaderMap;

use super::body::AbortOnDrop;

/// Frames shorter than this are joined; longer ones are passed on as they are.
const SMALL_BYTES: usize = 1024;

/// The reader's end. The task ends with it.
pub(super) struct Spill {
    shared: Arc<Mutex<Shared>>,
    flow_control: FlowControl,
    _task: AbortOnDrop,
}

/// What the reader gets.
pub(super) enum Spilled {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

#[derive(Default)]
struct Shared {
    chunks: VecDeque<Bytes>,
    /// Small frames, joined, after all of `chunks`.
    tail: BytesMut,
    end: Option<Result<Option<HeaderMap>, h2::Error>>,
    reader: Option<Waker>,
}

impl Spill {
    pub(super) fn new(mut stream: RecvStream) -> Self {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let flow_control = stream.flow_control().clone();
        let filled = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Some(data) = stream.data().await {
                match data {
                    Ok(data) => lock(&filled).push(data),
                    Err(error) => return lock(&filled).finish(Err(error)),
                }
            }
            let trailers = stream.trailers().await;
            lock(&filled).finish(trailers);
        });
        Self { shared, flow_control, _task: AbortOnDrop(task.abort_handle()) }
    }

    /// Lets the sender send as much again.
    pub(super) fn release(&mut self, bytes: usize) {
        // An error means that the stream is over; the next poll tells how.
        let _ = self.flow_control.release_capacity(bytes);
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Spilled, h2::Error>> {
        let mut shared = lock(&self.shared);
        if let Some(chunk) = shared.chunks.pop_front() {
            return Poll::Ready(Ok(Spilled::Data(chunk)));
        }
        if !shared.tail.is_empty() {
            return Poll::Ready(Ok(Spilled::Data(shared.tail.split().freeze())));
        }
        match shared.end.take() {
            Some(Ok(Some(trailers))) => Poll::Ready(Ok(Spilled::Trailers(trailers))),
            Some(Ok(None)) => Poll::Ready(Ok(Spilled::End)),
            Some(Err(error)) => Poll::Ready(Err(error)),
            None => {
                shared.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Shared {
    fn push(&mut self, data: Bytes) {
        if data.len() < SMALL_BYTES {
            self.tail.extend_from_slice(&data);
        } else {
            if !self.tail.is_empty() {
                self.chunks.push_back(self.tail.split().freeze());
            }
            self.chunks.push_back(data);
        }
        self.wake();
    }

    fn finish(&mut self, end: Result<Option<HeaderMap>, h2::Error>) {
        self.end = Some(end);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
