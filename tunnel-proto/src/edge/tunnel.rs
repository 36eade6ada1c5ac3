//! The connections of one tunnel, taken together.

use std::{
    error::Error as StdError,
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::Poll,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tracing::debug;

use super::{
    connection::{Connection, Phase},
    event::{Event, Hub},
    exchange::{Ready, Upgrade},
    push,
};
use crate::{
    error::{Error, ErrorKind, one_line},
    id::TunnelId,
    net::{body::Incoming, io::TunnelIo, kept::Kept},
};

/// A tunnel: all connections, of one connector or several, that serve the same names.
///
/// Reading the list takes no lock.
#[derive(Debug)]
pub struct Tunnel {
    id: TunnelId,
    connections: ArcSwap<Vec<Connection>>,
    changes: Mutex<()>,
    configuration: Mutex<Option<Configuration>>,
    hub: Hub,
}

/// What every connector of a tunnel shall go by.
#[derive(Debug, Clone)]
struct Configuration {
    version: i32,
    json: Arc<str>,
}

impl Tunnel {
    pub(super) fn new(id: TunnelId, hub: Hub) -> Arc<Self> {
        Arc::new(Self {
            id,
            connections: ArcSwap::default(),
            changes: Mutex::new(()),
            configuration: Mutex::new(None),
            hub,
        })
    }

    /// Sends a request over the connection with the fewest requests in flight.
    ///
    /// A request goes out once. If its connection turns out to be gone before anything was sent, the
    /// next one is tried. As long as its body, if there is one, has not been read, a request is sent once
    /// more over another connection in two cases: the connector says that it has not looked at it (RFC 9113
    /// section 8.7), or the connection is lost while the answer is awaited and the request is idempotent
    /// (RFC 9110 section 9.2.2).
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
        let ready = self.ready().await?;
        self.send_over(ready, request).await
    }

    /// The same, beginning with a connection that is known to have room.
    pub(crate) async fn send_over<B>(
        &self,
        ready: Ready,
        request: Request<B>,
    ) -> Result<Response<Incoming>, Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let first = ready.connection();
        let (parts, body) = request.into_parts();
        let is_idempotent = parts.method.is_idempotent();
        let outgoing = ready.pack(parts)?;
        let (spare, body) = (outgoing.clone(), Kept::new(body));
        let error = match ready.send(outgoing, body.lend()).await {
            Err(error) => error,
            answer => return answer,
        };
        let is_repeatable = error.is_untouched() || (error.is_network() && is_idempotent);
        let Some(body) = body.take_back().filter(|_| is_repeatable) else {
            return Err(error);
        };
        debug!(tunnel = %self.id, %error, "a request is sent once more");
        Box::pin(async { self.ready_beside(first).await?.send(spare, body).await }).await
    }

    /// Asks for a WebSocket, beginning with a connection that is known to have room.
    pub(crate) async fn upgrade_over<B>(
        &self,
        ready: Ready,
        request: Request<B>,
    ) -> Result<Upgrade, Error> {
        let request = Request::from_parts(request.into_parts().0, ());
        self.over(ready, |ready| ready.upgrade(request.clone())).await
    }

    /// Opens a TCP flow, beginning with a connection that is known to have room.
    pub(crate) async fn tcp_over(
        &self,
        ready: Ready,
        destination: SocketAddr,
        source: IpAddr,
    ) -> Result<TunnelIo, Error> {
        self.over(ready, |ready| ready.tcp(destination, source)).await
    }

    /// Asks over one connection, and over another one if the first has not looked at it.
    async fn over<T, F>(&self, ready: Ready, ask: impl Fn(Ready) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let first = ready.connection();
        match ask(ready).await {
            Err(error) if error.is_untouched() => ask(self.ready_beside(first).await?).await,
            answer => answer,
        }
    }

    /// Asks for a WebSocket, as [`Connection::upgrade`], over the connection with the fewest requests
    /// in flight.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); a request that asks for no WebSocket is the caller's fault.
    ///
    /// # Cancel safety
    ///
    /// As [`Connection::upgrade`].
    pub async fn upgrade<B>(&self, request: Request<B>) -> Result<Upgrade, Error> {
        self.upgrade_over(self.ready().await?, request).await
    }

    /// Opens a TCP flow, as [`Connection::tcp`], over the connection with the fewest requests in
    /// flight.
    ///
    /// # Errors
    ///
    /// As [`Connection::tcp`]; [`Error::is_offline`] if no connector is connected.
    ///
    /// # Cancel safety
    ///
    /// As [`Connection::tcp`].
    pub async fn tcp(&self, destination: SocketAddr, source: IpAddr) -> Result<TunnelIo, Error> {
        self.tcp_over(self.ready().await?, destination, source).await
    }

    /// Sets the configuration that the tunnel's connectors shall go by: JSON in the shape of
    /// cloudflared's, with a version above that of the last one. It is pushed to every connector now, and to
    /// those that connect later. What they say comes as [`Event::Configured`] and
    /// [`Event::NotConfigured`].
    ///
    /// Connectors look at it only if they were [registered](super::Registered) as remotely managed or
    /// have been started without rules of their own.
    ///
    /// # Errors
    ///
    /// A configuration that is no JSON or longer than 1 MiB is the caller's fault, and so is a version
    /// that is not above the last one.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn set_configuration(&self, version: i32, json: &str) -> Result<(), Error> {
        push::write(version, json)?;
        let configuration = Configuration { version, json: json.into() };
        {
            let mut last = lock(&self.configuration);
            if let Some(last) = last.as_ref().filter(|last| last.version >= version) {
                let what = format!("version {version} is not above {}", last.version);
                return Err(ErrorKind::Caller(what).into());
            }
            *last = Some(configuration.clone());
        }
        let mut told = Vec::new();
        for connection in &**self.connections.load() {
            let connector = connection.registration().connector_id;
            if connection.takes_configuration() && !told.contains(&connector) {
                told.push(connector);
                let push = push_to(connection.clone(), configuration.clone(), self.hub.clone());
                tokio::spawn(push);
            }
        }
        Ok(())
    }

    /// Room for a request on some connection; nothing has been sent. It waits only if all connections are
    /// full, and then for all of them.
    pub(crate) async fn ready(&self) -> Result<Ready, Error> {
        self.ready_after(Vec::new()).await
    }

    /// The same, on another connection than this one if there is another.
    async fn ready_beside(&self, connection: Connection) -> Result<Ready, Error> {
        self.ready_after(vec![connection]).await
    }

    async fn ready_after(&self, mut tried: Vec<Connection>) -> Result<Ready, Error> {
        while let Some(connection) = self.least_loaded(&tried) {
            match connection.ready().await {
                Ok(ready) => return Ok(ready),
                Err(_) => tried.push(connection),
            }
        }
        self.wait().await
    }

    /// Waits for room on whichever connection has some first.
    async fn wait(&self) -> Result<Ready, Error> {
        let connections = self.connections.load_full();
        let mut waits: Vec<_> = connections
            .iter()
            .filter(|connection| connection.phase() == Phase::Serving)
            .map(|connection| Box::pin(connection.ready()))
            .collect();
        let mut last = ErrorKind::Offline.into();
        poll_fn(|cx| {
            let mut at = 0;
            while let Some(wait) = waits.get_mut(at) {
                match wait.as_mut().poll(cx) {
                    Poll::Pending => at += 1,
                    Poll::Ready(Ok(ready)) => return Poll::Ready(Ok(ready)),
                    Poll::Ready(Err(error)) => {
                        drop(waits.swap_remove(at));
                        last = error;
                    }
                }
            }
            if waits.is_empty() {
                let error = std::mem::replace(&mut last, ErrorKind::Offline.into());
                return Poll::Ready(Err(if error.is_busy() {
                    error
                } else {
                    ErrorKind::Offline.into()
                }));
            }
            Poll::Pending
        })
        .await
    }

    /// The tunnel's id.
    pub fn id(&self) -> TunnelId {
        self.id
    }

    /// A snapshot of the connections that take requests or still finish some.
    pub fn connections(&self) -> Vec<Connection> {
        let connections = self.connections.load();
        connections.iter().filter(|one| one.phase() != Phase::Closed).cloned().collect()
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
        self.hub.tell(|| Event::Connected(connection.info()));
        let configuration = lock(&self.configuration).clone();
        if let Some(configuration) = configuration
            && connection.takes_configuration()
        {
            tokio::spawn(push_to(connection.clone(), configuration, self.hub.clone()));
        }
        tokio::spawn(follow(Arc::downgrade(self), connection, self.hub.clone()));
    }

    fn least_loaded(&self, tried: &[Connection]) -> Option<Connection> {
        let connections = self.connections.load();
        connections
            .iter()
            .filter(|connection| connection.phase() == Phase::Serving && !connection.is_full())
            .filter(|connection| !tried.iter().any(|other| other.is_same(connection)))
            .min_by_key(|connection| connection.in_flight())
            .cloned()
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Connection>)) {
        let _guard = lock(&self.changes);
        let mut connections = self.connections.load().to_vec();
        change(&mut connections);
        self.connections.store(Arc::new(connections));
    }
}

/// Tells what becomes of a connection, and takes it out when it has closed.
async fn follow(tunnel: Weak<Tunnel>, connection: Connection, hub: Hub) {
    connection.reached(Phase::Draining).await;
    if connection.took_leave() {
        hub.tell(|| Event::Draining(connection.info()));
    }
    connection.reached(Phase::Closed).await;
    if let Some(tunnel) = tunnel.upgrade() {
        tunnel.change(|connections| connections.retain(|old| !old.is_same(&connection)));
    }
    hub.tell(|| match connection.loss() {
        Some(reason) => Event::Lost { connection: connection.info(), reason },
        None => Event::Drained(connection.info()),
    });
}

async fn push_to(connection: Connection, configuration: Configuration, hub: Hub) {
    match connection.push_configuration(configuration.version, &configuration.json).await {
        Ok(applied) => hub.tell(|| Event::Configured { connection: connection.info(), applied }),
        Err(error) => hub.tell(|| Event::NotConfigured {
            connection: connection.info(),
            reason: one_line(&error),
        }),
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
