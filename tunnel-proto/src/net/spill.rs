//! Taking what arrives on a stream as soon as it arrives.
//!
//! `h2` charges small unread DATA frames to a budget of the whole connection and closes it when that is
//! used up, so one visitor who stops reading an event stream would take everybody else's requests
//! along. Here frames are taken out of `h2` at once, and small ones are joined. Mostly a body is whole
//! when its head is looked at; if it is short too, that is all. Else a task of its own takes the rest. No
//! room is given back to the sender before the reader has taken the bytes, so at most one stream's
//! window is held; all bodies of a connection share what they may hold (`net::held`).

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Bytes, BytesMut};
use h2::{FlowControl, RecvStream};
use http::HeaderMap;
use tokio::task::AbortHandle;

use super::{
    body::AbortOnDrop,
    held::{Account, Held, Short},
};
use crate::limits;

/// The reader's end.
pub(super) enum Spill {
    /// All of it is here, and it is short. Nothing of the tunnel waits for its reader.
    Whole { queue: Queue, _short: Short },
    /// More may come, or it is long. The task ends with the reader.
    Coming { shared: Arc<Shared>, _task: AbortOnDrop },
}

/// What the reader gets.
pub(super) enum Spilled {
    Data(Bytes),
    /// Boxed: few bodies have them, and all have room for what this enum may hold.
    Trailers(Box<HeaderMap>),
    End,
    /// Nobody came for the bytes; the bound that was reached.
    Abandoned(&'static str),
}

/// Whatever is let go of by being dropped.
pub(super) type Guard = Box<dyn Send + Sync>;

pub(super) struct Shared {
    account: Account,
    state: Mutex<State>,
}

struct State {
    queue: Queue,
    /// What lives as long as the stream, or as its reader.
    guard: Option<Guard>,
    /// As long as the stream is there.
    flow_control: Option<FlowControl>,
    reader: Option<Waker>,
}

/// What lies here for the reader, in the order it came.
#[derive(Default)]
pub(super) struct Queue {
    bytes: usize,
    chunks: VecDeque<Bytes>,
    /// Small frames, joined, after all of `chunks`.
    tail: BytesMut,
    end: Option<Result<Spilled, h2::Error>>,
}

impl Spill {
    /// `other_way` is the task that sends on the same stream: if the body is abandoned, it ends too, so
    /// that nothing keeps the stream from being reset.
    pub(super) fn new(mut stream: RecvStream, held: &Held, other_way: Option<AbortHandle>) -> Self {
        let mut queue = Queue::default();
        let is_whole = queue.poll_fill(&mut stream, &mut Context::from_waker(Waker::noop()));
        if is_whole.is_ready()
            && queue.bytes <= limits::SHORT_BODY_BYTES
            && let Some(short) = held.keep_short(queue.bytes)
        {
            // An error means that the stream is over, and its room with it.
            let _ = stream.flow_control().release_capacity(queue.bytes);
            return Self::Whole { queue, _short: short };
        }
        let account = held.open();
        account.arrived(queue.bytes);
        let flow_control = Some(stream.flow_control().clone());
        let state = Mutex::new(State { queue, guard: None, flow_control, reader: None });
        let shared = Arc::new(Shared { account, state });
        let task = tokio::spawn(Arc::clone(&shared).fill(stream, is_whole.is_ready(), other_way));
        Self::Coming { shared, _task: AbortOnDrop(task.abort_handle()) }
    }

    /// Lets go of a guard when the body is abandoned, whose reader may be away for hours. Gives it back if that
    /// can't be.
    pub(super) fn guard(&mut self, guard: Option<Guard>) -> Option<Guard> {
        match self {
            Self::Whole { .. } => guard,
            Self::Coming { shared, .. } => {
                shared.state().guard = guard;
                None
            }
        }
    }

    /// Takes the guard back, if it is here still.
    pub(super) fn take_guard(&mut self) -> Option<Guard> {
        match self {
            Self::Whole { .. } => None,
            Self::Coming { shared, .. } => shared.state().guard.take(),
        }
    }

    /// Whether all of it is here and short.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Whole { .. })
    }

    /// The reader has come back for more, so it is done with these bytes: the sender may send as much again,
    /// or what its share allows of it.
    pub(super) fn release(&mut self, bytes: usize) {
        let Self::Coming { shared, .. } = self else { return };
        shared.account.read(bytes);
        let given = shared.account.release(bytes);
        if let Some(flow_control) = &mut shared.state().flow_control
            && given > 0
        {
            // An error means that the stream is over; the next poll tells how.
            let _ = flow_control.release_capacity(given);
        }
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Spilled, h2::Error>> {
        match self {
            Self::Whole { queue, .. } => Poll::Ready(queue.pop().unwrap_or(Ok(Spilled::End))),
            Self::Coming { shared, .. } => {
                let mut state = shared.state();
                let Some(next) = state.queue.pop() else {
                    state.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                };
                Poll::Ready(next)
            }
        }
    }

    /// Whether it is certain that the end is next.
    pub(super) fn is_at_end(&self) -> bool {
        match self {
            Self::Whole { queue, .. } => queue.is_at_end(),
            Self::Coming { shared, .. } => shared.state().queue.is_at_end(),
        }
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        // The task ends a little later.
        drop(self.take_guard());
    }
}

impl Shared {
    /// Takes all that comes, then waits with it for the reader.
    async fn fill(
        self: Arc<Self>,
        mut stream: RecvStream,
        mut is_whole: bool,
        other_way: Option<AbortHandle>,
    ) {
        let fill = poll_fn(|cx| {
            is_whole = is_whole || self.poll_fill(&mut stream, cx).is_ready();
            Poll::<Infallible>::Pending
        });
        let limit = tokio::select! {
            biased;
            never = fill => match never {},
            limit = self.account.must_go() => limit,
        };
        self.abandon(limit);
        if let Some(other_way) = other_way {
            other_way.abort();
        }
    }

    fn poll_fill(&self, stream: &mut RecvStream, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        let before = state.queue.bytes;
        let filled = state.queue.poll_fill(stream, cx);
        let arrived = state.queue.bytes - before;
        // Before the reader can take it.
        self.account.arrived(arrived);
        if arrived > 0 || filled.is_ready() {
            state.wake();
        }
        filled
    }

    /// Lets go of everything. The stream is reset once nobody holds it.
    fn abandon(&self, limit: &'static str) {
        let mut state = self.state();
        self.account.read(usize::MAX);
        state.flow_control = None;
        state.queue = Queue { end: Some(Ok(Spilled::Abandoned(limit))), ..Queue::default() };
        let guard = state.guard.take();
        state.wake();
        drop(state);
        drop(guard);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Queue {
    /// Takes what has come; ready when nothing more will.
    fn poll_fill(&mut self, stream: &mut RecvStream, cx: &mut Context<'_>) -> Poll<()> {
        let end = loop {
            match ready!(stream.poll_data(cx)) {
                Some(Ok(data)) => self.push(data),
                Some(Err(error)) => break Err(error),
                None => {
                    let trailers = ready!(stream.poll_trailers(cx));
                    break trailers.map(|it| {
                        it.map_or(Spilled::End, |trailers| Spilled::Trailers(Box::new(trailers)))
                    });
                }
            }
        };
        self.end = Some(end);
        Poll::Ready(())
    }

    fn push(&mut self, data: Bytes) {
        self.bytes += data.len();
        if data.len() < limits::JOINED_FRAME_BYTES {
            self.tail.extend_from_slice(&data);
            return;
        }
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
        self.chunks.push_back(data);
    }

    /// The next piece, if it is here.
    fn pop(&mut self) -> Option<Result<Spilled, h2::Error>> {
        let chunk = match self.chunks.pop_front() {
            None if !self.tail.is_empty() => Some(self.tail.split().freeze()),
            chunk => chunk,
        };
        if let Some(chunk) = chunk {
            self.bytes -= chunk.len();
            return Some(Ok(Spilled::Data(chunk)));
        }
        self.end.take()
    }

    fn is_at_end(&self) -> bool {
        self.bytes == 0 && matches!(self.end, Some(Ok(Spilled::End)))
    }
}

#[cfg(test)]
mod tests {
    use h2::{SendStream, client, server};
    use http::{Request, Response};
    use tokio::{runtime::Handle, time::sleep};

    use super::*;

    /// A response body of which all has arrived that `send` sends.
    async fn arrived(send: impl FnOnce(SendStream<Bytes>)) -> RecvStream {
        let (near, far) = tokio::io::duplex(1024 * 1024);
        let (serving, asking) = tokio::join!(server::handshake(far), client::handshake(near));
        let (mut serving, (mut requests, asking)) = (serving.unwrap(), asking.unwrap());
        tokio::spawn(asking);
        let request = Request::get("http://a.test/").body(()).unwrap();
        let (response, _) = requests.send_request(request, true).unwrap();
        let (_, mut respond) = serving.accept().await.unwrap().unwrap();
        send(respond.send_response(Response::new(()), false).unwrap());
        tokio::spawn(async move {
            let _requests = requests;
            serving.accept().await.map(drop)
        });
        let body = response.await.unwrap().into_body();
        sleep(limits::STALL_GRACE).await;
        body
    }

    async fn next(spill: &mut Spill) -> Spilled {
        poll_fn(|cx| spill.poll_next(cx)).await.unwrap()
    }

    fn tasks() -> usize {
        Handle::current().metrics().num_alive_tasks()
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_body_that_is_here_needs_no_task() {
        let stream = arrived(|mut send| {
            for part in [&b"one "[..], b"two ", &[b'x'; 3_000]] {
                send.send_data(Bytes::copy_from_slice(part), false).unwrap();
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("x-checksum", "7".parse().unwrap());
            send.send_trailers(trailers).unwrap();
        })
        .await;
        let before = tasks();
        let mut spill = Spill::new(stream, &Held::default(), None);
        assert_eq!(tasks(), before);
        let mut seen = Vec::new();
        let trailers = loop {
            assert!(!spill.is_at_end(), "there is more");
            match next(&mut spill).await {
                Spilled::Data(data) => seen.extend_from_slice(&data),
                Spilled::Trailers(trailers) => break trailers,
                Spilled::End | Spilled::Abandoned(_) => panic!("there are trailers"),
            }
        };
        assert_eq!(seen, [b"one two ", &[b'x'; 3_000][..]].concat());
        assert_eq!(trailers["x-checksum"], "7");
        assert!(matches!(next(&mut spill).await, Spilled::End));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_piece_of_a_body_says_so() {
        let stream = arrived(|mut send| send.send_data("hello".into(), true).unwrap()).await;
        let mut spill = Spill::new(stream, &Held::default(), None);
        assert!(matches!(next(&mut spill).await, Spilled::Data(data) if data == "hello"));
        assert!(spill.is_at_end());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_long_is_watched_though_it_is_here() {
        let stream = arrived(|mut send| {
            send.reserve_capacity(2 * limits::SHORT_BODY_BYTES);
            let long = Bytes::from(vec![b'x'; 2 * limits::SHORT_BODY_BYTES]);
            send.send_data(long, true).unwrap();
        })
        .await;
        let held = Held::default();
        let mut spill = Spill::new(stream, &held.hurried(limits::STALL_PATIENCE), None);
        assert_eq!(held.laden(), 1);
        sleep(limits::STALL_PATIENCE + limits::STALL_GRACE).await;
        assert!(matches!(next(&mut spill).await, Spilled::Abandoned("STALL_PATIENCE")));
        assert_eq!(held.laden(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_still_to_come_comes() {
        let (give, mut given) = tokio::sync::mpsc::unbounded_channel();
        let stream = arrived(|send| give.send(send).unwrap()).await;
        let mut spill = Spill::new(stream, &Held::default(), None);
        let mut send = given.recv().await.unwrap();
        for part in ["one", "two"] {
            send.send_data(part.into(), part == "two").unwrap();
            assert!(matches!(next(&mut spill).await, Spilled::Data(data) if data == part));
        }
        assert!(matches!(next(&mut spill).await, Spilled::End));
    }
}
