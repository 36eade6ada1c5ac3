//! A connection whose peer opens the streams.

use std::{
    future::poll_fn,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{
    RecvStream,
    server::{self, SendResponse},
};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    cork::{Cork, Corked, cork},
    held::Held,
    liveness, settings,
    window::Windows,
};
use crate::{error::Error, state::flood::Role};

/// A request and the way to answer it.
pub(crate) type Stream = (Request<RecvStream>, SendResponse<Bytes>);

/// Accepts the streams of one connection; it reads and writes while [`Self::next`] is awaited.
pub(crate) struct Inbound<T> {
    connection: server::Connection<Corked<T>, Bytes>,
    cork: Cork<T>,
    windows: Windows,
    held: Held,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Inbound<T> {
    /// Waits for the peer's preface.
    pub(crate) async fn handshake(io: T) -> Result<Self, Error> {
        let (io, cork) = cork(io, Role::Connector);
        let connection = settings::connector().handshake(io).await?;
        Ok(Self { connection, cork, windows: Windows::new(), held: Held::default() })
    }

    /// The next stream, or nothing when the peer is done. `streams` are open now: what they say leaves
    /// together.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn next(&mut self, streams: usize) -> Option<Result<Stream, Error>> {
        poll_fn(|cx| self.poll_next(streams, cx)).await
    }

    fn poll_next(
        &mut self,
        streams: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Stream, Error>>> {
        if let Poll::Ready(stream) = self.connection.poll_accept(cx) {
            return Poll::Ready(stream.map(|stream| stream.map_err(Error::from)));
        }
        let connection = &mut self.connection;
        if self.windows.adapt(&self.held, |window| connection.set_initial_window_size(window)) {
            cx.waker().wake_by_ref();
        }
        match self.cork.poll_uncork(streams > 1, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Some(Err(Error::broken(error)))),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    /// The account of what the connection's bodies hold.
    pub(crate) fn held(&self) -> &Held {
        &self.held
    }

    /// Resolves once the peer shows no sign of life. Ask once.
    pub(crate) fn silence(&mut self) -> impl Future<Output = Error> + Send + use<T> {
        liveness::watch(self.connection.ping_pong(), self.cork.heard())
    }

    /// Takes no more streams; [`Self::next`] says when those that are open are done.
    pub(crate) fn graceful_shutdown(&mut self) {
        self.connection.graceful_shutdown();
    }
}
