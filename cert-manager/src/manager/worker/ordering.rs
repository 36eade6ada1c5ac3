//! An order: under a lease, so that one node at a time works on a certificate.

use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::{Worker, World, beside};
use crate::{
    error::Error,
    manager::{
        plan::Step,
        status::{NextStep, chain},
        tracked::Tracked,
    },
    record::Record,
    storage::{Key, Lease, Taken},
};

impl<W: World> Worker<W> {
    /// Orders, unless another node has done so or is about to.
    pub(super) async fn order(&self, tracked: &mut Tracked) -> Result<SystemTime, Error> {
        self.refresh(tracked).await?;
        self.read_holds().await?;
        let now = self.world.now();
        let plan = self.plan(tracked, now);
        if !matches!(plan.step, Step::Order { .. }) {
            return Ok(Self::rest(tracked, plan));
        }
        let key = lease_key(&tracked.key)?;
        let taken = Lease::take(&*self.storage, &key, &self.node, self.lease_life, now).await?;
        let mut lease = match taken {
            Taken::Held(lease) => lease,
            Taken::Busy { until, .. } => {
                self.teller.note_lease_conflict();
                let pause = FIRST_LOOK * 2_u32.saturating_pow(tracked.looks.min(5));
                tracked.looks += 1;
                tracked.is_stale = true;
                let wake_at = (now + pause).min(until + Duration::from_millis(1));
                tracked.next = (NextStep::WaitForOtherNode, wake_at);
                return Ok(wake_at);
            }
        };
        tracked.looks = 0;
        let done = self.order_alone(tracked, &mut lease).await;
        // It ends by itself if this fails.
        let released = lease.release(&*self.storage).await;
        if let Err(error) = released {
            tracing::debug!(error = chain(&error), "a lease was left to end by itself");
        }
        done
    }

    /// The lease is ours. What was read before it was may be old.
    async fn order_alone(
        &self,
        tracked: &mut Tracked,
        lease: &mut Lease,
    ) -> Result<SystemTime, Error> {
        self.refresh(tracked).await?;
        self.read_holds().await?;
        let now = self.world.now();
        let plan = self.plan(tracked, now);
        let Step::Order { issuer, cause } = plan.step else {
            return Ok(Self::rest(tracked, plan));
        };
        let Some(mut issued) = self.under_lease(lease, self.world.issue(issuer, tracked)).await?
        else {
            return Ok(self.stop_work(tracked));
        };
        let has_it = |tracked: &Tracked, record: &Record| {
            tracked.record.as_ref().is_some_and(|old| old.serial == record.serial)
        };
        if issued.as_ref().is_ok_and(|record| has_it(tracked, record)) {
            // A crash came after it was stored and before the issuer was told.
            self.world.settle(&tracked.names).await?;
            let again = self.under_lease(lease, self.world.issue(issuer, tracked)).await?;
            let Some(again) = again else { return Ok(self.stop_work(tracked)) };
            issued = again;
        }
        match issued {
            Ok(record) => self.adopt(tracked, issuer, record, cause).await,
            Err(error) if error.is_store() => Err(error),
            Err(error) => self.note_failure(tracked, issuer, &error).await,
        }
    }

    /// Waits for an issuer, and keeps the lease meanwhile. `None` if the lease was lost, or the node stops.
    async fn under_lease<T>(
        &self,
        lease: &mut Lease,
        work: impl Future<Output = T>,
    ) -> Result<Option<T>, Error> {
        let mut stopped = self.stopped.clone();
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(Some(done)),
                () = until_stopped(&mut stopped) => return Ok(None),
                () = tokio::time::sleep(self.lease_life / 3) => {
                    let now = self.world.now();
                    match lease.renew(&*self.storage, self.lease_life, now).await {
                        Err(error) if error.is_conflict() || !lease.is_held(now) => {
                            tracing::warn!(error = chain(&error), "an order is left to another node");
                            return Ok(None);
                        }
                        // It is still held; the next renewal may go through.
                        Ok(()) | Err(_) => {}
                    }
                }
            }
        }
    }

    fn stop_work(&self, tracked: &mut Tracked) -> SystemTime {
        tracked.is_stale = true;
        let wake_at = self.world.now() + FIRST_LOOK;
        tracked.next = (NextStep::WaitForOtherNode, wake_at);
        wake_at
    }
}

/// Waits until the manager stops, or is gone.
pub(crate) async fn until_stopped(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
}

fn lease_key(certificate: &Key) -> Result<Key, Error> {
    beside(certificate, "leases")
}

/// Between looks at what another node does: doubling, up to half a minute.
const FIRST_LOOK: Duration = Duration::from_secs(1);
