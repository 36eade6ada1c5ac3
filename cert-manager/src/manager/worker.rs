//! The work for one certificate: read, decide, order under a lease, store, serve.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

use crate::{
    error::{Error, StorageError},
    failure::{Failure, FailureClass},
    lifecycle::{Cause, Failures, RenewalInfo, after_one_due_at_once},
    manager::{
        plan::{Plan, Step},
        status::{Event, LastError, NextStep, Teller, chain},
        stored::{FailureLog, Hold, note_change, read, write},
        tracked::Tracked,
    },
    name::Name,
    record::Record,
    storage::{Key, Lease, Storage, Taken},
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

/// What this node knows of an issuer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known {
    /// As last read or written.
    hold: Option<Hold>,
    /// How many certificates in a row it refused by rate limits.
    refused: u32,
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
        // What another node is at has not been tried yet.
        tracked.is_tried |= done.is_err() || tracked.next.0 != NextStep::WaitForOtherNode;
        match done {
            Ok(wake_at) => {
                // The store is back.
                tracked.last_error.take_if(|error| error.issuer.is_none());
                wake_at
            }
            Err(error) => {
                self.teller.note_store_failure();
                let now = self.world.now();
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
                let served = record.map(|record| {
                    self.world.serve(&tracked.names, &record).map(|()| Arc::new(record))
                });
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

    async fn read_holds(&self) -> Result<(), Error> {
        for (at, issuer) in self.issuers.iter().enumerate() {
            let hold = read::<Hold>(&*self.storage, &hold_key(issuer)?).await?;
            self.known()[at].hold = hold.map(|(hold, _)| hold);
        }
        Ok(())
    }

    fn plan(&self, tracked: &Tracked, now: SystemTime) -> Plan {
        let known = self.known();
        let holds = known.iter().map(|known| known.hold);
        tracked.plan(now, &self.issuers, &self.asks, holds)
    }

    fn known(&self) -> MutexGuard<'_, Vec<Known>> {
        // It is changed by whole values.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Orders, unless another node has done so or is about to.
    async fn order(&self, tracked: &mut Tracked) -> Result<SystemTime, Error> {
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

    async fn adopt(
        &self,
        tracked: &mut Tracked,
        issuer: usize,
        record: Record,
        cause: Cause,
    ) -> Result<SystemTime, Error> {
        if ends_sooner(tracked, &record, cause, self.world.now()) {
            self.world.settle(&tracked.names).await?;
            let words = "it ends sooner than the one that is served; if that is meant, have it renewed by hand";
            return self.note_failure(tracked, issuer, &unwanted(words).into()).await;
        }
        let failed = self.world.serve(&tracked.names, &record).err();
        if let Some(error) = failed {
            // Nothing that an issuer has checked should come here.
            return self.note_failure(tracked, issuer, &error).await;
        }
        self.count_refusals(issuer, false);
        tracked.last_error = None;
        tracked.ask_again_at = None;
        self.teller.tell(Event::Issued {
            names: tracked.names.to_vec(),
            issuer: record.issuer.clone(),
            serial: record.serial.clone(),
            not_after: record.leaf().not_after,
            cause,
        });
        let leaf = record.leaf();
        let before = tracked.failures.clone();
        tracked.record = Some(Arc::new(record));
        tracked.is_unsaved = true;
        self.save(tracked).await?;
        self.lift_hold(issuer).await?;
        let now = self.world.now();
        let plan = self.plan(tracked, now);
        match plan.step {
            Step::Sleep => Ok(Self::rest(tracked, plan)),
            Step::AskWindow => Ok(now),
            Step::Order { .. } => {
                tracked.failures = before;
                let name = &self.issuers[issuer];
                let failures = after_one_due_at_once(leaf, tracked.failures.of(name), now);
                tracked.failures.set(name, failures);
                self.keep_failure(tracked, issuer, &unwanted(DUE_AT_ONCE).into(), now).await
            }
        }
    }

    /// Stores what is served, tells the issuers, and forgets failures.
    async fn save(&self, tracked: &mut Tracked) -> Result<(), Error> {
        let Some(record) = tracked.record.clone() else { return Ok(()) };
        match self.storage.put(&tracked.key, &record.write(), tracked.version).await {
            Ok(version) => tracked.version = Some(version),
            Err(StorageError::Conflict) => {
                // Another node was faster, or this write came through before. The later one counts.
                let ours = record.leaf().not_after;
                tracked.is_unsaved = false;
                self.refresh(tracked).await?;
                let theirs = tracked.record.as_ref().map(|record| record.leaf().not_after);
                if theirs < Some(ours) {
                    self.world.serve(&tracked.names, &record)?;
                    tracked.record = Some(record);
                    tracked.is_unsaved = true;
                    return Err(StorageError::Conflict.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
        tracked.is_unsaved = false;
        if let Err(error) = self.world.settle(&tracked.names).await {
            // The next order finds what is left, and that it is served already.
            tracing::warn!(names = ?tracked.names, error = chain(&error), "an attempt was left behind");
        }
        if let Some(version) = tracked.failures_version.take() {
            let done = self.storage.delete(&failures_key(&tracked.key)?, version).await;
            done.or_else(|error| if error.is_conflict() { Ok(()) } else { Err(error) })?;
        }
        tracked.failures = FailureLog::default();
        let Some(version) = tracked.version else { return Ok(()) };
        note_change(&*self.storage, &tracked.key, version).await
    }

    async fn note_failure(
        &self,
        tracked: &mut Tracked,
        issuer: usize,
        error: &Error,
    ) -> Result<SystemTime, Error> {
        let now = self.world.now();
        let name = &self.issuers[issuer];
        let failure = error.failure();
        let class = failure.map_or(FailureClass::Request, |failure| failure.class);
        let not_before = failure.and_then(|failure| failure.not_before);
        let is_refused = class == FailureClass::Hold
            && !failure.is_some_and(|failure| is_about(failure, &tracked.texts));
        let is_about_all = matches!(class, FailureClass::Network | FailureClass::Trouble)
            || self.count_refusals(issuer, is_refused) >= REFUSALS;
        if is_about_all {
            self.hold(issuer, not_before).await?;
        }
        if !matches!(class, FailureClass::Network | FailureClass::Trouble) {
            let before = tracked.failures.of(name);
            tracked.failures.set(name, failures_after(before, class, not_before, now));
        }
        self.keep_failure(tracked, issuer, error, now).await
    }

    /// Stores what is known of failures, and tells of the last one.
    async fn keep_failure(
        &self,
        tracked: &mut Tracked,
        issuer: usize,
        error: &Error,
        now: SystemTime,
    ) -> Result<SystemTime, Error> {
        let name = &self.issuers[issuer];
        let plan = self.plan(tracked, now);
        let wake_at = if plan.step == Step::Sleep { plan.wake_at } else { now };
        let last_error = LastError::new(error, Some(name), now);
        tracked.last_error = Some(last_error.clone());
        tracked.next = (NextStep::Order, wake_at);
        tracked.failures.note(&tracked.texts, name, &last_error.text, (now, wake_at));
        let key = failures_key(&tracked.key)?;
        match write(&*self.storage, &key, &tracked.failures, tracked.failures_version).await {
            Ok(version) => tracked.failures_version = Some(version),
            // The lease was overrun; what the other node noted counts.
            Err(StorageError::Conflict) => tracked.is_stale = true,
            Err(error) => return Err(error.into()),
        }
        let names = tracked.names.to_vec();
        self.teller.tell(Event::Failed { names, error: last_error, retry_at: wake_at });
        Ok(wake_at)
    }

    /// Leaves an issuer in peace, on all nodes.
    async fn hold(&self, issuer: usize, not_before: Option<SystemTime>) -> Result<(), Error> {
        let (name, now) = (&self.issuers[issuer], self.world.now());
        let key = hold_key(name)?;
        loop {
            let found = read::<Hold>(&*self.storage, &key).await?;
            let version = found.map(|(_, version)| version);
            let hold = Hold::after(found.map(|(hold, _)| hold), now, not_before);
            match write(&*self.storage, &key, &hold, version).await {
                Err(StorageError::Conflict) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => {
                    self.known()[issuer].hold = Some(hold);
                    self.teller.tell(Event::Held { issuer: name.clone(), until: hold.until() });
                    return Ok(());
                }
            }
        }
    }

    /// It answered.
    async fn lift_hold(&self, issuer: usize) -> Result<(), Error> {
        let key = hold_key(&self.issuers[issuer])?;
        let Some((hold, version)) = read::<Hold>(&*self.storage, &key).await? else {
            return Ok(());
        };
        if hold.until() > self.world.now() {
            // Others were told to wait while this one was under way.
            return Ok(());
        }
        match self.storage.delete(&key, version).await {
            Ok(()) => self.known()[issuer].hold = None,
            Err(StorageError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn count_refusals(&self, issuer: usize, is_refused: bool) -> u32 {
        let known = &mut self.known()[issuer];
        known.refused = if is_refused { known.refused.saturating_add(1) } else { 0 };
        known.refused
    }

    /// Asks the authority of what is served when to renew it, and stores the answer for all nodes.
    async fn ask_window(&self, tracked: &mut Tracked) -> Result<SystemTime, Error> {
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

/// Waits until the manager stops, or is gone.
pub(crate) async fn until_stopped(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
}

/// Whether a good certificate would make room for one that ends sooner, and nobody wished for that.
fn ends_sooner(tracked: &Tracked, record: &Record, cause: Cause, now: SystemTime) -> bool {
    let Some(old) = &tracked.record else { return false };
    let is_renewal = matches!(cause, Cause::Due | Cause::Asked | Cause::Critical);
    let end = old.leaf().not_after;
    is_renewal && old.wish().is_none() && now <= end && record.leaf().not_after < end
}

/// Whether an authority's refusal names what was ordered, or a domain above it: then it is not about the account, and
/// others are not concerned.
fn is_about(failure: &Failure, names: &[String]) -> bool {
    let Some(problem) = &failure.problem else { return false };
    let said = problem.to_string();
    let domains = names.iter().flat_map(|name| {
        let name = name.trim_start_matches("*.");
        std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, parent)| parent))
    });
    // One label is a word like others.
    domains.filter(|domain| domain.contains(['.', ':'])).any(|domain| said.contains(domain))
}

/// What an issuer signed is not what anybody wants.
fn unwanted(words: &str) -> Failure {
    Failure::because(FailureClass::Certificate, "use the certificate", words)
}

/// What to remember of one more failure that is about this certificate.
fn failures_after(
    before: Failures,
    class: FailureClass,
    not_before: Option<SystemTime>,
    now: SystemTime,
) -> Failures {
    // An order that is gone says nothing about the next one.
    let failures = if class == FailureClass::OrderGone {
        Failures { count: before.count.max(1), last: Some(now), not_before: None }
    } else {
        before.and_one(now)
    };
    // Let's Encrypt gives back one failed validation each twelve minutes, however urgent it is.
    let own = (class == FailureClass::Validation && failures.count >= FREE_VALIDATIONS)
        .then_some(now + VALIDATION_PAUSE);
    failures.not_before(not_before.max(own))
}

pub(crate) fn failures_key(certificate: &Key) -> Result<Key, Error> {
    beside(certificate, "failures")
}

fn lease_key(certificate: &Key) -> Result<Key, Error> {
    beside(certificate, "leases")
}

fn beside(certificate: &Key, folder: &str) -> Result<Key, Error> {
    let (_, name) = certificate.as_str().split_once('/').unwrap_or_default();
    format!("{folder}/{name}").parse()
}

fn hold_key(issuer: &str) -> Result<Key, Error> {
    format!("holds/{issuer}.json").parse()
}

const DUE_AT_ONCE: &str = "it was due for renewal as soon as it came: is this machine's clock right, and does its \
    authority's own certificate last long enough?";
/// After the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(30);
/// Between looks at what another node does: doubling, up to half a minute.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// Refusals by rate limit, of as many certificates, that are about the account.
const REFUSALS: u32 = 3;
const FREE_VALIDATIONS: u32 = 3;
const VALIDATION_PAUSE: Duration = Duration::from_secs(12 * 60);
/// An authority that has no wishes is asked again after a day, one that was not reached after six hours (RFC 9773 section 4.3).
const NO_WINDOW: Duration = Duration::from_secs(86_400);
const LOST_WINDOW: Duration = Duration::from_secs(6 * 3600);
