//! Handshakes that may have to wait for a certificate.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use rustls::{ServerConfig, server::Acceptor};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use crate::{
    manager::on_demand::OnDemand, presets::UNRECOGNIZED_NAME_ALERT, resolver::is_challenge,
};

impl OnDemand {
    /// Takes a connection: reads the hello, gets a certificate first if the name is unknown, and finishes the handshake with
    /// `config`, whose resolver has to be the manager's.
    ///
    /// A client that is refused gets the default certificate if there is one, else the alert `unrecognized_name`.
    ///
    /// # Errors
    ///
    /// If the hello does not come within 10 seconds, the handshake takes 10 more, or it fails. Of the kind `PermissionDenied`,
    /// with a [`Refusal`](super::Refusal) inside, if the client was refused.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection; an order goes on.
    pub async fn accept<IO>(
        &self,
        io: IO,
        peer: IpAddr,
        config: Arc<ServerConfig>,
    ) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), io);
        let mut start = timeout(PATIENCE, hello).await??;
        let hello = start.client_hello();
        let unknown = hello
            .server_name()
            .filter(|_| !is_challenge(&hello))
            .filter(|name| self.known(name).is_none())
            .map(ToOwned::to_owned);
        if let Some(name) = unknown
            && let Err(refusal) = self.get(&name, peer).await
            && !self.has_default()
        {
            // Whether it still listens does not matter.
            let _ = timeout(PATIENCE, start.io.write_all(&UNRECOGNIZED_NAME_ALERT)).await;
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal));
        }
        timeout(PATIENCE, start.into_stream(config)).await?
    }
}

/// For the hello, and for what follows it.
const PATIENCE: Duration = Duration::from_secs(10);
