//! A directory for nodes in one process.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    directory::{Directory, DirectoryError},
    node::{Holder, Node, NodeName},
};
use crate::id::TunnelId;

/// A [`Directory`] in memory: for tests, and for several edges in one process.
///
/// Share it in an [`Arc`](std::sync::Arc). Time is tokio's, so paused time works.
#[derive(Debug, Default)]
pub struct MemoryDirectory {
    tunnels: Mutex<HashMap<TunnelId, HashMap<NodeName, Lease>>>,
}

#[derive(Debug)]
struct Lease {
    holder: Holder,
    until: Instant,
}

impl MemoryDirectory {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TunnelId, HashMap<NodeName, Lease>>> {
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Directory for MemoryDirectory {
    async fn announce(
        &self,
        node: &Node,
        holdings: &[(TunnelId, u32)],
        lease: Duration,
    ) -> Result<(), DirectoryError> {
        let now = now();
        let mut tunnels = self.lock();
        for (tunnel, connections) in holdings {
            let holders = tunnels.entry(*tunnel).or_default();
            holders.retain(|_, lease| lease.until > now);
            let holder = Holder::new(node.clone(), *connections);
            holders.insert(node.name().clone(), Lease { holder, until: now + lease });
        }
        Ok(())
    }

    async fn withdraw(
        &self,
        node: &NodeName,
        withdrawn: &[TunnelId],
    ) -> Result<(), DirectoryError> {
        let now = now();
        let mut tunnels = self.lock();
        for tunnel in withdrawn {
            if let Some(holders) = tunnels.get_mut(tunnel) {
                holders.retain(|name, lease| name != node && lease.until > now);
                if holders.is_empty() {
                    tunnels.remove(tunnel);
                }
            }
        }
        Ok(())
    }

    async fn find(&self, tunnel: TunnelId) -> Result<Vec<Holder>, DirectoryError> {
        let now = now();
        let mut tunnels = self.lock();
        let Some(holders) = tunnels.get_mut(&tunnel) else {
            return Ok(Vec::new());
        };
        holders.retain(|_, lease| lease.until > now);
        let found = holders.values().map(|lease| lease.holder.clone()).collect();
        if holders.is_empty() {
            tunnels.remove(&tunnel);
        }
        Ok(found)
    }
}

#[expect(clippy::disallowed_methods, reason = "a store judges its own leases")]
fn now() -> Instant {
    Instant::now()
}
