//! Reaching the edge.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

/// The name that a connector expects in the edge's certificate, and sends as SNI.
pub const EDGE_SERVER_NAME: &str = "h2.cftunnel.com";

/// Opens a connection to an edge, TLS and all.
pub trait Dial: Send + Sync + 'static {
    /// What has been opened.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Opens a connection. `address` counts up from the connection's index with each attempt that
    /// did not get as far as a registration; take it modulo the addresses known.
    ///
    /// # Cancel safety
    ///
    /// Must be safe: the connector gives up after 30 seconds or when it shuts down.
    fn dial(&self, address: usize) -> impl Future<Output = io::Result<Self::Io>> + Send;
}

impl<F, Fut, T> Dial for F
where
    F: Fn(usize) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = io::Result<T>> + Send,
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Io = T;

    async fn dial(&self, address: usize) -> io::Result<T> {
        self(address).await
    }
}

#[cfg(feature = "tls")]
pub use tls::TlsDialer;

#[cfg(feature = "tls")]
mod tls {
    use std::{fmt, io, sync::Arc};

    use rustls_pki_types::ServerName;
    use tokio::{
        net::TcpStream,
        time::{error::Elapsed, timeout},
    };
    use tokio_rustls::{TlsConnector, client::TlsStream, rustls::ClientConfig};

    use super::{Dial, EDGE_SERVER_NAME};
    use crate::{
        error::{Error, ErrorKind},
        limits,
    };

    /// Dials edges over TCP and TLS.
    #[derive(Clone)]
    pub struct TlsDialer {
        addresses: Vec<String>,
        server_name: ServerName<'static>,
        tls: TlsConnector,
    }

    impl TlsDialer {
        /// Dials `addresses` (`host:port` each), trusting what `config` trusts. No ALPN is sent
        /// unless `config` says so; cloudflared sends none.
        ///
        /// # Errors
        ///
        /// No address, or one without a port, is the caller's fault.
        pub fn new<A: Into<String>>(
            addresses: impl IntoIterator<Item = A>,
            config: Arc<ClientConfig>,
        ) -> Result<Self, Error> {
            let addresses: Vec<String> = addresses.into_iter().map(Into::into).collect();
            if addresses.is_empty() {
                return Err(ErrorKind::Caller("no address of an edge".into()).into());
            }
            for address in &addresses {
                let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
                if !matches!(port, Some(Ok(1..))) {
                    let address = address.escape_debug();
                    let what = format!("`{address}` is not an edge address; write it as HOST:PORT");
                    return Err(ErrorKind::Caller(what).into());
                }
            }
            let server_name = ServerName::try_from(EDGE_SERVER_NAME).map_err(|error| {
                Error::from(ErrorKind::Caller("no server name".into())).with_source(error)
            })?;
            Ok(Self { addresses, server_name, tls: config.into() })
        }

        /// Expects another name in the edge's certificate.
        #[must_use]
        pub fn server_name(mut self, name: ServerName<'static>) -> Self {
            self.server_name = name;
            self
        }
    }

    impl Dial for TlsDialer {
        type Io = TlsStream<TcpStream>;

        async fn dial(&self, address: usize) -> io::Result<Self::Io> {
            let address = &self.addresses[address % self.addresses.len()];
            self.open(address).await.map_err(|error| {
                // The kind stays, for whoever gives advice; the address says which edge it was.
                io::Error::new(error.kind(), DialError { address: address.clone(), error })
            })
        }
    }

    impl TlsDialer {
        async fn open(&self, address: &str) -> io::Result<TlsStream<TcpStream>> {
            let tcp = timeout(limits::DIAL_TIMEOUT, TcpStream::connect(address))
                .await
                .map_err(timed_out)??;
            tcp.set_nodelay(true)?;
            timeout(limits::DIAL_TIMEOUT, self.tls.connect(self.server_name.clone(), tcp))
                .await
                .map_err(timed_out)?
        }
    }

    impl fmt::Debug for TlsDialer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("TlsDialer")
                .field("addresses", &self.addresses)
                .field("server_name", &self.server_name)
                .finish_non_exhaustive()
        }
    }

    /// Which address, and what happened there.
    #[derive(Debug, thiserror::Error)]
    #[error("{address}")]
    struct DialError {
        address: String,
        #[source]
        error: io::Error,
    }

    fn timed_out(_: Elapsed) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, "the edge did not answer in time (DIAL_TIMEOUT)")
    }
}
