//! Asking a quiet peer whether it is alive.

use h2::{Ping, PingPong};
use tokio::time::{sleep, timeout};

use crate::{
    error::{Error, ErrorKind},
    limits,
};

/// Sends a PING now and then; returns once an answer fails to come.
///
/// cloudflared never sends one over HTTP/2, so without this a vanished peer is noticed only when
/// the kernel gives up on the connection.
pub(crate) async fn watch(ping: Option<PingPong>) -> Error {
    let Some(mut ping) = ping else {
        return std::future::pending().await;
    };
    loop {
        sleep(limits::PING_INTERVAL).await;
        match timeout(limits::PING_TIMEOUT, ping.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return error.into(),
            Err(_) => {
                let error = Error::from(ErrorKind::Network("the peer no longer answers".into()));
                return error.with_limit("PING_TIMEOUT");
            }
        }
    }
}
