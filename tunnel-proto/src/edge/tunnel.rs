//! The connections of one tunnel, taken together.

use std::{
    collections::HashMap,
    error::Error as StdError,
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::{sync::Notify, time::timeout};
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
    limits,
    net::{body::Incoming, io::TunnelIo, kept::Kept},
    telemetry::{Meter, Side},
};

/// A tunnel: all connections, of one connector or several, that serve the same names.
///
/// Reading the list takes no lock.
#[derive(Debug)]
pub struct Tunnel {
    id: TunnelId,
    connections: ArcSwap<Vec<Connection>>,
    changes: Mutex<Changes>,
    /// Wakes those who wait for room when a connection has come.
    arrived: Notify,
    configuration: Mutex<Option<Configuration>>,
    hub: Hub,
    /// For requests that find no connection, which has one of its own.
    meter: Meter,
}

/// Held while the list of connections changes.
#[derive(Debug, Default)]
struct Changes {
    /// Whether the tunnel takes no more connections.
    is_removed: bool,
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
            changes: Mutex::default(),
            arrived: Notify::new(),
            configuration: Mutex::new(None),
            hub,
            meter: Meter::new(Side::Edge, id),
        })
    }

    /// Sends a request over the connection with the fewest requests in flight.
    ///
    /// A request goes out once. If its connection turns out to be gone before anything was sent, the
    /// next one is tried. As long as its body, if there is one, has not been read, a request is sent once
    /// more over another connection in two cases: the connector says that it has not looked at it (RFC 9113
    /// section 8.7), or the connection is lost while the answer is awaited and the request is idempotent
    /// (RFC 9110 section 9.2.2). It is not if the connector hangs up because of too much load
    /// (`ENHANCE_YOUR_CALM`): the request itself may be what was too much.
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
        let ready = self.counted(self.ready().await)?;
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
        Box::pin(async {
            let ready = self.counted(self.ready_beside(first).await)?;
            ready.send(spare, body).await
        })
        .await
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
            Err(error) if error.is_untouched() => {
                ask(self.counted(self.ready_beside(first).await)?).await
            }
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
        self.upgrade_over(self.counted(self.ready().await)?, request).await
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
        self.tcp_over(self.counted(self.ready().await)?, destination, source).await
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
        let mut connectors: HashMap<_, Vec<Connection>> = HashMap::new();
        for connection in &**self.connections.load() {
            if connection.takes_configuration() {
                let connector = connection.registration().connector_id;
                connectors.entry(connector).or_default().push(connection.clone());
            }
        }
        for connections in connectors.into_values() {
            tokio::spawn(push_to(connections, configuration.clone(), self.hub.clone()));
        }
        Ok(())
    }

    /// Room for a request on some connection; nothing has been sent. It waits only if all connections are
    /// full, and then for all of them.
    pub(crate) async fn ready(&self) -> Result<Ready, Error> {
        self.ready_beside(None).await
    }

    /// The same without waiting; nothing if all connections are full or none is there.
    #[cfg(feature = "cluster")]
    pub(crate) async fn ready_now(&self) -> Option<Ready> {
        self.free_beside(None).await
    }

    /// Room on another connection than this one if there is another.
    async fn ready_beside(
        &self,
        connection: impl Into<Option<Connection>>,
    ) -> Result<Ready, Error> {
        if let Some(ready) = self.free_beside(connection.into()).await {
            return Ok(ready);
        }
        let room = Box::pin(timeout(limits::STREAM_WAIT, self.room()));
        room.await.unwrap_or_else(|_| Err(Error::from(ErrorKind::Busy).with_limit("STREAM_WAIT")))
    }

    async fn free_beside(&self, connection: Option<Connection>) -> Option<Ready> {
        let mut tried: Vec<_> = connection.into_iter().collect();
        while let Some(connection) = self.least_loaded(&tried) {
            match connection.ready_now().await {
                Some(ready) => return Some(ready),
                None => tried.push(connection),
            }
        }
        None
    }

    /// Waits for room on whichever connection has some first, be it one that comes meanwhile.
    async fn room(&self) -> Result<Ready, Error> {
        let mut waits = Vec::new();
        loop {
            // Before the look, so that none comes unseen.
            let mut arrived = pin!(self.arrived.notified());
            arrived.as_mut().enable();
            for connection in &**self.connections.load() {
                let is_waited_for = |wait: &Wait| wait.connection.is_same(connection);
                if connection.phase() == Phase::Serving && !waits.iter().any(is_waited_for) {
                    waits.push(Wait::new(connection.clone()));
                }
            }
            let first = poll_fn(|cx| match poll_first(&mut waits, cx) {
                Poll::Pending => arrived.as_mut().poll(cx).map(|()| None),
                Poll::Ready(room) => Poll::Ready(Some(room)),
            });
            if let Some(room) = first.await {
                return room;
            }
        }
    }

    /// Counts a request that found no connection.
    pub(crate) fn counted<T>(&self, ready: Result<T, Error>) -> Result<T, Error> {
        ready.inspect_err(|error| self.meter.failed(error))
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
    /// left-over: it is closed. If the tunnel has been removed, the connection is closed.
    pub(super) fn attach(self: &Arc<Self>, connection: Connection) {
        let registration = connection.registration();
        let is_left_over = |old: &Connection| {
            let old = old.registration();
            old.connector_id == registration.connector_id
                && old.connection_index == registration.connection_index
        };
        let is_in = self.change(|connections| {
            connections.retain(|old| {
                let is_left_over = is_left_over(old);
                if is_left_over {
                    old.close();
                }
                !is_left_over
            });
            connections.push(connection.clone());
        });
        if !is_in {
            return connection.close();
        }
        self.arrived.notify_waiters();
        self.hub.tell(|| Event::Connected(connection.info()));
        let configuration = lock(&self.configuration).clone();
        if let Some(configuration) = configuration
            && connection.takes_configuration()
        {
            tokio::spawn(push_to(vec![connection.clone()], configuration, self.hub.clone()));
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

    /// Closes all connections, and each that comes later.
    pub(super) fn close(&self) {
        lock(&self.changes).is_removed = true;
        for connection in &*self.connections.swap(Arc::default()) {
            connection.close();
        }
    }

    /// Changes the list; whether it did, which is unless the tunnel has been removed.
    fn change(&self, change: impl FnOnce(&mut Vec<Connection>)) -> bool {
        let changes = lock(&self.changes);
        if !changes.is_removed {
            let mut connections = self.connections.load().to_vec();
            change(&mut connections);
            self.connections.store(Arc::new(connections));
        }
        !changes.is_removed
    }
}

/// Waiting for room on one connection.
struct Wait {
    connection: Connection,
    room: Pin<Box<dyn Future<Output = Result<Ready, Error>> + Send>>,
}

impl Wait {
    fn new(connection: Connection) -> Self {
        let room = Box::pin({
            let connection = connection.clone();
            async move { connection.room().await }
        });
        Self { connection, room }
    }
}

/// The first room. If there is none on any, why.
fn poll_first(waits: &mut Vec<Wait>, cx: &mut Context<'_>) -> Poll<Result<Ready, Error>> {
    let mut busy = None;
    let mut at = 0;
    while let Some(wait) = waits.get_mut(at) {
        match wait.room.as_mut().poll(cx) {
            Poll::Pending => at += 1,
            Poll::Ready(Ok(ready)) => return Poll::Ready(Ok(ready)),
            Poll::Ready(Err(error)) => {
                drop(waits.swap_remove(at));
                busy = Some(error).filter(Error::is_busy).or(busy);
            }
        }
    }
    if waits.is_empty() {
        return Poll::Ready(Err(busy.unwrap_or_else(|| ErrorKind::Offline.into())));
    }
    Poll::Pending
}

/// Tells what becomes of a connection, and takes it out when it has closed.
async fn follow(tunnel: Weak<Tunnel>, connection: Connection, hub: Hub) {
    connection.reached(Phase::Draining).await;
    if connection.took_leave() {
        hub.tell(|| Event::Draining(connection.info()));
    }
    connection.reached(Phase::Closed).await;
    if let Some(tunnel) = tunnel.upgrade() {
        let _ = tunnel.change(|connections| connections.retain(|old| !old.is_same(&connection)));
    }
    hub.tell(|| match connection.loss() {
        Some(reason) => Event::Lost { connection: connection.info(), reason },
        None => Event::Drained(connection.info()),
    });
}

/// Pushes over the first of a connector's connections that carries it to an answer: all lead to one
/// process. Pushing again is harmless.
async fn push_to(connections: Vec<Connection>, configuration: Configuration, hub: Hub) {
    let mut failed = None;
    for connection in connections {
        match connection.push_configuration(configuration.version, &configuration.json).await {
            Ok(applied) => {
                return hub.tell(|| Event::Configured { connection: connection.info(), applied });
            }
            // Nor would another connection take it.
            Err(error) if error.is_caller_fault() => {
                failed = Some((connection, error));
                break;
            }
            Err(error) => failed = Some((connection, error)),
        }
    }
    if let Some((connection, error)) = failed {
        hub.tell(|| Event::NotConfigured {
            connection: connection.info(),
            reason: one_line(&error),
        });
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
