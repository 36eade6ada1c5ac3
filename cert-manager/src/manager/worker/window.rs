//! When its authority wishes a certificate to be renewed (RFC 9773).

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{Worker, World};
use crate::{
    error::{Error, StorageError},
    manager::{plan::Step, status::chain, stored::note_change, tracked::Tracked},
    record::Record,
};

impl<W: World> Worker<W> {
    /// Asks the authority of what is served when to renew it, and stores the answer for all nodes.
    pub(super) async fn ask_window(&self, tracked: &mut Tracked) -> Result<SystemTime, Error> {
        // Another node may have asked.
        self.refresh(tracked).await?;
        let now = self.world.now();
        let plan = self.plan(tracked, now);
        let from = |record: &Arc<Record>| self.issuers.iter().position(|it| *it == record.issuer);
        let record = tracked.record.clone();
        let issuer = record.as_ref().and_then(from);
        let (Step::AskWindow, Some(record), Some(issuer)) = (plan.step, record, issuer) else {
            return Ok(if plan.step == Step::Sleep { plan.wake_at } else { now });
        };
        self.teller.note_window_check();
        match self.world.renewal_info(issuer, &record).await {
            Ok(Some(info)) => {
                let record = record.with_renewal_info(&info, self.world.now());
                match self.storage.put(&tracked.key, &record.write(), tracked.version).await {
                    Ok(version) => {
                        tracked.version = Some(version);
                        tracked.record = Some(Arc::new(record));
                        note_change(&*self.storage, &tracked.key, version).await?;
                    }
                    Err(StorageError::Conflict) => tracked.is_stale = true,
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(None) => tracked.ask_again_at = Some(now + NO_WINDOW),
            Err(error) if error.is_store() => return Err(error),
            Err(error) => {
                tracing::debug!(names = ?tracked.names, error = chain(&error),
                    "the authority does not say when to renew");
                tracked.ask_again_at = Some(now + LOST_WINDOW);
            }
        }
        let now = self.world.now();
        let plan = self.plan(tracked, now);
        Ok(match plan.step {
            Step::Sleep => Self::rest(tracked, plan),
            _ => now,
        })
    }
}

/// An authority that has no wishes is asked again after a day, one that was not reached after six hours (RFC 9773 section 4.3).
const NO_WINDOW: Duration = Duration::from_secs(86_400);
const LOST_WINDOW: Duration = Duration::from_secs(6 * 3600);
