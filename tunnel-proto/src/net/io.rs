//! A stream as plain bytes in both directions.

use std::{
    fmt,
    io::{self, ErrorKind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use h2::{Reason, SendStream};
use http_body::Body as _;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use super::body::Incoming;
use crate::{limits, telemetry::ByteCount};

/// The bytes of a WebSocket or of a TCP flow inside a tunnel.
///
/// Reading ends cleanly when the far end is done; a far end that broke off is
/// [`ConnectionReset`](ErrorKind::ConnectionReset). Back-pressure reaches through the tunnel in both
/// directions. Dropping it ends the stream: at once as an error, or properly if it has been shut
/// down before.
///
/// # Half-close
///
/// Shutting down tells the far end that nothing more comes, and reading goes on. cloudflared is
/// the exception: it ends the whole stream as soon as one direction ends, and what its origin still
/// had to say would be lost. Towards it, the end is told when this value is dropped.
pub struct TunnelIo {
    incoming: Incoming,
    /// Read from the stream, not yet taken.
    chunk: Bytes,
    send: SendStream<Bytes>,
    end: End,
    /// Whether the far end reads on after it has seen our end.
    can_half_close: bool,
    /// What is written.
    count: ByteCount,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// Shut down, but the far end must not know yet.
    Held,
    Told,
}

impl TunnelIo {
    pub(crate) fn new(incoming: Incoming, send: SendStream<Bytes>, can_half_close: bool) -> Self {
        let count = ByteCount::default();
        Self { incoming, chunk: Bytes::new(), send, end: End::Open, can_half_close, count }
    }

    /// Counts the bytes that are written; those that are read are counted as they come in.
    pub(crate) fn counted(mut self, count: ByteCount) -> Self {
        self.count = count;
        self
    }

    /// Breaks the stream off.
    pub(crate) fn reset(&mut self, reason: Reason) {
        self.send.send_reset(reason);
    }
}

impl AsyncBufRead for TunnelIo {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.chunk.is_empty() {
            match ready!(Pin::new(&mut this.incoming).poll_frame(cx)) {
                Some(Ok(frame)) => this.chunk = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => {
                    return Poll::Ready(Err(io::Error::new(ErrorKind::ConnectionReset, error)));
                }
                None => break,
            }
        }
        Poll::Ready(Ok(&this.chunk))
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.chunk.advance(amount);
    }
}

impl AsyncRead for TunnelIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let chunk = ready!(self.as_mut().poll_fill_buf(cx))?;
        let taken = chunk.len().min(buffer.remaining());
        buffer.put_slice(&chunk[..taken]);
        self.consume(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TunnelIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.end != End::Open {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.send.reserve_capacity(data.len().min(limits::FRAME_BYTES as usize));
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
            }
        }
        let taken = data.len().min(self.send.capacity());
        let part = Bytes::copy_from_slice(&data[..taken]);
        self.send.send_data(part, false).map_err(broken)?;
        self.count.add(taken);
        Poll::Ready(Ok(taken))
    }

    /// What has been written leaves by itself.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.end == End::Open {
            self.end = End::Held;
            if self.can_half_close {
                self.end = End::Told;
                self.send.send_data(Bytes::new(), true).map_err(broken)?;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for TunnelIo {
    fn drop(&mut self) {
        if self.end == End::Held {
            // An error means that the far end was faster.
            let _ = self.send.send_data(Bytes::new(), true);
        }
    }
}

impl fmt::Debug for TunnelIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelIo").field("end", &self.end).finish_non_exhaustive()
    }
}

fn broken(error: h2::Error) -> io::Error {
    io::Error::new(ErrorKind::BrokenPipe, error)
}
