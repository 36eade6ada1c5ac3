//! The way from a `101` to the bytes behind it.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::sync::oneshot;

use super::io::TunnelIo;
use crate::error::{Error, ErrorKind};

/// The bytes of a WebSocket, once its service has agreed.
///
/// A request that asks for a WebSocket carries `Connection: Upgrade`, `Upgrade: websocket` and this
/// in its extensions. A service accepts by answering `101` with a `Sec-WebSocket-Accept`, and
/// awaits this value in a task of its own. It gets the bytes when the answer is on its way; an error if
/// the service answered otherwise or the visitor left.
///
/// Clones wait for the same bytes; the first to be polled after they came gets them.
///
/// # Cancel safety
///
/// Dropping it declines.
#[derive(Clone)]
pub struct OnUpgrade {
    receiver: Arc<Mutex<Option<oneshot::Receiver<TunnelIo>>>>,
}

impl OnUpgrade {
    pub(crate) fn new() -> (oneshot::Sender<TunnelIo>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self { receiver: Arc::new(Mutex::new(Some(receiver))) })
    }
}

impl Future for OnUpgrade {
    type Output = Result<TunnelIo, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<TunnelIo, Error>> {
        let mut receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        let io = match receiver.as_mut() {
            Some(waiting) => ready!(Pin::new(waiting).poll(cx)).ok(),
            None => None,
        };
        *receiver = None;
        let gone = || ErrorKind::Network("the upgrade did not take place".into()).into();
        Poll::Ready(io.ok_or_else(gone))
    }
}

impl fmt::Debug for OnUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnUpgrade").finish_non_exhaustive()
    }
}
