//! Making connections to one origin: TCP or a Unix socket, TLS on top.

use std::{
    error::Error as StdError,
    io,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
    rt::TokioIo,
};
use tokio::time::timeout;
use tower_service::Service;

use super::{OriginFailure, transport::Transport};
use crate::{error, limits};

/// An error of somebody else's type.
type BoxError = Box<dyn StdError + Send + Sync>;

/// Where an origin is and how it is reached. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Dial {
    pub(crate) target: Target,
    pub(crate) tcp: HttpConnector,
    pub(crate) connect_timeout: Option<Duration>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
}

/// What is dialed.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// `http://HOST:PORT`.
    Tcp(Uri),
    Unix(Arc<PathBuf>),
}

/// TLS on top of a connection.
#[cfg(feature = "tls")]
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    pub(crate) config: Arc<tokio_rustls::rustls::ClientConfig>,
    /// The name to ask for and to check; the request's host if there is none.
    pub(crate) name: Option<rustls_pki_types::ServerName<'static>>,
    pub(crate) timeout: Option<Duration>,
}

/// How TCP connections are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TcpSettings {
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) keep_alive: Option<Duration>,
    /// Whether IPv4 is tried while IPv6 takes its time.
    pub(crate) happy_eyeballs: bool,
}

impl TcpSettings {
    /// cloudflared's, which are the tables' in its documentation.
    pub(crate) const DEFAULT: Self = Self {
        connect_timeout: Some(limits::ORIGIN_CONNECT_TIMEOUT),
        keep_alive: Some(limits::ORIGIN_TCP_KEEP_ALIVE),
        happy_eyeballs: true,
    };

    pub(crate) fn connector(self) -> HttpConnector {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(self.connect_timeout);
        tcp.set_keepalive(self.keep_alive);
        tcp.set_keepalive_interval(self.keep_alive);
        if !self.happy_eyeballs {
            tcp.set_happy_eyeballs_timeout(None);
        }
        tcp
    }
}

impl Dial {
    pub(crate) fn new(target: Target, settings: TcpSettings) -> Self {
        Self {
            target,
            tcp: settings.connector(),
            connect_timeout: settings.connect_timeout,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Connects for a request to `uri`, whose host may be the name that TLS asks for.
    pub(crate) async fn connect(mut self, uri: Uri) -> Result<Transport, BoxError> {
        let transport = self.transport().await?;
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls {
            return Ok(tls.handshake(transport, &uri).await?);
        }
        let _ = uri;
        Ok(transport)
    }

    async fn transport(&mut self) -> Result<Transport, BoxError> {
        match &self.target {
            Target::Tcp(uri) => {
                let stream = self.tcp.call(uri.clone()).await?;
                Ok(stream.into_inner().into())
            }
            #[cfg(unix)]
            Target::Unix(path) => {
                let connecting = tokio::net::UnixStream::connect(&**path);
                let stream = within(
                    self.connect_timeout,
                    "connecting",
                    "ORIGIN_CONNECT_TIMEOUT",
                    connecting,
                )
                .await?;
                Ok(stream.into())
            }
            #[cfg(not(unix))]
            Target::Unix(_) => Err(io::Error::from(io::ErrorKind::Unsupported).into()),
        }
    }
}

#[cfg(feature = "tls")]
impl Tls {
    async fn handshake(self, transport: Transport, uri: &Uri) -> io::Result<Transport> {
        let name = match self.name {
            Some(name) => name,
            None => server_name(uri.host().unwrap_or_default())?,
        };
        let connector = tokio_rustls::TlsConnector::from(self.config);
        let handshake = connector.connect(name, transport);
        within(self.timeout, "TLS", "ORIGIN_TLS_TIMEOUT", handshake).await.map(Transport::tls)
    }
}

/// The name in a URL's host, as certificates have it.
#[cfg(feature = "tls")]
pub(crate) fn server_name(host: &str) -> io::Result<rustls_pki_types::ServerName<'static>> {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    rustls_pki_types::ServerName::try_from(host.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

async fn within<T>(
    limit: Option<Duration>,
    what: &str,
    name: &'static str,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let Some(limit) = limit else {
        return work.await;
    };
    let late = |_| {
        let what = format!("{what} took longer than {limit:?} ({name})");
        io::Error::new(io::ErrorKind::TimedOut, what)
    };
    timeout(limit, work).await.map_err(late)?
}

impl Service<Uri> for Dial {
    type Response = TokioIo<Transport>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dial = self.clone();
        Box::pin(async move { dial.connect(uri).await.map(TokioIo::new) })
    }
}

/// Whether a connection has brought a response already. Clones are about the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Used(Arc<AtomicBool>);

impl Used {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Connection for Transport {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(Used::default());
        if self.is_http2() { connected.negotiated_h2() } else { connected }
    }
}

/// Whether a connection that had served before was gone when it was used again: its other end closed it,
/// most likely before it had seen the request.
pub(crate) fn is_stale(error: &hyper_util::client::legacy::Error) -> bool {
    let mut extras = http::Extensions::new();
    if let Some(connected) = error.connect_info() {
        connected.get_extras(&mut extras);
    }
    extras.get::<Used>().is_some_and(Used::is_set) && is_closed(error)
}

fn is_closed(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(hyper) = error.downcast_ref::<hyper::Error>()
            && (hyper.is_incomplete_message() || hyper.is_closed() || hyper.is_canceled())
        {
            return true;
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return matches!(
                io.kind(),
                io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::UnexpectedEof
            );
        }
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            return h2.is_io() || error::is_untouched(h2);
        }
        next = error.source();
    }
    false
}

/// Tells a connection that could not be made from one that took too long.
pub(crate) fn failure(error: &(dyn StdError + 'static)) -> OriginFailure {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && io.kind() == io::ErrorKind::TimedOut
        {
            return OriginFailure::TimedOut;
        }
        next = error.source();
    }
    OriginFailure::Unreachable
}
