//! The task that reads and writes a connection.

use bytes::Bytes;
use h2::client;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    task::AbortHandle,
};

use crate::{
    error::ErrorKind,
    net::{body::AbortOnDrop, liveness},
};

/// Drives a connection until it ends, or until this value is dropped.
pub(super) struct Driver {
    task: AbortOnDrop,
    /// Its other end lives in the task.
    ended: watch::Receiver<Option<String>>,
}

impl Driver {
    pub(super) fn spawn<T>(mut connection: client::Connection<T, Bytes>) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (reason, ended) = watch::channel(None);
        let task = tokio::spawn(async move {
            let ping = connection.ping_pong();
            let error = tokio::select! {
                result = connection => match result {
                    Ok(()) => ErrorKind::Network("the connector closed the connection".into()).into(),
                    Err(error) => error.into(),
                },
                error = liveness::watch(ping) => error,
            };
            let _ = reason.send(Some(error.to_string()));
        });
        Self { task: AbortOnDrop(task.abort_handle()), ended }
    }

    /// Closes the connection from anywhere.
    pub(super) fn closer(&self) -> AbortHandle {
        self.task.0.clone()
    }

    /// Waits for the end and says why; nothing if this side closed it.
    pub(super) fn ended(&self) -> impl Future<Output = Option<String>> + Send + use<> {
        let mut ended = self.ended.clone();
        async move {
            let _ = ended.wait_for(Option::is_some).await;
            ended.borrow().clone()
        }
    }
}
