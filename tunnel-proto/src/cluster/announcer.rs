//! Telling the directory what this node holds.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use super::{
    directory::{Directory, DirectoryError},
    node::Node,
};
use crate::{
    edge::{Events, Phase, Router, Tunnel},
    id::TunnelId,
    limits,
};

/// Announces the tunnels whose connections serve at this node, for as long as they do.
///
/// A tunnel is announced when its first connection registers and withdrawn when its last one stops
/// to take requests. Leases hold for 15 seconds and are renewed at a third of that. While the directory is
/// away, it is tried again after a quarter of a second, then ever less often, at last every five
/// seconds; what it missed is told once it is back.
#[derive(Debug)]
pub struct Announcer<D> {
    directory: D,
    router: Arc<Router>,
    node: Node,
    lease: Duration,
    /// What the directory has been told, as far as we know.
    told: HashMap<TunnelId, u32>,
    /// What it may still believe although it no longer holds.
    outdated: HashSet<TunnelId>,
}

impl<D: Directory> Announcer<D> {
    /// Announces the tunnels of `router` under the name and address of `node`.
    pub fn new(directory: D, router: Arc<Router>, node: Node) -> Self {
        Self {
            directory,
            router,
            node,
            lease: limits::LEASE,
            told: HashMap::new(),
            outdated: HashSet::new(),
        }
    }

    /// Sets how long an announcement holds. 15 seconds unless set; at least one.
    ///
    /// If this node dies, others try it in vain for so long at most.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.max(limits::SHORTEST_LEASE);
        self
    }

    /// Follows the router until `shutdown` resolves, then withdraws everything.
    ///
    /// Shut it down first, before connectors are sent away: then other nodes stop asking this one
    /// while it still answers.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future withdraws nothing; the leases run out.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = pin!(shutdown);
        let mut events = self.router.events();
        let mut renewal = now() + self.lease / 3;
        let mut retry = Retry::default();
        loop {
            let is_due = now() >= renewal;
            if is_due {
                renewal = now() + self.lease / 3;
            }
            let mut next = renewal;
            let told = self.tell(is_due).await;
            let is_well = told.is_ok();
            match told {
                Ok(()) => retry = Retry::default(),
                Err(error) => {
                    debug!(%error, "the directory of edge nodes was not told");
                    // What it has taken of it is not known.
                    renewal = now();
                    next = now() + retry.wait();
                }
            }
            tokio::select! {
                () = changed(&mut events), if is_well => {}
                () = sleep_until(next) => {}
                () = &mut shutdown => break,
            }
        }
        self.outdated.extend(self.told.drain().map(|(tunnel, _)| tunnel));
        if let Err(error) = self.withdraw().await {
            debug!(%error, "the directory of edge nodes was not told of the end");
        }
    }

    /// Tells what has changed, and everything if `renew`.
    async fn tell(&mut self, renew: bool) -> Result<(), DirectoryError> {
        let held = self.held();
        self.outdated.extend(self.told.keys().filter(|tunnel| !held.contains_key(tunnel)));
        self.told.retain(|tunnel, _| held.contains_key(tunnel));
        self.outdated.retain(|tunnel| !held.contains_key(tunnel));
        self.withdraw().await?;
        let news: Vec<_> = held
            .into_iter()
            .filter(|(tunnel, connections)| renew || self.told.get(tunnel) != Some(connections))
            .collect();
        for batch in news.chunks(limits::ANNOUNCE_BATCH) {
            // Even if it fails, it may have been told.
            self.told.extend(batch.iter().map(|(tunnel, _)| (*tunnel, 0)));
            in_time(self.directory.announce(&self.node, batch, self.lease)).await?;
            self.told.extend(batch.iter().copied());
        }
        Ok(())
    }

    async fn withdraw(&mut self) -> Result<(), DirectoryError> {
        let outdated: Vec<_> = self.outdated.iter().copied().collect();
        for batch in outdated.chunks(limits::ANNOUNCE_BATCH) {
            in_time(self.directory.withdraw(self.node.name(), batch)).await?;
            for tunnel in batch {
                self.outdated.remove(tunnel);
            }
        }
        Ok(())
    }

    /// The tunnels with connections that take requests, and how many each has.
    fn held(&self) -> HashMap<TunnelId, u32> {
        let tunnels = self.router.tunnels();
        let held = tunnels.iter().map(|tunnel| (tunnel.id(), serving(tunnel)));
        held.filter(|(_, connections)| *connections > 0).collect()
    }
}

/// Waits until connections may have come or gone, and takes all that is known of it at once.
async fn changed(events: &mut Events) {
    events.next().await;
    loop {
        tokio::select! {
            biased;
            Some(_) = events.next() => {}
            () = std::future::ready(()) => return,
        }
    }
}

fn serving(tunnel: &Tunnel) -> u32 {
    let connections = tunnel.connections();
    let serving = connections.iter().filter(|connection| connection.phase() == Phase::Serving);
    u32::try_from(serving.count()).unwrap_or(u32::MAX)
}

async fn in_time(
    operation: impl Future<Output = Result<(), DirectoryError>>,
) -> Result<(), DirectoryError> {
    timeout(limits::ANNOUNCE_WAIT, operation).await.unwrap_or_else(|_| {
        Err(DirectoryError::new("the directory did not answer in time (ANNOUNCE_WAIT)"))
    })
}

/// How long to wait after a failure: twice as long each time.
struct Retry(Duration);

impl Default for Retry {
    fn default() -> Self {
        Self(limits::ANNOUNCE_RETRY.0)
    }
}

impl Retry {
    fn wait(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(limits::ANNOUNCE_RETRY.1);
        wait
    }
}

#[expect(clippy::disallowed_methods, reason = "a shell: when to renew")]
fn now() -> Instant {
    Instant::now()
}
