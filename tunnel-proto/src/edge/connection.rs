//! One registered connection of a connector.

use std::{
    error::Error as StdError,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Response};
use http_body::Body;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tracing::{Instrument as _, info_span};

use super::{
    acceptor::Seated,
    control::ControlStream,
    driver::Driver,
    exchange::{Ready, Upgrade},
    info::ConnectionInfo,
    place::{InFlight, Places},
    push::{self, Applied},
    supervisor::Supervisor,
};
use crate::{
    error::{Error, ErrorKind},
    limits,
    net::{body::Incoming, held::Held, io::TunnelIo},
    rpc::registration::{Registered, Registration},
    telemetry::{CONNECTION_SPAN, Meter, Side},
};

/// A registered connection. Clones are handles to the same one; it closes with the last of them.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

/// Where a connection is in its life. It only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Takes requests.
    Serving,
    /// The connector took its leave: requests in flight finish, no new ones start.
    Draining,
    /// Gone.
    Closed,
}

pub(super) struct Shared {
    registration: Registration,
    registered: Registered,
    requests: SendRequest<Bytes>,
    phase: watch::Sender<Phase>,
    pub(super) places: Places,
    pub(super) stall_patience: Duration,
    sent: AtomicUsize,
    source: Option<SocketAddr>,
    since: Instant,
    local_configuration: Mutex<Option<Bytes>>,
    took_leave: AtomicBool,
    end: Mutex<Option<String>>,
    meter: Meter,
    driver: Driver,
}

impl Shared {
    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Streams that may be open at once, beside the control stream.
    pub(super) fn allowed_streams(&self) -> usize {
        let allowed = self.requests.current_max_send_streams();
        allowed.saturating_sub(1).min(limits::CONCURRENT_STREAMS as usize)
    }

    pub(super) fn held(&self) -> &Held {
        self.driver.held()
    }

    /// How many streams are taken beyond half of those that may be.
    fn crowd(&self) -> usize {
        self.places.taken().saturating_sub(self.allowed_streams() / 2)
    }

    pub(super) fn count_sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn wake_waiters(&self) {
        self.places.wake_waiters();
    }

    pub(super) fn takes_leave(&self) {
        self.took_leave.store(true, Ordering::Release);
    }

    pub(super) fn ends(&self, reason: Option<String>) {
        *lock(&self.end) = reason;
    }

    pub(super) fn keep_local_configuration(&self, json: Vec<u8>) {
        if json.len() <= limits::LOCAL_CONFIGURATION_BYTES {
            *lock(&self.local_configuration) = Some(json.into());
        }
    }
}

impl Connection {
    #[expect(
        clippy::too_many_arguments,
        reason = "what registering a connection has brought together"
    )]
    pub(super) fn new(
        registration: Registration,
        registered: Registered,
        source: Option<SocketAddr>,
        requests: SendRequest<Bytes>,
        in_flight: watch::Sender<usize>,
        control: ControlStream,
        driver: Driver,
        seated: Seated,
        stall_patience: Duration,
    ) -> Self {
        let ended = driver.ended();
        let closer = driver.closer();
        let tunnel = registration.credentials.tunnel_id();
        let meter = Meter::new(Side::Edge, tunnel);
        let span = info_span!(
            CONNECTION_SPAN,
            side = Side::Edge.as_str(),
            connection = %registered.connection_id,
            %tunnel,
            connector = %registration.connector_id,
        );
        let shared = Arc::new(Shared {
            registration,
            registered,
            requests,
            phase: watch::Sender::new(Phase::Serving),
            places: Places::new(in_flight),
            stall_patience,
            sent: AtomicUsize::new(0),
            source,
            since: now(),
            local_configuration: Mutex::default(),
            took_leave: AtomicBool::new(false),
            end: Mutex::default(),
            meter: meter.clone(),
            driver,
        });
        let crowd = Arc::downgrade(&shared);
        shared.held().ask_of_crowd(move || crowd.upgrade().map_or(0, |shared| shared.crowd()));
        let supervisor = Supervisor {
            shared: Arc::downgrade(&shared),
            phase: shared.phase.clone(),
            in_flight: shared.places.watch(),
            _connected: meter.registered(),
            _seated: seated,
        };
        tokio::spawn(supervisor.run(control, ended, closer).instrument(span));
        Self { shared }
    }

    /// Sends a request and waits for the head of the response.
    ///
    /// The request's host is its URI's authority or else its `Host` header; the path must be in
    /// origin form. Identity headers go into [`EdgeHeaders`](super::EdgeHeaders). The response's
    /// extensions hold a [`ResponseSource`](super::ResponseSource).
    ///
    /// # Errors
    ///
    /// [`Error::is_busy`] if no stream came free within ten seconds. A request that can't travel
    /// is the [caller's fault](Error::is_caller_fault), an unreadable answer the
    /// [peer's](Error::is_peer_fault).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future resets the stream; the connector then cancels its work at the origin.
    pub async fn send<B>(&self, request: Request<B>) -> Result<Response<Incoming>, Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let ready = self.ready().await?;
        let outgoing = ready.pack(parts)?;
        ready.send(outgoing, body).await
    }

    /// Asks for a WebSocket. The request is a visitor's HTTP/1.1 handshake (RFC 6455 section 4.1),
    /// headers and all; its body is ignored. Then as [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); a request that asks for no WebSocket is the caller's fault.
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send).
    pub async fn upgrade<B>(&self, request: Request<B>) -> Result<Upgrade, Error> {
        self.ready().await?.upgrade(request).await
    }

    /// Opens a TCP flow to an address in the connector's network, on behalf of a visitor at
    /// `source`.
    ///
    /// # Errors
    ///
    /// [`Error::is_unreachable`] if the connector can't reach the address or does not allow it,
    /// [`Error::is_busy`] if it carries too many flows. Else as [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send).
    pub async fn tcp(&self, destination: SocketAddr, source: IpAddr) -> Result<TunnelIo, Error> {
        self.ready().await?.tcp(destination, source).await
    }

    /// Pushes a configuration, JSON in the shape of cloudflared's, to the connector's process. It
    /// ignores versions that are not above the one it has.
    ///
    /// # Errors
    ///
    /// A configuration that is no JSON or longer than 1 MiB, or a connector that takes none, is
    /// the caller's fault. A connector that does not answer within 30 seconds is
    /// [retryable](Error::is_retryable). A configuration that the connector rejects is no error:
    /// see [`Applied`].
    ///
    /// # Cancel safety
    ///
    /// After dropping the future it is unknown whether the configuration was applied; pushing it
    /// again is harmless.
    pub async fn push_configuration(
        &self,
        version: i32,
        configuration: &str,
    ) -> Result<Applied, Error> {
        if !self.takes_configuration() {
            let what = "the connector takes no configuration from the edge";
            return Err(ErrorKind::Caller(what.into()).into());
        }
        let body = push::write(version, configuration)?;
        let pushed = async { self.ready().await?.push(body).await };
        timeout(limits::CONFIGURATION_WAIT, pushed).await.map_err(|_| {
            let what =
                format!("no answer to the configuration in {:?}", limits::CONFIGURATION_WAIT);
            Error::from(ErrorKind::Network(what)).with_limit("CONFIGURATION_WAIT")
        })?
    }

    /// Whether the connector takes configurations.
    pub fn takes_configuration(&self) -> bool {
        self.registration()
            .features
            .iter()
            .any(|feature| feature == Registration::REMOTE_CONFIGURATION)
    }

    /// Waits for room for one more request, which has not been touched yet, and counts it if there is
    /// none in time.
    async fn ready(&self) -> Result<Ready, Error> {
        let room = timeout(limits::STREAM_WAIT, self.room()).await;
        room.unwrap_or_else(|_| Err(Error::from(ErrorKind::Busy).with_limit("STREAM_WAIT")))
            .inspect_err(|error| self.shared.meter.failed(error))
    }

    /// Waits for room as long as the connection takes requests.
    pub(super) async fn room(&self) -> Result<Ready, Error> {
        self.occupy(InFlight::wait(&self.shared).await?).await
    }

    /// Room if there is some just now.
    pub(super) async fn ready_now(&self) -> Option<Ready> {
        self.occupy(InFlight::take(&self.shared)?).await.ok()
    }

    async fn occupy(&self, in_flight: InFlight) -> Result<Ready, Error> {
        let requests = self.shared.requests.clone().ready().await?;
        let features = &self.registration().features;
        let can_half_close = features.iter().any(|feature| feature == Registration::HALF_CLOSE);
        let meter = self.shared.meter.clone();
        Ok(Ready { requests, in_flight, can_half_close, meter })
    }

    /// Whether a request would have to wait.
    pub(super) fn is_full(&self) -> bool {
        self.in_flight() >= self.shared.allowed_streams()
    }

    /// Hangs up. Requests in flight fail.
    pub fn close(&self) {
        self.shared.driver.closer().abort();
    }

    /// Waits until the connection reaches a phase or has gone past it.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only watches.
    pub async fn reached(&self, phase: Phase) {
        let mut phases = self.shared.phase.subscribe();
        let _ = phases.wait_for(|now| *now >= phase).await;
    }

    /// Where the connection is in its life.
    pub fn phase(&self) -> Phase {
        self.shared.phase()
    }

    /// What the connector said when it registered.
    pub fn registration(&self) -> &Registration {
        &self.shared.registration
    }

    /// What the edge answered.
    pub fn registered(&self) -> &Registered {
        &self.shared.registered
    }

    /// The rules that the connector told when it registered, JSON in the shape of cloudflared's
    /// configuration. Only a connector's connection 0 tells them; more than 64 KiB are not kept.
    pub fn local_configuration(&self) -> Option<Bytes> {
        lock(&self.shared.local_configuration).clone()
    }

    /// Where the connector dialed from, if the acceptor was told.
    pub fn source(&self) -> Option<SocketAddr> {
        self.shared.source
    }

    /// A snapshot for an operator.
    pub fn info(&self) -> ConnectionInfo {
        let registration = self.registration();
        ConnectionInfo {
            connection: self.registered().connection_id,
            tunnel: registration.credentials.tunnel_id(),
            connector: registration.connector_id,
            index: registration.connection_index,
            version: registration.version.clone(),
            arch: registration.arch.clone(),
            features: registration.features.clone(),
            source: self.source(),
            connected_for: self.shared.since.elapsed(),
            phase: self.phase(),
            in_flight: self.in_flight(),
            sent: self.sent(),
        }
    }

    /// Why the connection was lost, for people; nothing while it is there, and if its connector took
    /// its leave.
    pub fn loss(&self) -> Option<String> {
        if self.phase() != Phase::Closed || self.took_leave() {
            return None;
        }
        let reason = lock(&self.shared.end).clone();
        Some(reason.unwrap_or_else(|| "closed by the edge".into()))
    }

    /// Whether its connector took its leave.
    pub(super) fn took_leave(&self) -> bool {
        self.shared.took_leave.load(Ordering::Acquire)
    }

    /// Requests that wait, run or still send their bodies.
    pub fn in_flight(&self) -> usize {
        self.shared.places.taken()
    }

    /// Requests sent so far.
    pub fn sent(&self) -> usize {
        self.shared.sent.load(Ordering::Relaxed)
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl From<Arc<Shared>> for Connection {
    fn from(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.shared.registered.connection_id)
            .field("connector", &self.shared.registration.connector_id)
            .field("index", &self.shared.registration.connection_index)
            .field("phase", &self.phase())
            .finish_non_exhaustive()
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "a shell; tokio's clock, so tests can pause it")]
fn now() -> Instant {
    Instant::now()
}
