//! What follows an order: the certificate is served and stored, or the failure is remembered.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{Worker, World, failures_key};
use crate::{
    error::{Error, StorageError},
    failure::{Failure, FailureClass},
    lifecycle::{Cause, Failures, after_one_due_at_once},
    manager::{
        plan::Step,
        status::{Event, LastError, NextStep, chain},
        stored::{FailureLog, note_change, write},
        tracked::Tracked,
    },
    record::Record,
};

impl<W: World> Worker<W> {
    pub(super) async fn adopt(
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
    pub(super) async fn save(&self, tracked: &mut Tracked) -> Result<(), Error> {
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

    pub(super) async fn note_failure(
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
            && !failure.is_some_and(|failure| failure.is_about(&tracked.texts));
        if is_refused || matches!(class, FailureClass::Network | FailureClass::Trouble) {
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
}

/// Whether a good certificate would make room for one that ends sooner, and nobody wished for that.
fn ends_sooner(tracked: &Tracked, record: &Record, cause: Cause, now: SystemTime) -> bool {
    let Some(old) = &tracked.record else { return false };
    let is_renewal = matches!(cause, Cause::Due | Cause::Asked | Cause::Critical);
    let end = old.leaf().not_after;
    is_renewal && old.wish().is_none() && now <= end && record.leaf().not_after < end
}

/// What an issuer signed is not what anybody wants.
fn unwanted(words: &str) -> Failure {
    Failure::because(FailureClass::Certificate, "use the certificate", words)
}

/// Whether the same request would fail in the same way, until somebody changes something.
fn is_certain(class: FailureClass) -> bool {
    use FailureClass::{Account, Certificate, Rejected, Request};
    matches!(class, Account | Certificate | Rejected | Request)
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
        Failures { count: before.count.max(1), last: Some(now), ..Failures::default() }
    } else {
        before.and_one(now)
    };
    // Let's Encrypt gives back one failed validation each twelve minutes, however urgent it is, and pauses a name after more
    // than a thousand in a row.
    let pause = match (class, failures.count) {
        (FailureClass::Validation, MANY_VALIDATIONS..) => Some(LONG_VALIDATION_PAUSE),
        (FailureClass::Validation, FREE_VALIDATIONS..) => Some(VALIDATION_PAUSE),
        _ => None,
    };
    let failures = failures.not_before(not_before.max(pause.map(|pause| now + pause)));
    Failures { is_certain: is_certain(class), ..failures }
}

const DUE_AT_ONCE: &str = "it was due for renewal as soon as it came: is this machine's clock right, and does its \
    authority's own certificate last long enough?";
const FREE_VALIDATIONS: u32 = 3;
const MANY_VALIDATIONS: u32 = 10;
const LONG_VALIDATION_PAUSE: Duration = Duration::from_secs(3600);
const VALIDATION_PAUSE: Duration = Duration::from_secs(12 * 60);
