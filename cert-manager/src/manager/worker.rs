//! The work for one certificate: read, decide, order under a lease, store, serve.

mod holding;
mod ordering;
mod outcome;
mod window;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

pub(crate) use self::{holding::Known, ordering::until_stopped};
use crate::{
    error::{Error, Kind, StorageError},
    lifecycle::RenewalInfo,
    manager::{
        plan::{Plan, Step},
        status::{Event, LastError, NextStep, Teller, chain},
        stored::{FailureLog, read},
        tracked::Tracked,
    },
    name::Name,
    record::Record,
    storage::{Key, Storage},
};

/// What the work needs from outside, beside the store: time, issuers, and whoever serves. Tests put a world of their own here.
pub(crate) trait World: Send + Sync + 'static {
    fn now(&self) -> SystemTime;

    /// Has one issuer issue a certificate in place of another. Called again after a crash, it goes on.
    fn issue(
        &self,
        issuer: usize,
        tracked: &Tracked,
    ) -> impl Future<Output = Result<Record, Error>> + Send;

    /// What was issued is stored: all issuers may forget what they kept for these names.
    fn settle(&self, names: &[Name]) -> impl Future<Output = Result<(), Error>> + Send;

    fn renewal_info(
        &self,
        issuer: usize,
        record: &Record,
    ) -> impl Future<Output = Result<Option<RenewalInfo>, Error>> + Send;

    /// Serves a certificate to new handshakes.
    fn serve(&self, names: &[Name], record: &Record) -> Result<(), Error>;

    /// Serves many certificates at once, each as by [`World::serve`].
    fn serve_many(&self, many: &[(&[Name], &Record)]) -> Vec<Result<(), Error>> {
        many.iter().map(|(names, record)| self.serve(names, record)).collect()
    }

    /// Stops serving names.
    fn forget(&self, names: &[Name]);
}

#[derive(Debug)]
pub(crate) struct Worker<W> {
    pub(crate) world: W,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) teller: Teller,
    /// By name, in the order in which they are preferred.
    pub(crate) issuers: Vec<String>,
    /// Whether each says when to renew.
    pub(crate) asks: Vec<bool>,
    /// This node, in leases.
    pub(crate) node: String,
    pub(crate) lease_life: Duration,
    pub(crate) stopped: watch::Receiver<bool>,
    /// What is known of each issuer.
    pub(crate) known: Mutex<Vec<Known>>,
}

impl<W: World> Worker<W> {
    /// Whether there is nothing to do but to look again later; that takes no store and no task.
    pub(crate) fn glance(&self, tracked: &mut Tracked, now: SystemTime) -> Option<SystemTime> {
        if tracked.is_stale || tracked.is_unsaved {
            return None;
        }
        let plan = self.plan(tracked, now);
        (plan.step == Step::Sleep).then(|| Self::rest(tracked, plan))
    }

    /// Does what there is to do, and says when to look again.
    pub(crate) async fn work(&self, tracked: &mut Tracked) -> SystemTime {
        let done = self.try_work(tracked).await;
        // What another node is at has not been tried yet, and neither has the next issuer, if one is to be asked at once.
        let now = self.world.now();
        let goes_on = tracked.next.0 == NextStep::WaitForOtherNode
            || (tracked.record.is_none()
                && tracked.next.0 == NextStep::Order
                && tracked.next.1 <= now);
        tracked.is_tried |= done.is_err() || !goes_on;
        match done {
            Ok(wake_at) => {
                // The store is back.
                tracked.last_error.take_if(|error| error.issuer.is_none());
                wake_at
            }
            Err(error) => {
                self.teller.note_store_failure();
                let wake_at = now + STORE_PAUSE;
                tracing::warn!(names = ?tracked.names, error = chain(&error), "the store failed");
                tracked.last_error = Some(LastError::new(&error, None, now));
                let step = if tracked.is_unsaved { NextStep::Store } else { NextStep::Load };
                tracked.next = (step, wake_at);
                wake_at
            }
        }
    }

    /// Errors are those of the store.
    async fn try_work(&self, tracked: &mut Tracked) -> Result<SystemTime, Error> {
        if tracked.is_unsaved {
            self.save(tracked).await?;
        }
        if tracked.is_stale {
            self.refresh(tracked).await?;
        }
        let now = self.world.now();
        let plan = self.plan(tracked, now);
        match plan.step {
            Step::Sleep => Ok(Self::rest(tracked, plan)),
            Step::AskWindow => self.ask_window(tracked).await,
            Step::Order { .. } => self.order(tracked).await,
        }
    }

    fn rest(tracked: &mut Tracked, plan: Plan) -> SystemTime {
        let step = if plan.is_held { NextStep::Order } else { NextStep::Look };
        tracked.next = (step, plan.wake_at);
        plan.wake_at
    }

    /// Reads what the store has, and serves it if another wrote it.
    async fn refresh(&self, tracked: &mut Tracked) -> Result<(), Error> {
        let key = &tracked.key.clone();
        match self.storage.get(key).await {
            Ok(None) => tracked.version = None,
            Ok(Some(entry)) if Some(entry.version) == tracked.version => {}
            Ok(Some(entry)) => {
                let record = Record::read(key, &entry.value)?;
                let is_newer = record.as_ref().is_some_and(Record::is_newer);
                let served = record.map(|record| {
                    self.world.serve(&tracked.names, &record).map(|()| Arc::new(record))
                });
                if is_newer {
                    // Nobody here knows all that it means, so nothing is done but to serve it.
                    tracked.record = served.and_then(Result::ok).or(tracked.record.take());
                    return Err(Kind::NewerForm(key.to_string()).into());
                }
                if let Some(Ok(record)) = served {
                    self.teller.tell(Event::Loaded {
                        names: tracked.names.to_vec(),
                        issuer: record.issuer.clone(),
                        serial: record.serial.clone(),
                    });
                    tracked.record = Some(record);
                    tracked.version = Some(entry.version);
                    tracked.ask_again_at = None;
                    tracked.last_error = None;
                } else {
                    self.set_aside(key, entry.version).await?;
                    tracked.version = None;
                }
            }
            Err(StorageError::Damaged { version, .. }) => {
                self.set_aside(key, version).await?;
                tracked.version = None;
            }
            Err(error) => return Err(error.into()),
        }
        let found = read::<FailureLog>(&*self.storage, &failures_key(key)?).await?;
        (tracked.failures, tracked.failures_version) = match found {
            Some((failures, version)) => (failures, Some(version)),
            None => (FailureLog::default(), None),
        };
        tracked.is_stale = false;
        Ok(())
    }

    async fn set_aside(&self, key: &Key, version: crate::storage::Version) -> Result<(), Error> {
        match self.storage.set_aside(key, version).await {
            Ok(kept_at) => self.teller.tell(Event::SetAside { key: key.to_string(), kept_at }),
            // Another node did it, or wrote a good one.
            Err(StorageError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn plan(&self, tracked: &Tracked, now: SystemTime) -> Plan {
        let known = self.known();
        let holds = known.iter().map(|known| known.hold);
        tracked.plan(now, &self.issuers, &self.asks, holds)
    }
}

pub(crate) fn failures_key(certificate: &Key) -> Result<Key, Error> {
    beside(certificate, "failures")
}

fn beside(certificate: &Key, folder: &str) -> Result<Key, Error> {
    let (_, name) = certificate.as_str().split_once('/').unwrap_or_default();
    format!("{folder}/{name}").parse()
}

/// After the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(30);
