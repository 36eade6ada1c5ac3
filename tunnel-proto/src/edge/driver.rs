//! The task that reads and writes a connection.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll};

use bytes::Bytes;
use h2::client;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    task::AbortHandle,
};

use crate::{
    error::{Error, ErrorKind},
    net::{
        body::AbortOnDrop,
        cork::{Cork, Corked},
        held::Held,
        liveness,
        window::Windows,
    },
};

/// Drives a connection until it ends, or until this value is dropped.
pub(crate) struct Driver {
    task: AbortOnDrop,
    /// Its other end lives in the task.
    ended: watch::Receiver<Option<Arc<Error>>>,
    held: Held,
}

impl Driver {
    pub(crate) fn spawn<T>(
        mut connection: client::Connection<Corked<T>, Bytes>,
        mut cork: Cork<T>,
        in_flight: watch::Receiver<usize>,
    ) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (reason, ended) = watch::channel(None);
        let held = Held::default();
        let account = held.clone();
        let task = tokio::spawn(async move {
            let silence = liveness::watch(connection.ping_pong(), cork.heard());
            let mut windows = Windows::new();
            let driven = poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
                Poll::Ready(Ok(())) => {
                    let what = "the connector closed the connection";
                    Poll::Ready(ErrorKind::Network(what.into()).into())
                }
                Poll::Ready(Err(error)) => Poll::Ready(error.into()),
                Poll::Pending => {
                    if windows.adapt(&account, |window| connection.set_initial_window_size(window))
                    {
                        cx.waker().wake_by_ref();
                    }
                    match cork.poll_uncork(*in_flight.borrow() > 1, cx) {
                        Poll::Ready(Err(error)) => Poll::Ready(Error::broken(error)),
                        Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
                    }
                }
            });
            let error = tokio::select! {
                error = driven => error,
                error = silence => error,
            };
            let _ = reason.send(Some(Arc::new(error)));
        });
        Self { task: AbortOnDrop(task.abort_handle()), ended, held }
    }

    /// The account of what the connection's bodies hold.
    pub(crate) fn held(&self) -> &Held {
        &self.held
    }

    /// Closes the connection from anywhere.
    pub(crate) fn closer(&self) -> AbortHandle {
        self.task.0.clone()
    }

    /// Whether the connection has ended.
    #[cfg(feature = "cluster")]
    pub(crate) fn is_over(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Waits for the end and says why; nothing if this side closed it.
    pub(crate) fn ended(&self) -> impl Future<Output = Option<String>> + Send + use<> {
        let mut ended = self.ended.clone();
        async move {
            let _ = ended.wait_for(Option::is_some).await;
            ended.borrow().as_ref().map(ToString::to_string)
        }
    }

    /// Why the connection ended, if that is why a stream on it failed.
    pub(super) fn explain(&self, error: Error) -> Error {
        self.ended.borrow().as_ref().map_or(error, |reason| reason.again())
    }
}
