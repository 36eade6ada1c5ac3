//! What can be asked of a tunnel, here or at another node.

use std::{
    error::Error as StdError,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;

use super::{
    link::{Failed, Link},
    wire::{Asked, Refusal},
};
use crate::{
    edge::{OnInterim, Ready, Tunnel, Upgrade},
    error::{Error, ErrorKind},
    net::{body::Incoming, io::TunnelIo},
};

/// A request without its head: what is used up when it is sent.
pub(super) trait Exchange: Sized + Send {
    type Answer: Send;

    /// Whether sending it twice does no harm, if the method is idempotent too.
    fn is_repeatable(&self) -> bool;

    /// Sends it over a connection to another node.
    fn hop(
        self,
        link: &Arc<Link>,
        head: Request<()>,
    ) -> impl Future<Output = Result<Self::Answer, Failed<Self>>> + Send;

    /// Sends it over a connection of this node, as another node would.
    fn here(
        self,
        tunnel: &Tunnel,
        ready: Ready,
        asked: Asked,
    ) -> impl Future<Output = Result<Self::Answer, Error>> + Send;
}

/// A plain request.
pub(super) struct Http<B> {
    pub(super) body: B,
    pub(super) on_interim: Option<OnInterim>,
}

impl<B> Exchange for Http<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Answer = Response<Incoming>;

    fn is_repeatable(&self) -> bool {
        self.body.is_end_stream()
    }

    async fn hop(self, link: &Arc<Link>, head: Request<()>) -> Result<Self::Answer, Failed<Self>> {
        let Self { body, on_interim } = self;
        let sent = link.send(head, body, on_interim.as_ref()).await;
        sent.map_err(|failed| failed.map(|body| Self { body, on_interim }))
    }

    async fn here(
        self,
        tunnel: &Tunnel,
        ready: Ready,
        asked: Asked,
    ) -> Result<Self::Answer, Error> {
        let Asked::Http(mut head) = asked else {
            return Err(Refusal::Unclear.into_error());
        };
        if let Some(on_interim) = self.on_interim {
            head.extensions_mut().insert(on_interim);
        }
        tunnel.send_over(ready, head.map(|()| self.body)).await
    }
}

/// A WebSocket's handshake.
pub(super) struct WebSocket;

impl Exchange for WebSocket {
    type Answer = Upgrade;

    fn is_repeatable(&self) -> bool {
        false
    }

    async fn hop(self, link: &Arc<Link>, head: Request<()>) -> Result<Upgrade, Failed<Self>> {
        link.open_stream(head).await.map_err(|failed| failed.map(|()| Self))
    }

    async fn here(self, tunnel: &Tunnel, ready: Ready, asked: Asked) -> Result<Upgrade, Error> {
        let Asked::WebSocket(request) = asked else {
            return Err(Refusal::Unclear.into_error());
        };
        tunnel.upgrade_over(ready, request).await
    }
}

/// A TCP flow.
pub(super) struct Tcp {
    pub(super) destination: SocketAddr,
    pub(super) source: IpAddr,
}

impl Exchange for Tcp {
    type Answer = TunnelIo;

    fn is_repeatable(&self) -> bool {
        false
    }

    async fn hop(self, link: &Arc<Link>, head: Request<()>) -> Result<TunnelIo, Failed<Self>> {
        match link.open_stream(head).await {
            Ok(Upgrade::Accepted(_, io)) => Ok(io),
            Ok(Upgrade::Declined(_)) => {
                let error = ErrorKind::Peer("a TCP flow that the other node did not open".into());
                Err(Failed { error: error.into(), rest: None, is_unsent: false })
            }
            Err(failed) => Err(failed.map(|()| self)),
        }
    }

    async fn here(self, tunnel: &Tunnel, ready: Ready, _: Asked) -> Result<TunnelIo, Error> {
        tunnel.tcp_over(ready, self.destination, self.source).await
    }
}
