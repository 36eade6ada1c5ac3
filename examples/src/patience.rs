//! Clients that connect and say nothing.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// A stream whose first bytes must come in time.
///
/// HTTP servers time the reading of a request's head, but only once they know which HTTP it is,
/// which takes as many bytes as HTTP/2 begins with (RFC 9113 section 3.4).
#[derive(Debug)]
pub struct Patience<T> {
    io: T,
    awaited: usize,
    deadline: Option<Pin<Box<Sleep>>>,
}

/// Length of HTTP/2's preface.
const PREFACE_BYTES: usize = 24;

impl<T> Patience<T> {
    /// Gives the peer this long to say which HTTP it speaks.
    pub fn new(io: T, patience: Duration) -> Self {
        Self { io, awaited: PREFACE_BYTES, deadline: Some(Box::pin(sleep(patience))) }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Patience<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buffer);
        let Some(deadline) = &mut this.deadline else { return read };
        if read.is_pending() {
            return deadline.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        this.awaited = this.awaited.saturating_sub(buffer.filled().len() - before);
        if this.awaited == 0 {
            this.deadline = None;
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patience<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn drops_before_the_preface_do_not_buy_more_time() {
        let (near, mut far) = duplex(64);
        let mut near = Patience::new(near, PATIENCE);
        let reading = tokio::spawn(async move { near.read_to_end(&mut Vec::new()).await });
        for _ in 0..20 {
            let _ = far.write_all(b"x").await;
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(reading.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_begun_may_pause() {
        let (near, mut far) = duplex(64);
        let mut near = Patience::new(near, PATIENCE);
        let reading = tokio::spawn(async move { near.read_to_end(&mut Vec::new()).await });
        far.write_all(&[0; PREFACE_BYTES]).await.unwrap();
        sleep(100 * PATIENCE).await;
        far.write_all(b"later").await.unwrap();
        drop(far);
        assert_eq!(reading.await.unwrap().unwrap(), PREFACE_BYTES + 5);
    }
}
