//! One certificate, as far as a node knows it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    error::Error,
    lifecycle::{self, Leaf},
    manager::{
        plan::{Plan, Prospect, Situation, plan},
        status::{LastError, NextStep, Source, Status},
        stored::{FailureLog, Hold},
    },
    name::Name,
    record::{Record, Wish, certificate_key, sorted},
    storage::{Key, Version},
};

#[derive(Debug)]
pub(crate) struct Tracked {
    /// The keeper's.
    pub(crate) number: u64,
    pub(crate) names: Arc<[Name]>,
    /// Sorted, as issuers and the store have them.
    pub(crate) texts: Vec<String>,
    /// Under which it is stored.
    pub(crate) key: Key,
    /// What is served.
    pub(crate) record: Option<Arc<Record>>,
    /// What the store had when it was last read.
    pub(crate) version: Option<Version>,
    /// Whether the store has to be read before anything is decided.
    pub(crate) is_stale: bool,
    /// Issued, served, and not stored yet.
    pub(crate) is_unsaved: bool,
    pub(crate) failures: FailureLog,
    pub(crate) failures_version: Option<Version>,
    /// When to ask for the window, where the answer was none that is worth to be stored.
    pub(crate) ask_again_at: Option<SystemTime>,
    /// How often in a row another node was found at work.
    pub(crate) looks: u32,
    pub(crate) last_error: Option<LastError>,
    pub(crate) next: (NextStep, SystemTime),
    /// Whether it was looked at since the start.
    pub(crate) is_tried: bool,
}

impl Tracked {
    pub(crate) fn new(names: Vec<Name>) -> Result<Self, Error> {
        let texts = sorted(&names)?;
        let key = certificate_key(&texts)?;
        Ok(Self {
            number: 0,
            names: names.into(),
            texts,
            key,
            record: None,
            version: None,
            is_stale: true,
            is_unsaved: false,
            failures: FailureLog::default(),
            failures_version: None,
            ask_again_at: None,
            looks: 0,
            last_error: None,
            next: (NextStep::Load, SystemTime::UNIX_EPOCH),
            is_tried: false,
        })
    }

    /// Decides, with issuers by their names. `asks` tells which of them say when to renew.
    pub(crate) fn plan(
        &self,
        now: SystemTime,
        issuers: &[String],
        asks: &[bool],
        holds: impl Iterator<Item = Option<Hold>>,
    ) -> Plan {
        let prospects = issuers.iter().zip(holds).map(|(issuer, hold)| {
            let still = hold.filter(|hold| now < hold.until() + STILL_DOWN);
            Prospect {
                failures: self.failures.of(issuer),
                held_until: hold.map(|hold| hold.until()),
                down_since: still.map(|hold| hold.since()),
            }
        });
        let record = self.record.as_deref();
        let from = record.and_then(|record| issuers.iter().position(|it| *it == record.issuer));
        let can_ask = from.and_then(|from| asks.get(from)).is_some_and(|asks| *asks);
        let asked = record.and_then(Record::ask_again_at);
        let situation = Situation {
            leaf: record.map(Record::leaf),
            window: record.and_then(Record::window),
            ask_again_at: can_ask
                .then(|| asked.max(self.ask_again_at).unwrap_or(SystemTime::UNIX_EPOCH)),
            issuer_changed: record.is_some() && from.is_none(),
            is_requested: record.and_then(Record::wish) == Some(Wish::Renew),
            is_revoked: record.and_then(Record::wish) == Some(Wish::Replace),
        };
        plan(now, &situation, prospects)
    }

    pub(crate) fn status(&self, now: SystemTime) -> Status {
        let record = self.record.as_deref();
        let leaf = record.map(Record::leaf);
        let view = lifecycle::View {
            leaf,
            window: record.and_then(Record::window),
            revoked: record.and_then(Record::wish) == Some(Wish::Replace),
            ..lifecycle::View::default()
        };
        Status {
            names: self.names.to_vec(),
            source: record.map(|record| Source::Issuer(record.issuer.clone())),
            health: lifecycle::decide(now, &view).health,
            serial: record.map(|record| record.serial.clone()),
            not_after: leaf.map(|leaf: Leaf| leaf.not_after),
            renew_at: leaf.and_then(|leaf| lifecycle::renew_at(leaf, view.window)),
            next_step: self.next.0,
            next_at: self.next.1,
            failures: self.failures.count(),
            last_error: self.last_error.clone(),
        }
    }
}

/// For so long after the end of a hold, the issuer is not believed to be back.
const STILL_DOWN: Duration = Duration::from_secs(1800);
