//! Choosing between this node and another one.

use std::{error::Error as StdError, fmt, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tracing::debug;

use super::{
    directory::Directory,
    forwarder::Forwarder,
    lookup::Lookup,
    node::{Holder, Node, NodeName},
    wire,
};
use crate::{
    edge::Router,
    error::{Error, ErrorKind},
    id::TunnelId,
    limits,
    net::body::Incoming,
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
    /// With a connection here, this is [`Tunnel::send`](crate::edge::Tunnel::send): the directory is
    /// not asked. Otherwise up to three nodes are tried while the request can't have reached a
    /// connector, and its body has not been read. A request that may have reached one is sent again
    /// only if its method is safe (`GET`, `HEAD`, `OPTIONS`, `TRACE`) and it has no body.
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
        if let Some(tunnel) = self.router.tunnel(tunnel) {
            match tunnel.ready().await {
                Ok(ready) => return tunnel.send_over(ready, request).await,
                Err(error) if error.is_offline() => {}
                Err(error) => return Err(error),
            }
        }
        // Larger by far, and rare with one node: kept out of the local case's future.
        Box::pin(self.forward(tunnel, request)).await
    }

    async fn forward<B>(
        &self,
        tunnel: TunnelId,
        request: Request<B>,
    ) -> Result<Response<Incoming>, Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let (parts, mut body) = request.into_parts();
        let head = wire::request(tunnel, parts)?;
        let is_repeatable = head.method().is_safe() && body.is_end_stream();
        let mut route = Route { holders: self.lookup.find(tunnel).await?, tried: Vec::new() };
        let mut has_asked_anew = false;
        let mut last = Error::from(ErrorKind::Offline);
        while route.tried.len() < limits::NODE_ATTEMPTS {
            let Some(node) = route.next(&self.forwarder) else {
                if std::mem::replace(&mut has_asked_anew, true) || route.tried.is_empty() {
                    break;
                }
                // The tunnel may have moved since, perhaps to this very node.
                if let Some(ready) = self.local(tunnel).await {
                    let (_, head) = wire::open_request(head).map_err(wire::Refusal::into_error)?;
                    return ready.send(head.map(|()| body)).await;
                }
                route.holders = self.lookup.ask(tunnel).await?;
                continue;
            };
            match self.forwarder.send(&node, head.clone(), body).await {
                Ok(response) => return Ok(response),
                Err(failed) => {
                    debug!(node = %node.name(), error = %failed.error, "a node gave no answer");
                    match failed.body {
                        Some(unread) if failed.is_unsent || is_repeatable => body = unread,
                        _ => return Err(failed.error),
                    }
                    last = failed.error;
                }
            }
        }
        Err(last)
    }

    async fn local(&self, tunnel: TunnelId) -> Option<crate::edge::Ready> {
        self.router.tunnel(tunnel)?.ready().await.ok()
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
