//! Sending requests to other nodes.

use std::{
    collections::HashMap,
    error::Error as StdError,
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use rustls_pki_types::ServerName;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsConnector, rustls::ClientConfig};
use tracing::debug;

use super::{
    link::Link,
    node::{Node, NodeName},
    wire,
};
use crate::{
    error::{Error, ErrorKind},
    limits,
};

/// Sends requests to other nodes over connections that it opens, keeps and shares.
///
/// At most four connections to a node are kept; one more is opened when each carries 200 requests.
pub struct Forwarder {
    tls: TlsConnector,
    peers: Mutex<HashMap<Node, Arc<Peer>>>,
}

/// The connections to one node.
#[derive(Default)]
struct Peer {
    links: ArcSwap<Vec<Arc<Link>>>,
    /// Held while dialing, so that requests that come together dial once.
    dialing: tokio::sync::Mutex<()>,
    /// When the last attempt to reach it failed.
    failed: Mutex<Option<Instant>>,
}

impl Forwarder {
    /// Shows the certificate of `config`, which other nodes expect to carry this node's name, and
    /// trusts what `config` trusts; a node must show a certificate for its own [`NodeName`]. The
    /// ALPN names of `config` are replaced by the nodes' own.
    pub fn new(config: &ClientConfig) -> Self {
        let mut config = config.clone();
        config.alpn_protocols = vec![wire::ALPN.to_vec()];
        Self { tls: Arc::new(config).into(), peers: Mutex::default() }
    }

    /// Requests in flight to a node, and whether it could not be reached a moment ago.
    pub(super) fn load(&self, node: &Node) -> (bool, usize) {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.get(node).map_or((false, 0), |peer| {
            (peer.is_resting(), peer.links.load().iter().map(|link| link.in_flight()).sum())
        })
    }

    /// A connection to a node, opened if need be.
    pub(super) async fn link(&self, node: &Node) -> Result<Arc<Link>, Error> {
        let peer = self.peer(node);
        if let Some(link) = peer.usable().await {
            return Ok(link);
        }
        let _dialing = peer.dialing.lock().await;
        // Whoever held the lock before may have opened one.
        if let Some(link) = peer.usable().await {
            return Ok(link);
        }
        if peer.links.load().len() >= limits::NODE_CONNECTIONS {
            return peer
                .least_loaded()
                .filter(|link| !link.is_full())
                .ok_or(ErrorKind::Busy.into());
        }
        let opened =
            timeout(limits::NODE_DIAL_TIMEOUT, self.dial(node)).await.unwrap_or_else(|_| {
                let late = io::Error::from(io::ErrorKind::TimedOut);
                Err(unreachable(node.name(), late).with_limit("NODE_DIAL_TIMEOUT"))
            });
        match opened {
            Ok(link) => {
                peer.set_failed(None);
                Ok(peer.add(link))
            }
            Err(error) => {
                debug!(node = %node.name(), %error, "an edge node can't be reached");
                peer.set_failed(Some(now()));
                // Those that are open, though busy, still work.
                peer.least_loaded().filter(|link| !link.is_full()).ok_or(error)
            }
        }
    }

    async fn dial(&self, node: &Node) -> Result<Link, Error> {
        let name = node.name();
        let server_name = ServerName::try_from(name.as_str().to_owned())
            .map_err(|error| unreachable(name, error))?;
        let tcp =
            TcpStream::connect(node.address()).await.map_err(|error| unreachable(name, error))?;
        tcp.set_nodelay(true).map_err(|error| unreachable(name, error))?;
        let tls =
            self.tls.connect(server_name, tcp).await.map_err(|error| unreachable(name, error))?;
        if tls.get_ref().1.alpn_protocol() != Some(wire::ALPN) {
            let what = format!("what answers for the edge node `{name}` is not one");
            return Err(ErrorKind::Peer(what).into());
        }
        Link::open(tls).await.map_err(|error| unreachable(name, error))
    }

    fn peer(&self, node: &Node) -> Arc<Peer> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = peers.get(node) {
            return Arc::clone(peer);
        }
        if peers.len() >= limits::NODES {
            peers.retain(|_, peer| peer.links.load().iter().any(|link| !link.is_over()));
        }
        Arc::clone(peers.entry(node.clone()).or_default())
    }
}

impl Peer {
    /// A connection that has room without a thought of opening another.
    async fn usable(&self) -> Option<Arc<Link>> {
        loop {
            let link = self
                .least_loaded()
                .filter(|link| !link.is_full() && link.in_flight() < limits::NODE_BUSY_STREAMS)?;
            if link.is_ready().await {
                return Some(link);
            }
            self.remove(&link);
        }
    }

    fn least_loaded(&self) -> Option<Arc<Link>> {
        let links = self.links.load();
        links.iter().filter(|link| !link.is_over()).min_by_key(|link| link.in_flight()).cloned()
    }

    fn add(&self, link: Link) -> Arc<Link> {
        let link = Arc::new(link);
        self.links.rcu(|links| {
            let alive = links.iter().filter(|link| !link.is_over());
            alive.chain([&link]).cloned().collect::<Vec<_>>()
        });
        link
    }

    /// Requests still in flight on it keep it open.
    fn remove(&self, link: &Arc<Link>) {
        self.links.rcu(|links| {
            links.iter().filter(|other| !Arc::ptr_eq(other, link)).cloned().collect::<Vec<_>>()
        });
    }

    fn is_resting(&self) -> bool {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|at| now().saturating_duration_since(at) < limits::NODE_REST)
    }

    fn set_failed(&self, at: Option<Instant>) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

impl fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<_> = peers.keys().map(Node::name).collect();
        f.debug_struct("Forwarder").field("nodes", &names).finish_non_exhaustive()
    }
}

fn unreachable(name: &NodeName, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    let what = format!("the edge node `{name}` can't be reached");
    Error::from(ErrorKind::Network(what)).with_source(error)
}

#[expect(clippy::disallowed_methods, reason = "a shell: how long ago a node failed")]
fn now() -> Instant {
    Instant::now()
}
