//! Two byte streams joined.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep_until},
};

use crate::limits;

/// Joins two byte streams until both directions have ended, and returns how many bytes went from
/// `a` to `b` and from `b` to `a`.
///
/// When one direction ends, its target is shut down and the other direction goes on; then it may be
/// quiet for ten seconds at most. Whatever was read before an end is written out. A pair
/// that waits holds no buffers.
///
/// # Errors
///
/// The first error of either stream ends both directions.
///
/// # Cancel safety
///
/// Dropping the future drops both streams; bytes read and not yet written are lost.
pub async fn relay<A, B>(mut a: A, mut b: B) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut up, mut down) = (Direction::default(), Direction::default());
    let mut quiet_since: Option<(u64, Pin<Box<tokio::time::Sleep>>)> = None;
    poll_fn(|cx| {
        let there = up.poll(&mut a, &mut b, cx)?;
        let back = down.poll(&mut b, &mut a, cx)?;
        if there.is_ready() && back.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if there.is_pending() && back.is_pending() {
            return Poll::Pending;
        }
        // One direction has ended: the other is watched.
        let moved = up.bytes + down.bytes;
        let (seen, deadline) =
            quiet_since.get_or_insert_with(|| (moved, Box::pin(sleep_until(linger()))));
        if *seen != moved {
            *seen = moved;
            deadline.as_mut().reset(linger());
        }
        deadline.as_mut().poll(cx).map(Ok)
    })
    .await
    .map(|()| (up.bytes, down.bytes))
}

/// One direction of a pair.
#[derive(Default)]
struct Direction {
    /// Read, but not yet taken by the target.
    pending: BytesMut,
    bytes: u64,
    unflushed: bool,
    phase: Phase,
}

#[derive(Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Copying,
    ShuttingDown,
    Done,
}

impl Direction {
    fn poll<R, W>(&mut self, from: &mut R, to: &mut W, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            while !self.pending.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.pending))?;
                self.wrote(written)?;
                self.pending.advance(written);
                if self.pending.is_empty() {
                    self.pending = BytesMut::new();
                }
            }
            match self.phase {
                Phase::Copying => {
                    if self.poll_chunk(from, to, cx)?.is_pending() {
                        if self.unflushed {
                            ready!(Pin::new(&mut *to).poll_flush(cx))?;
                            self.unflushed = false;
                        }
                        return Poll::Pending;
                    }
                }
                Phase::ShuttingDown => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.phase = Phase::Done;
                }
                Phase::Done => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Reads once and writes what the target takes; the rest waits in `pending`.
    fn poll_chunk<R, W>(
        &mut self,
        from: &mut R,
        to: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut stack = [MaybeUninit::uninit(); limits::RELAY_CHUNK_BYTES];
        let mut buffer = ReadBuf::uninit(&mut stack);
        ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
        let mut data = buffer.filled();
        if data.is_empty() {
            self.phase = Phase::ShuttingDown;
        }
        while !data.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, data)? {
                Poll::Ready(written) => {
                    self.wrote(written)?;
                    data = &data[written..];
                }
                Poll::Pending => {
                    self.pending = BytesMut::from(data);
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, bytes: usize) -> io::Result<()> {
        if bytes == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.bytes += bytes as u64;
        self.unflushed = true;
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "a shell; tokio's clock, so tests can pause it")]
fn linger() -> Instant {
    Instant::now() + limits::HALF_CLOSED_QUIET
}
