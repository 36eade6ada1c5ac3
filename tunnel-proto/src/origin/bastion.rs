//! A TCP service that each request names.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderName, Request, Response, Uri};
use tower_service::Service;

use super::{
    OriginError, OriginFailure,
    body::OriginBody,
    dial::{self, Dial, Target, TcpSettings},
    tcp,
    transport::Transport,
};
use crate::{limits, net::body::Incoming};

/// Leads each visitor to the TCP service that the request names in `Cf-Access-Jump-Destination`
/// (`HOST:PORT`): `cloudflared access ssh --destination`.
///
/// # Security
///
/// Without [`allow`](Self::allow) a visitor reaches everything that the connector's machine can, its
/// loopback included. Whoever uses it should let Access decide who the visitors are.
#[derive(Clone)]
pub struct BastionOrigin {
    settings: TcpSettings,
    is_allowed: Arc<dyn Fn(IpAddr, u16) -> bool + Send + Sync>,
}

const DESTINATION: HeaderName = HeaderName::from_static("cf-access-jump-destination");

impl BastionOrigin {
    /// Leads anywhere. A TCP connection may take 30 seconds.
    pub fn new() -> Self {
        Self::with_settings(TcpSettings::DEFAULT)
    }

    pub(crate) fn with_settings(settings: TcpSettings) -> Self {
        Self { settings, is_allowed: Arc::new(|_, _| true) }
    }

    /// Leads only where `is_allowed` says so. A name's addresses are each asked for, after it was
    /// looked up, and only those allowed are connected to.
    #[must_use]
    pub fn allow(
        mut self,
        is_allowed: impl Fn(IpAddr, u16) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.is_allowed = Arc::new(is_allowed);
        self
    }

    async fn connect(self, headers: HeaderMap) -> Result<Transport, OriginError> {
        let unclear = |what: &str| OriginError::new(OriginFailure::Unknown, what.to_owned());
        let stated = headers.get(DESTINATION).and_then(|stated| stated.to_str().ok());
        let stated = stated.ok_or_else(|| unclear("no `Cf-Access-Jump-Destination`"))?;
        let (host, port) = destination(stated)
            .ok_or_else(|| unclear("a `Cf-Access-Jump-Destination` that is not HOST:PORT"))?;
        let found = tokio::net::lookup_host((host.as_str(), port)).await;
        let found = found.map_err(|error| OriginError::new(OriginFailure::Unreachable, error))?;
        let allowed =
            |address: &SocketAddr| (self.is_allowed)(address.ip().to_canonical(), address.port());
        let mut last = unclear("a destination that is not allowed");
        for address in found.filter(allowed).take(limits::BASTION_ADDRESSES) {
            match self.connect_to(address).await {
                Ok(transport) => return Ok(transport),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_to(&self, address: SocketAddr) -> Result<Transport, OriginError> {
        let target = tcp::target(&address.ip().to_string(), address.port());
        let target = target.ok_or_else(|| {
            OriginError::new(OriginFailure::Unknown, io::ErrorKind::AddrNotAvailable.to_string())
        })?;
        let connecting =
            Dial::new(Target::Tcp(target), self.settings).connect(Uri::from_static("/"));
        connecting.await.map_err(|error| OriginError::new(dial::failure(&*error), error))
    }
}

impl Default for BastionOrigin {
    fn default() -> Self {
        Self::new()
    }
}

impl Service<Request<Incoming>> for BastionOrigin {
    type Response = Response<OriginBody>;
    type Error = OriginError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, OriginError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OriginError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let bastion = self.clone();
        Box::pin(tcp::answer(request, |headers| bastion.connect(headers)))
    }
}

impl fmt::Debug for BastionOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BastionOrigin").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// `HOST:PORT`, perhaps with a scheme before and a path after it, as cloudflared's client sends it.
fn destination(text: &str) -> Option<(String, u16)> {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let text = text.split(['/', '?', '#']).next()?;
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    tcp::target(host, port).map(|_| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_as_clients_write_them() {
        for (text, host, port) in [
            ("10.0.0.5:22", "10.0.0.5", 22),
            ("ssh://server.internal:2222/", "server.internal", 2222),
            ("tcp://[2001:db8::1]:5432/x?y", "2001:db8::1", 5432),
            ("[::1]:22", "::1", 22),
        ] {
            assert_eq!(destination(text), Some((host.into(), port)), "{text}");
        }
        for text in ["", ":22", "a", "a:", "a:0", "a:99999", "u@a:22", "a b:22", "://:1", "/a:22"] {
            assert_eq!(destination(text), None, "{text}");
        }
    }
}
