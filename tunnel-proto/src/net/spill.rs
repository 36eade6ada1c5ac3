//! Reading a long body as fast as it arrives.
//!
//! `h2` charges small unread DATA frames to a budget of the whole connection and closes it when that is
//! used up, so one visitor who stops reading an event stream would take everybody else's requests
//! along. Here a task of its own takes frames out of `h2` at once and joins small ones. No room is
//! given back to the sender before the reader has taken the bytes, so at most one stream's window
//! is held; all bodies of a connection share what they may hold (`net::held`).

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use h2::{FlowControl, RecvStream};
use http::HeaderMap;
use tokio::task::AbortHandle;

use super::{
    body::AbortOnDrop,
    held::{Account, Held},
};
use crate::limits;

/// The reader's end. The task ends with it.
pub(super) struct Spill {
    shared: Arc<Shared>,
    _task: AbortOnDrop,
}

/// What the reader gets.
pub(super) enum Spilled {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    /// Nobody came for the bytes; the bound that was reached.
    Abandoned(&'static str),
}

struct Shared {
    account: Account,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    chunks: VecDeque<Bytes>,
    /// Small frames, joined, after all of `chunks`.
    tail: BytesMut,
    end: Option<Result<Spilled, h2::Error>>,
    /// As long as the stream is there.
    flow_control: Option<FlowControl>,
    reader: Option<Waker>,
}

impl Spill {
    /// `other_way` is the task that sends on the same stream: if the body is abandoned, it ends too, so
    /// that nothing keeps the stream from being reset.
    pub(super) fn new(mut stream: RecvStream, held: &Held, other_way: Option<AbortHandle>) -> Self {
        let flow_control = Some(stream.flow_control().clone());
        let queue = Mutex::new(Queue { flow_control, ..Queue::default() });
        let shared = Arc::new(Shared { account: held.open(), queue });
        let filled = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let fill = async {
                filled.fill(&mut stream).await;
                // What has arrived still waits for its reader.
                std::future::pending::<()>().await;
            };
            let limit = tokio::select! {
                biased;
                () = fill => return,
                limit = filled.account.must_go() => limit,
            };
            filled.abandon(limit);
            if let Some(other_way) = other_way {
                other_way.abort();
            }
        });
        Self { shared, _task: AbortOnDrop(task.abort_handle()) }
    }

    /// Lets the sender send as much again, or what its share allows of it.
    pub(super) fn release(&mut self, bytes: usize) {
        let given = self.shared.account.release(bytes);
        if let Some(flow_control) = &mut self.shared.queue().flow_control
            && given > 0
        {
            // An error means that the stream is over; the next poll tells how.
            let _ = flow_control.release_capacity(given);
        }
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Spilled, h2::Error>> {
        let mut queue = self.shared.queue();
        let chunk = match queue.chunks.pop_front() {
            None if !queue.tail.is_empty() => Some(queue.tail.split().freeze()),
            chunk => chunk,
        };
        if let Some(chunk) = chunk {
            drop(queue);
            self.shared.account.read(chunk.len());
            return Poll::Ready(Ok(Spilled::Data(chunk)));
        }
        if let Some(end) = queue.end.take() {
            return Poll::Ready(end);
        }
        queue.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Shared {
    /// Takes all that comes.
    async fn fill(&self, stream: &mut RecvStream) {
        let end = loop {
            match stream.data().await {
                Some(Ok(data)) => {
                    self.account.arrived(data.len());
                    self.queue().push(data);
                }
                Some(Err(error)) => break Err(error),
                None => {
                    let trailers = stream.trailers().await;
                    break trailers.map(|it| it.map_or(Spilled::End, Spilled::Trailers));
                }
            }
        };
        self.queue().finish(end);
    }

    /// Lets go of everything. The stream is reset once nobody holds it.
    fn abandon(&self, limit: &'static str) {
        let mut queue = self.queue();
        self.account.read(usize::MAX);
        *queue = Queue { reader: queue.reader.take(), ..Queue::default() };
        queue.finish(Ok(Spilled::Abandoned(limit)));
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&mut self, data: Bytes) {
        if data.len() < limits::JOINED_FRAME_BYTES {
            self.tail.extend_from_slice(&data);
        } else {
            if !self.tail.is_empty() {
                self.chunks.push_back(self.tail.split().freeze());
            }
            self.chunks.push_back(data);
        }
        self.wake();
    }

    fn finish(&mut self, end: Result<Spilled, h2::Error>) {
        self.end = Some(end);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}
