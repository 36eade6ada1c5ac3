//! Which nodes hold connections of a tunnel.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use super::node::{Holder, Node, NodeName};
use crate::id::TunnelId;

/// The nodes' shared knowledge of who holds which tunnel, as leases that run out.
///
/// [`MemoryDirectory`](super::MemoryDirectory) serves nodes in one process, `RedisDirectory`
/// (feature `redis`) those on several machines.
/// To bring your own, implement these three methods and run
/// [`conformance::check`](super::conformance::check) against them.
///
/// # Contract
///
/// - An entry is one (tunnel, node) pair: the node's address, its number of connections, and when
///   the lease runs out. Entries are independent: what happens to one leaves all others as they are.
/// - The store alone judges leases, on its own clock, as durations from the moment it takes an
///   announcement. No two machines' clocks are ever compared. A lease holds at least as long as
///   asked, and is gone from `find` within a second after that.
/// - Each entry changes atomically: `find` sees it whole, as one announcement wrote it, or not at
///   all. Several entries of one call may become visible one after the other.
/// - An operation that failed may have taken place in full, in part or not at all. All operations
///   may be repeated: the last one counts.
/// - After `announce` or `withdraw` has returned, a `find` from any node tells of it.
/// - Nothing in it is secret, and nothing in it is trusted: a wrong entry leads to a node that can't
///   show the right certificate, or that answers that it does not hold the tunnel.
pub trait Directory: Send + Sync + 'static {
    /// Says that `node` holds these tunnels, with so many connections each, from now on for the length
    /// of `lease`. Announcing again renews: the new address, number and lease replace the old ones,
    /// longer or shorter.
    ///
    /// At most 500 tunnels a call; an empty list does nothing.
    ///
    /// # Cancel safety
    ///
    /// As a failure: the operation may or may not have taken place.
    fn announce(
        &self,
        node: &Node,
        holdings: &[(TunnelId, u32)],
        lease: Duration,
    ) -> impl Future<Output = Result<(), DirectoryError>> + Send;

    /// Takes back what `node` said of these tunnels. What was never announced, or has run out, is
    /// not an error. At most 500 tunnels a call.
    ///
    /// # Cancel safety
    ///
    /// As [`announce`](Self::announce).
    fn withdraw(
        &self,
        node: &NodeName,
        tunnels: &[TunnelId],
    ) -> impl Future<Output = Result<(), DirectoryError>> + Send;

    /// The nodes that hold a tunnel, in any order, each once. An empty list if there are none: that
    /// is an answer, never an error.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only reads.
    fn find(
        &self,
        tunnel: TunnelId,
    ) -> impl Future<Output = Result<Vec<Holder>, DirectoryError>> + Send;
}

impl<D: Directory> Directory for Arc<D> {
    async fn announce(
        &self,
        node: &Node,
        holdings: &[(TunnelId, u32)],
        lease: Duration,
    ) -> Result<(), DirectoryError> {
        (**self).announce(node, holdings, lease).await
    }

    async fn withdraw(&self, node: &NodeName, tunnels: &[TunnelId]) -> Result<(), DirectoryError> {
        (**self).withdraw(node, tunnels).await
    }

    async fn find(&self, tunnel: TunnelId) -> Result<Vec<Holder>, DirectoryError> {
        (**self).find(tunnel).await
    }
}

/// A directory that could not do what was asked.
///
/// Nothing depends on the kind: whoever asks goes on with what it remembers and asks again later.
#[derive(Debug)]
pub struct DirectoryError {
    what: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl DirectoryError {
    /// Says what was being done; lower case, no full stop, nothing secret.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }

    /// Adds the error underneath.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl StdError for DirectoryError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
