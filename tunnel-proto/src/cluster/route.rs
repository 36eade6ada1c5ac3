//! Choosing between this node and another one.

use std::{
    error::Error as StdError,
    fmt,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tracing::debug;

use super::{
    directory::Directory,
    exchange::{Exchange, Http, Tcp, WebSocket},
    forwarder::Forwarder,
    link::Failed,
    lookup::Lookup,
    node::{Holder, Node, NodeName},
    wire::{self, Asked, Refusal},
};
use crate::{
    edge::{OnInterim, Ready, Router, Tunnel, Upgrade},
    error::{Error, ErrorKind},
    id::TunnelId,
    limits,
    net::{body::Incoming, io::TunnelIo},
    telemetry::{Meter, Side},
};

/// Sends requests down a tunnel wherever its connections are: at this node, or one hop away.
pub struct Cluster<D> {
    router: Arc<Router>,
    lookup: Lookup<D>,
    forwarder: Forwarder,
}

impl<D: Directory> Cluster<D> {
    /// A node called `own` among those that `directory` knows. What the directory says of `own` is
    /// ignored: the `router` knows better.
    pub fn new(own: NodeName, router: Arc<Router>, directory: D, forwarder: Forwarder) -> Self {
        Self { router, lookup: Lookup::new(directory, own), forwarder }
    }

    /// Sends a request over a connection of this node if one serves, else over one hop by a node
    /// that the directory names.
    ///
    /// With room on a connection here, this is [`Tunnel::send`](crate::edge::Tunnel::send): the directory is
    /// not asked. If all connections here are full and no other node has the tunnel, the request waits
    /// for one here. Otherwise up to three nodes are tried while the request can't have reached a
    /// connector, and its body has not been read. A request that may have reached one is sent again
    /// only if its method is idempotent (RFC 9110 section 9.2.2) and it has no body.
    ///
    /// While the directory is away, nodes are remembered for ten minutes, and no request waits
    /// longer than half a second for it.
    ///
    /// # Errors
    ///
    /// [`Error::is_offline`] if no node holds a connection of the tunnel, [`Error::is_busy`] if all that
    /// do are full; a [retryable](Error::is_retryable) error that names the node or the directory if
    /// it can't be reached; else as [`Tunnel::send`](crate::edge::Tunnel::send).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the request at the origin, also over a hop.
    pub async fn send<B>(
        &self,
        tunnel: TunnelId,
        request: Request<B>,
    ) -> Result<Response<Incoming>, Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        if let Some((tunnel, ready)) = self.local(tunnel).await {
            return tunnel.send_over(ready, request).await;
        }
        let hop: Hop<'_, _> = Box::pin(self.send_on(tunnel, request));
        hop.await
    }

    /// Asks for a WebSocket, as [`Tunnel::upgrade`](crate::edge::Tunnel::upgrade), wherever a
    /// connection of the tunnel is.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); a request that asks for no WebSocket is the caller's fault.
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send).
    pub async fn upgrade<B>(
        &self,
        tunnel: TunnelId,
        request: Request<B>,
    ) -> Result<Upgrade, Error> {
        if let Some((tunnel, ready)) = self.local(tunnel).await {
            return tunnel.upgrade_over(ready, request).await;
        }
        let head = wire::websocket(tunnel, request.into_parts().0)?;
        let hop: Hop<'_, _> = Box::pin(self.forward(tunnel, head, WebSocket));
        hop.await
    }

    /// Opens a TCP flow, as [`Tunnel::tcp`](crate::edge::Tunnel::tcp), wherever a connection of the
    /// tunnel is.
    ///
    /// # Errors
    ///
    /// As [`Tunnel::tcp`](crate::edge::Tunnel::tcp), and as [`send`](Self::send) for other nodes.
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send).
    pub async fn tcp(
        &self,
        tunnel: TunnelId,
        destination: SocketAddr,
        source: IpAddr,
    ) -> Result<TunnelIo, Error> {
        if let Some((tunnel, ready)) = self.local(tunnel).await {
            return tunnel.tcp_over(ready, destination, source).await;
        }
        let head = wire::tcp(tunnel, destination, source)?;
        let hop: Hop<'_, _> = Box::pin(self.forward(tunnel, head, Tcp { destination, source }));
        hop.await
    }

    async fn send_on<B>(
        &self,
        tunnel: TunnelId,
        request: Request<B>,
    ) -> Result<Response<Incoming>, Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let (mut parts, body) = request.into_parts();
        let on_interim = parts.extensions.remove::<OnInterim>();
        let head = wire::request(tunnel, parts)?;
        self.forward(tunnel, head, Http { body, on_interim }).await
    }

    /// Sends a request to one node after the other, while it may be.
    async fn forward<X: Exchange>(
        &self,
        tunnel: TunnelId,
        head: Request<()>,
        mut exchange: X,
    ) -> Result<X::Answer, Error> {
        let is_repeatable = head.method().is_idempotent() && exchange.is_repeatable();
        let holders = match self.lookup.find(tunnel).await {
            Ok(holders) => holders,
            Err(error) if !self.is_local(tunnel) => return Err(counted(tunnel, error)),
            // It is full here, and that is all that is known of it.
            Err(_) => Arc::default(),
        };
        let mut route = Route { holders, tried: Vec::new() };
        let mut has_asked_anew = false;
        let mut last = Error::from(ErrorKind::Offline);
        while route.tried.len() < limits::NODE_ATTEMPTS {
            let Some(node) = route.next(&self.forwarder) else {
                if std::mem::replace(&mut has_asked_anew, true) || route.tried.is_empty() {
                    break;
                }
                // The tunnel may have moved since, perhaps to this very node, or there is room again.
                if let Some((tunnel, ready)) = self.local(tunnel).await {
                    return exchange.here(&tunnel, ready, open(head)?).await;
                }
                route.holders = self.lookup.ask(tunnel).await?;
                continue;
            };
            let sent = match self.forwarder.link(&node).await {
                Ok(link) => exchange.hop(&link, head.clone()).await,
                Err(error) => Err(Failed::before(counted(tunnel, error), exchange)),
            };
            let failed = match sent {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            debug!(node = %node.name(), error = %failed.error, "a node gave no answer");
            match failed.rest {
                Some(rest) if failed.is_unsent || is_repeatable => exchange = rest,
                _ => return Err(failed.error),
            }
            last = failed.error;
        }
        // Nobody else has it, so what is full here is worth the wait. A node that is full too has waited.
        if !last.is_busy() && self.is_local(tunnel) {
            let (tunnel, ready) = self.wait(tunnel).await?;
            return exchange.here(&tunnel, ready, open(head)?).await;
        }
        Err(if route.tried.is_empty() { counted(tunnel, last) } else { last })
    }

    /// The tunnel and room on a connection of this node; nothing if none serves here, or all are full.
    async fn local(&self, tunnel: TunnelId) -> Option<(Arc<Tunnel>, Ready)> {
        let tunnel = self.router.tunnel(tunnel)?;
        let ready = tunnel.ready_now().await?;
        Some((tunnel, ready))
    }

    /// The same, waiting for room if that is of use.
    async fn wait(&self, id: TunnelId) -> Result<(Arc<Tunnel>, Ready), Error> {
        let Some(tunnel) = self.router.tunnel(id) else {
            return Err(counted(id, ErrorKind::Offline.into()));
        };
        let ready = tunnel.counted(tunnel.ready().await)?;
        Ok((tunnel, ready))
    }

    /// Whether a connection of the tunnel serves at this node just now.
    pub fn is_local(&self, tunnel: TunnelId) -> bool {
        self.router.tunnel(tunnel).is_some_and(|tunnel| tunnel.is_online())
    }
}

impl<D> fmt::Debug for Cluster<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("forwarder", &self.forwarder).finish_non_exhaustive()
    }
}

/// Counts a request that has found no node. Nodes that were asked count what they answer.
fn counted(tunnel: TunnelId, error: Error) -> Error {
    Meter::new(Side::Edge, tunnel).failed(&error);
    error
}

/// What another node would make of a request.
fn open(head: Request<()>) -> Result<Asked, Error> {
    wire::open_request(head).map(|(_, asked)| asked).map_err(Refusal::into_error)
}

/// A request on its way over other nodes. Larger by far than the local case, and rare with one node:
/// kept out of that case's future.
type Hop<'a, A> = Pin<Box<dyn Future<Output = Result<A, Error>> + Send + 'a>>;

/// The nodes of one request.
struct Route {
    holders: Arc<[Holder]>,
    tried: Vec<Node>,
}

impl Route {
    /// The best node not tried yet: one that was not found dead a moment ago, and has the fewest
    /// requests of ours for each of its connections.
    fn next(&mut self, forwarder: &Forwarder) -> Option<Node> {
        let untried = self.holders.iter().filter(|holder| !self.tried.contains(&holder.node));
        let best = untried.min_by_key(|holder| {
            let (is_resting, in_flight) = forwarder.load(&holder.node);
            let connections = holder.connections.max(1) as usize;
            (is_resting, in_flight * 1_000 / connections)
        })?;
        self.tried.push(best.node.clone());
        Some(best.node.clone())
    }
}
