//! Asking a quiet peer whether it is alive.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use h2::{Ping, PingPong};
use tokio::time::{sleep, timeout};

use crate::{
    error::{Error, ErrorKind},
    limits,
};

/// How much a peer has been heard to say, in bytes. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard(Arc<AtomicU64>);

impl Heard {
    pub(super) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sends a PING now and then; returns once the peer says nothing more. Whatever it says is a sign of
/// life: on a slow link, the answer waits behind all that is on its way already.
///
/// cloudflared never sends one over HTTP/2, so without this a vanished peer is noticed only when
/// the kernel gives up on the connection.
pub(crate) async fn watch(ping: Option<PingPong>, heard: Heard) -> Error {
    let Some(mut ping) = ping else {
        return std::future::pending().await;
    };
    loop {
        sleep(limits::PING_INTERVAL).await;
        if let Err(error) = answered(&mut ping, &heard).await {
            return error;
        }
    }
}

async fn answered(ping: &mut PingPong, heard: &Heard) -> Result<(), Error> {
    let mut pong = pin!(ping.ping(Ping::opaque()));
    let mut waited = Duration::ZERO;
    while waited < limits::PONG_TIMEOUT {
        let before = heard.bytes();
        if let Ok(pong) = timeout(limits::PING_TIMEOUT, &mut pong).await {
            return Ok(pong.map(drop)?);
        }
        if heard.bytes() == before {
            return Err(silent("PING_TIMEOUT"));
        }
        waited += limits::PING_TIMEOUT;
    }
    Err(silent("PONG_TIMEOUT"))
}

fn silent(limit: &'static str) -> Error {
    Error::from(ErrorKind::Network("the peer no longer answers".into())).with_limit(limit)
}
