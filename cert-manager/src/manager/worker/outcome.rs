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

const DUE_AT_ONCE: &str = "it was due for renewal as soon as it came: is this machine's clock right, and does its \
    authority's own certificate last long enough?";
/// Refusals by rate limit, of as many certificates, that are about the account.
const REFUSALS: u32 = 3;
const FREE_VALIDATIONS: u32 = 3;
const VALIDATION_PAUSE: Duration = Duration::from_secs(12 * 60);
