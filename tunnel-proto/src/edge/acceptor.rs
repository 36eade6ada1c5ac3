//! From an accepted socket to a registered connection.

use std::{fmt, net::SocketAddr, sync::Arc};

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
    state::flood::Role,
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
#[derive(Clone)]
pub struct Acceptor<A> {
    authenticate: Arc<A>,
}

impl<A: Authenticate> Acceptor<A> {
    /// Makes an acceptor that asks `authenticate` about every registration.
    pub fn new(authenticate: A) -> Self {
        Self { authenticate: Arc::new(authenticate) }
    }

    /// Registers the connector at the other end of `io`, which has finished TLS.
    ///
    /// # Errors
    ///
    /// A refusal ([`Error::refusal`]; the connector has been told), a peer that breaks the
    /// protocol, or one that goes away or is silent for ten seconds. The connection is closed in
    /// every case. A peer that closes without a word is cloudflared's pre-flight check: its error
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
        let verdict = self.authenticate.authenticate(&registration).await;
        control.respond(verdict.clone())?;
        match verdict {
            Ok(registered) => Ok(Connection::new(
                *registration,
                registered,
                source,
                requests,
                in_flight,
                control,
                driver,
            )),
            Err(refusal) => {
                telemetry::refused(Side::Edge);
                // cloudflared keeps a refused connection open for ever, so we hang up.
                let _ = timeout(limits::REFUSAL_LINGER, control.closed()).await;
                Err(refusal.into())
            }
        }
    }
}

impl<A> fmt::Debug for Acceptor<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}
