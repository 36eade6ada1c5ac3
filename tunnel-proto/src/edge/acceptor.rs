//! From an accepted socket to a registered connection.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::timeout,
};

use super::{connection::Connection, control::ControlStream, driver::Driver};
use crate::{
    error::{Error, ErrorKind},
    limits,
    net::{cork::cork, settings},
    rpc::registration::{Refusal, Registered, Registration},
    state::{
        flood::Role,
        seats::{Full, Seat, Seats},
    },
    telemetry::{self, Side},
};

/// Decides who may register.
///
/// Implemented for closures. Everything in a [`Registration`] is a claim until the secret has
/// been compared; comparing [`TunnelSecret`](crate::TunnelSecret)s takes the same time wherever
/// they differ. Answer [`Refusal::unauthorized`] for an unknown tunnel and for a wrong secret
/// alike, after the same work, and nobody can find out which tunnels exist.
pub trait Authenticate: Send + Sync + 'static {
    /// Says yes, with an id for the connection, or no, with the reason that its operator reads.
    fn authenticate(
        &self,
        registration: &Registration,
    ) -> impl Future<Output = Result<Registered, Refusal>> + Send;
}

impl<F> Authenticate for F
where
    F: Fn(&Registration) -> Result<Registered, Refusal> + Send + Sync + 'static,
{
    async fn authenticate(&self, registration: &Registration) -> Result<Registered, Refusal> {
        self(registration)
    }
}

/// Accepts connectors, cloudflared's or ours.
///
/// ```no_run
/// use tunnel_proto::{ConnectionId, edge::{Acceptor, Refusal, Registered, Router}};
///
/// # async fn example(tls: tokio::io::DuplexStream, secret: tunnel_proto::TunnelSecret)
/// # -> Result<(), tunnel_proto::Error> {
/// let acceptor = Acceptor::new(move |registration: &tunnel_proto::edge::Registration| {
///     if *registration.credentials.secret() != secret {
///         return Err(Refusal::unauthorized());
///     }
///     Ok(Registered::new(ConnectionId::from_random_bytes(rand()), "home"))
/// });
/// let router = Router::new();
/// router.attach(acceptor.accept(tls).await?);
/// # Ok(()) }
/// # fn rand() -> [u8; 16] { [4; 16] }
/// ```
///
/// Clones share one count of registered connections: use clones of one acceptor for all listeners of an edge.
#[derive(Clone)]
pub struct Acceptor<A> {
    authenticate: Arc<A>,
    seats: Arc<Mutex<Seats>>,
    stall_patience: Duration,
}

impl<A: Authenticate> Acceptor<A> {
    /// Makes an acceptor that asks `authenticate` about every registration.
    pub fn new(authenticate: A) -> Self {
        let seats = Seats::new(limits::TUNNEL_CONNECTIONS, limits::CONNECTIONS);
        Self {
            authenticate: Arc::new(authenticate),
            seats: Arc::new(Mutex::new(seats)),
            stall_patience: limits::STALL_PATIENCE,
        }
    }

    /// Lets this many connections of one tunnel, and of all tunnels, be registered at once. 256 and
    /// 20,000 unless set, see [`limits::TUNNEL_CONNECTIONS`] and [`limits::CONNECTIONS`]. Set it before the
    /// first connection: the count starts anew.
    ///
    /// A connection that takes the place of an older one of the same connector and index always may.
    #[must_use]
    pub fn connections(self, tunnel: usize, all: usize) -> Self {
        Self { seats: Arc::new(Mutex::new(Seats::new(tunnel, all))), ..self }
    }

    /// Lets a visitor take nothing of a response's body for this long while there is room for everybody: one
    /// hour unless set, see [`limits::STALL_PATIENCE`]. Then the response is reset. When a connection is short
    /// of room, visitors who have stopped for longer than [`limits::STALL_TIMEOUT`] make some.
    #[must_use]
    pub fn stall_patience(self, patience: Duration) -> Self {
        Self { stall_patience: patience, ..self }
    }

    /// Registers the connector at the other end of `io`, which has finished TLS.
    ///
    /// # Errors
    ///
    /// A refusal ([`Error::refusal`]; the connector has been told), a peer that breaks the
    /// protocol, or one that goes away or is silent for ten seconds. The connection is closed in
    /// every case. A refusal with an [`Error::limit`] is not for who it is, but because too many are
    /// registered. A peer that closes without a word is cloudflared's pre-flight check: its error
    /// is [retryable](Error::is_retryable) and not worth a warning.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    pub fn accept<T>(&self, io: T) -> impl Future<Output = Result<Connection, Error>> + Send
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.accept_from(io, None)
    }

    /// The same, for a connector whose address is known: [`Connection::source`] tells it on.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    ///
    /// # Cancel safety
    ///
    /// As [`accept`](Self::accept).
    #[expect(clippy::manual_async_fn, reason = "with a closure rustc sees no `Send`, rust#102211")]
    pub fn accept_from<T>(
        &self,
        io: T,
        source: Option<SocketAddr>,
    ) -> impl Future<Output = Result<Connection, Error>> + Send
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        async move {
            timeout(limits::REGISTER_TIMEOUT, self.register(io, source)).await.unwrap_or_else(
                |_| {
                    let error = Error::from(ErrorKind::Network("no registration in time".into()));
                    Err(error.with_limit("REGISTER_TIMEOUT"))
                },
            )
        }
    }

    async fn register<T>(&self, io: T, source: Option<SocketAddr>) -> Result<Connection, Error>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (io, cork) = cork(io, Role::Edge);
        let (requests, connection) = settings::edge().handshake(io).await?;
        let in_flight = watch::Sender::new(0);
        let driver = Driver::spawn(connection, cork, in_flight.subscribe());
        let explain = |error| driver.explain(error);
        let mut control = ControlStream::open(requests.clone()).await.map_err(explain)?;
        let registration = control.registration().await.map_err(explain)?;
        let verdict = match self.authenticate.authenticate(&registration).await {
            Ok(registered) => self.seat(&registration).map(|place| (registered, place)),
            Err(refusal) => Err((refusal, None)),
        };
        match verdict {
            Ok((registered, place)) => {
                control.respond(Ok(registered.clone()))?;
                place.registered();
                Ok(Connection::new(
                    *registration,
                    registered,
                    source,
                    requests,
                    in_flight,
                    control,
                    driver,
                    place,
                    self.stall_patience,
                ))
            }
            Err((refusal, limit)) => {
                control.respond(Err(refusal.clone()))?;
                telemetry::refused(Side::Edge);
                // cloudflared keeps a refused connection open for ever, so we hang up.
                let _ = timeout(limits::REFUSAL_LINGER, control.closed()).await;
                let error = Error::from(refusal);
                Err(match limit {
                    Some(limit) => error.with_limit(limit),
                    None => error,
                })
            }
        }
    }

    /// A seat for a connection that may register, or what its connector is told and the bound.
    fn seat(&self, registration: &Registration) -> Result<Seated, (Refusal, Option<&'static str>)> {
        let tunnel = registration.credentials.tunnel_id();
        let (connector, index) = (registration.connector_id, registration.connection_index);
        let seat = lock(&self.seats).handle_registration(tunnel, connector, index);
        match seat {
            Ok(seat) => Ok(Seated { seats: Arc::clone(&self.seats), seat }),
            // cloudflared ends before its first success, and its operator reads why.
            Err(Full::Tunnel(count)) => {
                let cause = format!("the tunnel has {count} connections here, which is the most");
                let refusal = Refusal::retry(cause, limits::RECONNECT_WAIT.1);
                Err((refusal, Some("TUNNEL_CONNECTIONS")))
            }
            Err(Full::All(_)) => {
                let refusal = Refusal::retry(Refusal::DUPLICATE, limits::RECONNECT_WAIT.0);
                Err((refusal, Some("CONNECTIONS")))
            }
        }
    }
}

/// A registered connection's seat, until this is dropped.
pub(super) struct Seated {
    seats: Arc<Mutex<Seats>>,
    seat: Seat,
}

impl Seated {
    /// The registration is complete.
    fn registered(&self) {
        lock(&self.seats).handle_success(self.seat);
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        lock(&self.seats).handle_end(self.seat);
    }
}

impl<A> fmt::Debug for Acceptor<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

fn lock(seats: &Mutex<Seats>) -> MutexGuard<'_, Seats> {
    seats.lock().unwrap_or_else(PoisonError::into_inner)
}
