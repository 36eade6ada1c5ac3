//! The edge's sockets: visitors over HTTPS and HTTP, connectors over the tunnel protocol.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use cert_manager::{Resolver, acme::TlsAlpn01, presets};
use http::{HeaderValue, Request};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::Watcher},
};
use rustls::ServerConfig;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use tracing::{debug, info};

use crate::{
    cancellations::{CANCELLATIONS_PER_SECOND, Cancellations},
    gate::reply::Reply,
    patience::Patience,
    shutdown::Shutdown,
};

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a request's head may take, and the first bytes of a connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// A request's header list, in bytes; 431 without a page beyond it. Half of it gets a page.
const HEADER_LIST_BYTES: u32 = 64 * 1024;

/// A request's header fields; 431 without a page beyond it. Four in five get a page. hyper makes room for
/// all of them at each request.
const HEADER_FIELDS: usize = 160;

/// Connections at one socket. More wait in the system's queue.
const CONNECTIONS: usize = 10_000;

/// Requests in flight on one visitor's connection.
const CONCURRENT_STREAMS: u32 = 100;

/// Requests in flight may take this long once the program stops.
pub const GRACE_PERIOD: Duration = Duration::from_secs(30);

/// What a visitor's connection says about the visitor. Every request on it shares it.
#[derive(Debug)]
pub struct Peer {
    /// The visitor's network address, IPv4 wherever it is that.
    pub ip: IpAddr,
    /// The same, as origins are told.
    pub ip_header: HeaderValue,
    /// The name that the visitor's TLS asked for, in lower case and without a trailing dot; nothing
    /// without TLS.
    pub server_name: Option<String>,
}

impl Peer {
    /// Reads what there is to know.
    pub fn new(address: SocketAddr, server_name: Option<&str>) -> Arc<Self> {
        let ip = address.ip().to_canonical();
        let server_name = server_name.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        // Digits, letters, dots and colons are always a valid value.
        let ip_header = HeaderValue::try_from(ip.to_string())
            .unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Arc::new(Self { ip, ip_header, server_name })
    }
}

/// Opens a listening socket.
///
/// # Errors
///
/// Names the address and, if it is taken, what to do.
pub async fn bind(address: SocketAddr, what: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => {
                let port = address.port();
                format!("another program listens there; stop it (`ss -ltnp 'sport = :{port}'` names it) or choose another port")
            }
            io::ErrorKind::PermissionDenied => {
                "ports under 1024 need the capability CAP_NET_BIND_SERVICE".into()
            }
            io::ErrorKind::AddrNotAvailable => "this machine has no such address".into(),
            _ => return anyhow::Error::new(error).context(format!("can't listen for {what} at {address}")),
        };
        anyhow::anyhow!("can't listen for {what} at {address}: {advice}")
    })
}

/// Both kinds of TLS server, chosen by the name that a client asks for.
#[derive(Debug, Clone)]
pub struct Tls {
    resolver: Arc<Resolver>,
    visitors: Arc<ServerConfig>,
    connectors: Arc<ServerConfig>,
    challenges: Option<Arc<TlsAlpn01>>,
}

/// A finished TLS handshake.
#[derive(Debug)]
pub enum Accepted {
    /// Somebody with a browser.
    Visitor(Box<TlsStream<TcpStream>>),
    /// A connector, or cloudflared's probe.
    Connector(Box<TlsStream<TcpStream>>),
    /// An authority that has seen what it came for.
    Authority,
}

impl Tls {
    /// Serves the resolver's certificates.
    ///
    /// # Errors
    ///
    /// If the crypto provider lacks what TLS 1.2 or 1.3 needs.
    pub fn new(resolver: Arc<Resolver>) -> anyhow::Result<Self> {
        let provider = presets::provider();
        let visitors =
            presets::server_config(Arc::clone(&provider), resolver.clone(), ["h2", "http/1.1"])?;
        let connectors = presets::tunnel_config(provider, resolver.clone())?;
        let (visitors, connectors) = (Arc::new(visitors), Arc::new(connectors));
        Ok(Self { resolver, visitors, connectors, challenges: None })
    }

    /// Answers authorities too, which validate names in handshakes.
    #[must_use]
    pub fn challenges(mut self, challenges: Option<Arc<TlsAlpn01>>) -> Self {
        self.challenges = challenges;
        self
    }

    /// Finishes a handshake.
    ///
    /// # Errors
    ///
    /// Whatever the client did wrong; a name without a certificate is told to it as the alert
    /// `unrecognized_name` (RFC 6066 section 3).
    pub async fn accept(&self, tcp: TcpStream) -> io::Result<Accepted> {
        let handshake = async {
            let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), tcp).await;
            let mut start = start?;
            let hello = start.client_hello();
            let name = hello.server_name().map(str::to_owned);
            if is_authority(&hello) {
                let answer = match (&self.challenges, &name) {
                    (Some(challenges), Some(name)) => challenges.find(name).await,
                    _ => None,
                };
                let Some(answer) = answer else {
                    return Err(refuse(&mut start.io, name.as_deref()).await?);
                };
                // RFC 8737 section 3: nothing follows the handshake.
                start.into_stream(Arc::new(answer)).await?.shutdown().await?;
                return Ok(Accepted::Authority);
            }
            if !self.resolver.knows(name.as_deref()) {
                return Err(refuse(&mut start.io, name.as_deref()).await?);
            }
            if name.as_deref().is_some_and(is_tunnel_name) {
                let stream = start.into_stream(Arc::clone(&self.connectors)).await?;
                Ok(Accepted::Connector(Box::new(stream)))
            } else {
                let stream = start.into_stream(Arc::clone(&self.visitors)).await?;
                Ok(Accepted::Visitor(Box::new(stream)))
            }
        };
        match timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(accepted) => accepted,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Tells a client that its name is not known here. Gives the error for our own log.
async fn refuse(tcp: &mut TcpStream, name: Option<&str>) -> io::Result<io::Error> {
    tcp.write_all(&presets::UNRECOGNIZED_NAME_ALERT).await?;
    tcp.shutdown().await?;
    let name = name.unwrap_or("no name").escape_debug();
    Ok(io::Error::other(format!("no certificate for `{name}`")))
}

/// Whether an authority comes to validate a name: it offers its protocol and no other.
fn is_authority(hello: &rustls::server::ClientHello<'_>) -> bool {
    let mut protocols = hello.alpn().into_iter().flatten();
    (protocols.next(), protocols.next()) == (Some(presets::ACME_TLS_ALPN), None)
}

/// Whether this is one of the names that cloudflared asks for.
fn is_tunnel_name(name: &str) -> bool {
    presets::tunnel_names().iter().any(|known| known.as_str() == name)
}

/// Accepts connections until told to stop, each in a task of its own.
///
/// Running out of file descriptors makes it wait, not spin.
pub async fn accept_loop<F, Fut>(listener: TcpListener, shutdown: Shutdown, serve: F)
where
    F: Fn(TcpStream, SocketAddr) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut told = std::pin::pin!(shutdown.told());
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            next = next => next,
            () = &mut told => return,
        };
        match accepted {
            Ok((tcp, peer)) => {
                let _ = tcp.set_nodelay(true);
                let served = serve(tcp, peer);
                tokio::spawn(async move {
                    let _place = place;
                    served.await;
                });
            }
            Err(error) => {
                debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Speaks HTTP/1.1 or HTTP/2 with one visitor until the connection ends or the program stops.
pub async fn serve_http<T, F, Fut>(io: T, watcher: Watcher, answer: F)
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Reply> + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEADER_LIST_BYTES as usize)
        .max_headers(HEADER_FIELDS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(CONCURRENT_STREAMS)
        .max_header_list_size(HEADER_LIST_BYTES)
        .max_send_buf_size(128 * 1024)
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    let cancellations = Arc::new(Cancellations::default());
    let counted = Arc::clone(&cancellations);
    let service = service_fn(move |request| {
        let asked = counted.follow(&request);
        // Boxed: hyper keeps room for one as long as the connection is open.
        let reply = Box::pin(answer(request));
        async move { Ok::<_, Infallible>(asked.answered(reply.await)) }
    });
    let io = Patience::new(io, HEAD_TIMEOUT);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(io), service).into_owned();
    tokio::select! {
        ended = watcher.watch(connection) => {
            if let Err(error) = ended {
                debug!(error = &*error, "a visitor's connection ended");
            }
        }
        () = cancellations.exceeded() => {
            let limit = CANCELLATIONS_PER_SECOND;
            info!(limit, "hung up on a visitor who took back too many requests in a second");
        }
    }
}

/// The address that a listener got, for messages.
///
/// # Errors
///
/// If the socket is gone.
pub fn local_address(listener: &TcpListener) -> anyhow::Result<SocketAddr> {
    listener.local_addr().context("can't tell the listening address")
}
