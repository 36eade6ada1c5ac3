//! The connections of one tunnel, taken together.

use std::{
    error::Error as StdError,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;

use super::connection::{Connection, Phase, Ready};
use crate::{
    error::{Error, ErrorKind},
    id::TunnelId,
    net::body::Incoming,
};

/// A tunnel: all connections, of one connector or several, that serve the same names.
///
/// Reading the list takes no lock.
#[derive(Debug)]
pub struct Tunnel {
    id: TunnelId,
    connections: ArcSwap<Vec<Connection>>,
    changes: Mutex<()>,
}

impl Tunnel {
    pub(super) fn new(id: TunnelId) -> Arc<Self> {
        Arc::new(Self { id, connections: ArcSwap::default(), changes: Mutex::new(()) })
    }

    /// Sends a request over the connection with the fewest requests in flight.
    ///
    /// A request goes out once. If a connection turns out to be gone before anything was sent, the
    /// next one is tried.
    ///
    /// # Errors
    ///
    /// [`Error::is_offline`] if no connector is connected, [`Error::is_busy`] if all connections
    /// are full, else as [`Connection::send`].
    ///
    /// # Cancel safety
    ///
    /// As [`Connection::send`].
    pub async fn send<B>(&self, request: Request<B>) -> Result<Response<Incoming>, Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        self.ready().await?.send(request).await
    }

    /// Waits for room on the connection with the fewest requests in flight.
    pub(crate) async fn ready(&self) -> Result<Ready, Error> {
        let mut tried: Vec<Connection> = Vec::new();
        while let Some(connection) = self.least_loaded(&tried) {
            match connection.ready().await {
                Ok(ready) => return Ok(ready),
                Err(error) if error.is_busy() => return Err(error),
                Err(_) => tried.push(connection),
            }
        }
        Err(ErrorKind::Offline.into())
    }

    /// The tunnel's id.
    pub fn id(&self) -> TunnelId {
        self.id
    }

    /// A snapshot of the connections that take requests or still finish some.
    pub fn connections(&self) -> Vec<Connection> {
        self.connections.load().to_vec()
    }

    /// Whether a request could be sent just now.
    pub fn is_online(&self) -> bool {
        self.connections.load().iter().any(|connection| connection.phase() == Phase::Serving)
    }

    /// Adds a connection until it closes. An older one with the same connector and index is a
    /// left-over: it is closed.
    pub(super) fn attach(self: &Arc<Self>, connection: Connection) {
        let registration = connection.registration();
        let is_left_over = |old: &Connection| {
            let old = old.registration();
            old.connector_id == registration.connector_id
                && old.connection_index == registration.connection_index
        };
        self.change(|connections| {
            connections.retain(|old| {
                let is_left_over = is_left_over(old);
                if is_left_over {
                    old.close();
                }
                !is_left_over
            });
            connections.push(connection.clone());
        });
        let tunnel = Arc::downgrade(self);
        tokio::spawn(async move {
            connection.reached(Phase::Closed).await;
            if let Some(tunnel) = tunnel.upgrade() {
                tunnel.change(|connections| connections.retain(|old| !old.is_same(&connection)));
            }
        });
    }

    fn least_loaded(&self, tried: &[Connection]) -> Option<Connection> {
        let connections = self.connections.load();
        connections
            .iter()
            .filter(|connection| connection.phase() == Phase::Serving)
            .filter(|connection| !tried.iter().any(|other| other.is_same(connection)))
            .min_by_key(|connection| connection.in_flight())
            .cloned()
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Connection>)) {
        let _guard = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connections = self.connections.load().to_vec();
        change(&mut connections);
        self.connections.store(Arc::new(connections));
    }
}
