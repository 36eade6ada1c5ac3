//! One registered connection of a connector.

use std::{
    error::Error as StdError,
    fmt,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Response};
use http_body::Body;
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, timeout},
};
use tracing::{Instrument as _, debug, info_span};

use super::{
    control::ControlStream,
    driver::Driver,
    exchange::{Ready, Upgrade},
    info::ConnectionInfo,
    push::{self, Applied},
};
use crate::{
    error::{Error, ErrorKind},
    limits,
    net::{body::Incoming, held::Held, io::TunnelIo},
    rpc::{
        registration::{Registered, Registration},
        server::ServerEvent,
    },
    telemetry::{CONNECTION_SPAN, Connected, Meter, Side},
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

struct Shared {
    registration: Registration,
    registered: Registered,
    requests: SendRequest<Bytes>,
    phase: watch::Sender<Phase>,
    in_flight: watch::Sender<usize>,
    sent: AtomicUsize,
    source: Option<SocketAddr>,
    since: Instant,
    local_configuration: Mutex<Option<Bytes>>,
    end: Mutex<Option<String>>,
    meter: Meter,
    driver: Driver,
}

/// One request's place in the count, from before it is sent until its response body is dropped.
pub(super) struct InFlight(Arc<Shared>);

impl InFlight {
    /// The account of what the connection's bodies hold.
    pub(super) fn held(&self) -> &Held {
        self.0.driver.held()
    }

    /// Counts the request as sent.
    pub(super) fn count(&self) {
        self.0.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a place unless the connection is full: no more streams than the connector allows,
    /// beside the control stream.
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let allowed = shared.requests.current_max_send_streams();
        let allowed = allowed.saturating_sub(1).min(limits::CONCURRENT_STREAMS as usize);
        let taken = shared.in_flight.send_if_modified(|count| {
            let is_free = *count < allowed;
            *count += usize::from(is_free);
            is_free
        });
        taken.then(|| Self(Arc::clone(shared)))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.send_modify(|count| *count -= 1);
    }
}

impl Connection {
    pub(super) fn new(
        registration: Registration,
        registered: Registered,
        source: Option<SocketAddr>,
        requests: SendRequest<Bytes>,
        in_flight: watch::Sender<usize>,
        control: ControlStream,
        driver: Driver,
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
            in_flight,
            sent: AtomicUsize::new(0),
            source,
            since: now(),
            local_configuration: Mutex::default(),
            end: Mutex::default(),
            meter: meter.clone(),
            driver,
        });
        let supervisor = Supervisor {
            shared: Arc::downgrade(&shared),
            phase: shared.phase.clone(),
            in_flight: shared.in_flight.subscribe(),
            _connected: meter.registered(),
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
        let ready = self.ready().await?;
        ready.send(request).await
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
            Error::from(ErrorKind::Network("no answer to the configuration in 30 s".into()))
        })?
    }

    /// Whether the connector takes configurations.
    pub fn takes_configuration(&self) -> bool {
        self.registration()
            .features
            .iter()
            .any(|feature| feature == Registration::REMOTE_CONFIGURATION)
    }

    /// Waits for room for one more request, which has not been touched yet.
    pub(super) async fn ready(&self) -> Result<Ready, Error> {
        if self.phase() != Phase::Serving {
            return Err(ErrorKind::Network("the connection takes no more requests".into()).into());
        }
        let in_flight = timeout(limits::STREAM_WAIT, self.place())
            .await
            .map_err(|_| Error::from(ErrorKind::Busy).with_limit("STREAM_WAIT"))?;
        let requests = self.shared.requests.clone().ready().await?;
        let features = &self.registration().features;
        let can_half_close = features.iter().any(|feature| feature == Registration::HALF_CLOSE);
        let meter = self.shared.meter.clone();
        Ok(Ready { requests, in_flight, can_half_close, meter })
    }

    async fn place(&self) -> InFlight {
        let mut changes = self.shared.in_flight.subscribe();
        loop {
            if let Some(in_flight) = InFlight::take(&self.shared) {
                return in_flight;
            }
            // The sender lives as long as `self`.
            let _ = changes.changed().await;
        }
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
        *self.shared.phase.borrow()
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

    /// Why the connection is closed; nothing while it is not, or if the edge closed it.
    pub(super) fn end(&self) -> Option<String> {
        lock(&self.shared.end).clone()
    }

    /// Requests that wait, run or still send their bodies.
    pub fn in_flight(&self) -> usize {
        *self.shared.in_flight.borrow()
    }

    /// Requests sent so far.
    pub fn sent(&self) -> usize {
        self.shared.sent.load(Ordering::Relaxed)
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
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

/// Moves the phase along as control stream and connection end. It does not keep the connection
/// alive.
struct Supervisor {
    shared: Weak<Shared>,
    phase: watch::Sender<Phase>,
    in_flight: watch::Receiver<usize>,
    _connected: Connected,
}

impl Supervisor {
    async fn run(
        mut self,
        mut control: ControlStream,
        ended: impl Future<Output = Option<String>>,
        closer: AbortHandle,
    ) {
        let mut ended = pin!(ended);
        let reason = tokio::select! {
            () = self.leave(&mut control) => {
                self.phase.send_replace(Phase::Draining);
                // Keep answering on the control stream while the last requests finish, then hang up:
                // cloudflared waits for that.
                let drained = async {
                    let _ = self.in_flight.wait_for(|count| *count == 0).await;
                    let _ = timeout(limits::REFUSAL_LINGER, control.closed()).await;
                };
                tokio::select! {
                    () = drained => {
                        closer.abort();
                        None
                    }
                    reason = &mut ended => reason,
                }
            }
            reason = &mut ended => reason,
        };
        debug!(reason, "the connection ended");
        if let Some(shared) = self.shared.upgrade() {
            *lock(&shared.end) = reason;
        }
        self.phase.send_replace(Phase::Closed);
    }

    /// Returns once the connector takes its leave, or can no longer say anything.
    async fn leave(&self, control: &mut ControlStream) {
        loop {
            match control.next().await {
                Ok(Some(ServerEvent::LocalConfiguration(json))) => self.keep(json),
                Ok(Some(ServerEvent::Register(_) | ServerEvent::Closed)) => {}
                Ok(Some(ServerEvent::Unregister)) => {
                    debug!("the connector takes its leave");
                    return;
                }
                Ok(None) => return,
                Err(error) => {
                    debug!(%error, "the control stream broke");
                    return;
                }
            }
        }
    }

    fn keep(&self, json: Vec<u8>) {
        debug!(bytes = json.len(), "the connector told its rules");
        if let Some(shared) = self.shared.upgrade()
            && json.len() <= limits::LOCAL_CONFIGURATION_BYTES
        {
            *lock(&shared.local_configuration) = Some(json.into());
        }
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "a shell; tokio's clock, so tests can pause it")]
fn now() -> Instant {
    Instant::now()
}
