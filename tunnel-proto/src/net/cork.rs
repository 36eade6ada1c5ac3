//! Many small frames, one write.
//!
//! `h2` flushes whenever its task has been woken, so under load each small HEADERS or DATA frame would
//! become a TLS record and a system call of its own. A [`Corked`] stream keeps small writes back
//! until whoever drives the connection says [`Cork::poll_uncork`], once it has nothing more to do.
//!
//! All bytes of a connection pass here, so this is also where a peer's frames are counted.

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::liveness::Heard;
use crate::{
    error::{Error, ErrorKind},
    limits,
    state::flood::{Flood, FloodGuard, Role},
};

/// The stream that is given to `h2`.
pub(crate) struct Corked<T>(Arc<Mutex<Inner<T>>>);

/// The handle that stays with the driver.
pub(crate) struct Cork<T> {
    inner: Arc<Mutex<Inner<T>>>,
    /// Whether the last poll gave up its turn to let more frames arrive.
    yielded: bool,
}

struct Inner<T> {
    io: T,
    buffer: BytesMut,
    /// Whether something has been written to `io` that it may still hold itself.
    unflushed: bool,
    guard: FloodGuard,
    flood: Option<Flood>,
    heard: Heard,
}

/// Splits a stream into the part for `h2` and the part for the driver. Both are used by one task,
/// so the lock between them is never contended.
pub(crate) fn cork<T>(io: T, role: Role) -> (Corked<T>, Cork<T>) {
    let inner = Arc::new(Mutex::new(Inner {
        io,
        buffer: BytesMut::new(),
        unflushed: false,
        guard: FloodGuard::new(role, now()),
        flood: None,
        heard: Heard::default(),
    }));
    (Corked(Arc::clone(&inner)), Cork { inner, yielded: false })
}

impl<T: AsyncWrite + Unpin> Cork<T> {
    /// Writes out what was kept back. Call it whenever the connection has been polled and waits.
    ///
    /// With several streams `busy`, it first gives up one turn of the scheduler: other tasks add
    /// their frames, and all leave together. A lone stream is never delayed.
    ///
    /// # Errors
    ///
    /// The stream's own, or a [`Flood`] of the peer's; the connection is over then.
    pub(crate) fn poll_uncork(&mut self, busy: bool, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.inner);
        if let Some(flood) = inner.flood {
            let error = Error::from(ErrorKind::Peer(flood.to_string()));
            return Poll::Ready(Err(io::Error::other(error.with_limit(flood.limit))));
        }
        if inner.buffer.is_empty() && !inner.unflushed {
            return Poll::Ready(Ok(()));
        }
        if busy && !self.yielded && inner.buffer.len() < limits::CORK_BYTES / 2 {
            self.yielded = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.yielded = false;
        inner.poll_flush(cx)
    }
}

impl<T> Cork<T> {
    /// What has been received so far.
    pub(crate) fn heard(&self) -> Heard {
        lock(&self.inner).heard.clone()
    }
}

impl<T> Inner<T> {
    fn count_outbound(&mut self, slices: &[IoSlice<'_>], mut written: usize) {
        for slice in slices {
            let part = &slice[..written.min(slice.len())];
            written -= part.len();
            if let Err(flood) = self.guard.handle_outbound(part, now) {
                self.flood = Some(flood);
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> Inner<T> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.buffer.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.buffer))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.buffer.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Corked<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = lock(&self.0);
        let total = slices.iter().map(|slice| slice.len()).sum();
        if total >= limits::CORK_COPY_BYTES {
            ready!(inner.poll_drain(cx))?;
            inner.unflushed = true;
            let written = ready!(Pin::new(&mut inner.io).poll_write_vectored(cx, slices))?;
            inner.count_outbound(slices, written);
            return Poll::Ready(Ok(written));
        }
        if inner.buffer.len() + total > limits::CORK_BYTES {
            ready!(inner.poll_drain(cx))?;
        }
        for slice in slices {
            inner.buffer.extend_from_slice(slice);
        }
        inner.count_outbound(slices, total);
        Poll::Ready(Ok(total))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Kept for [`Cork::poll_uncork`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        ready!(inner.poll_flush(cx))?;
        Pin::new(&mut inner.io).poll_shutdown(cx)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Corked<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let inner = &mut *lock(&self.0);
        if inner.flood.is_some() {
            // Nothing more is read; the driver hears of it once `h2` has nothing left to do.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut inner.io).poll_read(cx, buffer))?;
        inner.heard.add(buffer.filled().len() - before);
        inner.flood = inner.guard.handle_inbound(&buffer.filled()[before..], now).err();
        Poll::Ready(Ok(()))
    }
}

impl<T> fmt::Debug for Corked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Corked").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Cork<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cork").field("yielded", &self.yielded).finish_non_exhaustive()
    }
}

/// tokio's clock, so that tests can pause it. Read when a budget may be used up.
#[expect(clippy::disallowed_methods, reason = "a shell")]
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn lock<T>(inner: &Mutex<T>) -> MutexGuard<'_, T> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Counts the writes that get through, and takes at most 20,000 bytes of each.
    #[derive(Default)]
    struct Recorder {
        writes: Vec<usize>,
        content: Vec<u8>,
    }

    impl AsyncWrite for Recorder {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            data: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = data.len().min(20_000);
            self.writes.push(taken);
            self.content.extend_from_slice(&data[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn small_writes_leave_together_and_large_ones_at_once_in_order() {
        let (mut corked, mut cork) = cork(Recorder::default(), Role::Connector);
        let mut expected = Vec::new();
        for (count, size) in
            [(100, 50), (1, 30_000), (3, 10), (70, 1_000), (1, limits::CORK_COPY_BYTES)]
        {
            for byte in 0..count {
                let data = vec![byte; size];
                corked.write_all(&data).await.unwrap();
                corked.flush().await.unwrap();
                expected.extend(data);
            }
        }
        corked.write_all(b"last").await.unwrap();
        expected.extend(b"last");
        poll_fn(|cx| cork.poll_uncork(false, cx)).await.unwrap();
        let inner = lock(&cork.inner);
        assert!(inner.io.content == expected, "every byte, in order");
        assert!(inner.io.writes.len() < 12, "{:?}", inner.io.writes);
    }

    #[tokio::test]
    async fn a_busy_connection_gives_up_one_turn_and_no_more() {
        let (mut corked, mut cork) = cork(Recorder::default(), Role::Connector);
        corked.write_all(b"frame").await.unwrap();
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            cork.poll_uncork(true, cx)
        })
        .await
        .unwrap();
        assert_eq!(polls, 2);
        assert_eq!(lock(&cork.inner).io.writes, [5]);
    }

    #[tokio::test]
    async fn shutting_down_writes_out_what_was_kept() {
        let (near, mut far) = tokio::io::duplex(1024);
        let (mut corked, _cork) = cork(near, Role::Connector);
        corked.write_all(b"good-bye").await.unwrap();
        corked.shutdown().await.unwrap();
        let mut seen = String::new();
        far.read_to_string(&mut seen).await.unwrap();
        assert_eq!(seen, "good-bye");
    }
}
