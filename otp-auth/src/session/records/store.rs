//! Where sessions lie.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::Epoch;
use crate::error::Error;
use crate::timestamp::Timestamp;

/// The name of a session: 128 random bits. Not a secret by itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// From a store.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// For a store.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// A session as a store keeps it: whole, as JSON or otherwise.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Its name.
    pub id: SessionId,
    /// SHA-256 of the reference's secret.
    pub secret_digest: [u8; 32],
    /// Where it counts.
    pub scope: SessionScope,
    /// The stable id of the person.
    pub subject: String,
    /// The person's address.
    pub email: String,
    /// What the person has shown.
    pub acr: Option<String>,
    /// When the person has shown it.
    pub authenticated_at: Timestamp,
    /// When the session was opened.
    pub opened: Timestamp,
    /// When it was last used, give or take half a minute.
    pub seen: Timestamp,
    /// How long it may be unused.
    pub idle: Duration,
    /// When it ends in any case.
    pub ends: Timestamp,
    /// Revocations after this end it.
    pub epoch: Epoch,
}

impl fmt::Debug for SessionRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionRecord")
            .field("id", &self.id)
            .field("scope", &self.scope)
            .field("subject", &self.subject)
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

/// Where a session counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionScope {
    /// At the team host.
    Global,
    /// At one application.
    Application {
        /// The application's AUD.
        audience: String,
        /// The session at the team host that it came from, and ends with.
        global: SessionId,
    },
}

/// A store of sessions, shared by all nodes.
///
/// # Contract
///
/// Each method is one atomic step. Records whose `ends` has passed may be forgotten. A store that loses its
/// content answers "no such session", and people sign in again.
///
/// # Errors
///
/// An error means that the step may or may not have happened, and that nobody is let in.
#[async_trait]
pub trait SessionStore: fmt::Debug + Send + Sync {
    /// Creates the record if its id is absent. Whether it was.
    async fn insert(&self, record: &SessionRecord, now: Timestamp) -> Result<bool, Error>;

    /// The record of this id.
    async fn load(&self, id: SessionId, now: Timestamp) -> Result<Option<SessionRecord>, Error>;

    /// Sets `seen` to a later moment; an earlier one changes nothing, nor does an unknown id.
    async fn touch(&self, id: SessionId, now: Timestamp) -> Result<(), Error>;

    /// Takes the record `old` out and puts another in. Nothing happens, and the answer is `false`, if `old` is
    /// not there: at most one caller replaces a record.
    async fn replace(
        &self,
        old: SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<bool, Error>;

    /// Takes a record out.
    async fn remove(&self, id: SessionId) -> Result<(), Error>;
}

/// Sessions in the memory of one process. Refuses new ones above a million.
#[derive(Default)]
pub struct MemorySessions {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    records: HashMap<SessionId, SessionRecord>,
    ends: BTreeSet<(Timestamp, SessionId)>,
}

impl MemorySessions {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, step: impl FnOnce(&mut State) -> T) -> T {
        step(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    /// Work in proportion to what has ended.
    fn forget_ended(&mut self, now: Timestamp) {
        // A clock that is set back later revives none: what is gone is gone.
        while let Some((end, id)) = self.ends.first().copied().filter(|(end, _)| *end <= now) {
            self.ends.remove(&(end, id));
            self.records.remove(&id);
        }
    }

    fn put(&mut self, record: &SessionRecord) {
        self.ends.insert((record.ends, record.id));
        self.records.insert(record.id, record.clone());
    }

    fn take(&mut self, id: SessionId) -> bool {
        let Some(record) = self.records.remove(&id) else { return false };
        self.ends.remove(&(record.ends, id))
    }
}

#[async_trait]
impl SessionStore for MemorySessions {
    async fn insert(&self, record: &SessionRecord, now: Timestamp) -> Result<bool, Error> {
        self.with(|state| {
            state.forget_ended(now);
            if state.records.contains_key(&record.id) {
                return Ok(false);
            }
            if state.records.len() >= AT_MOST {
                return Err(Error::store_full());
            }
            state.put(record);
            Ok(true)
        })
    }

    async fn load(&self, id: SessionId, now: Timestamp) -> Result<Option<SessionRecord>, Error> {
        Ok(self.with(|state| {
            state.forget_ended(now);
            state.records.get(&id).cloned()
        }))
    }

    async fn touch(&self, id: SessionId, now: Timestamp) -> Result<(), Error> {
        self.with(|state| {
            if let Some(record) = state.records.get_mut(&id) {
                record.seen = record.seen.max(now);
            }
        });
        Ok(())
    }

    async fn replace(
        &self,
        old: SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<bool, Error> {
        Ok(self.with(|state| {
            state.forget_ended(now);
            let is_there = state.take(old);
            if is_there {
                state.put(record);
            }
            is_there
        }))
    }

    async fn remove(&self, id: SessionId) -> Result<(), Error> {
        self.with(|state| state.take(id));
        Ok(())
    }
}

impl fmt::Debug for MemorySessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySessions").finish_non_exhaustive()
    }
}

const AT_MOST: usize = 1_000_000;
