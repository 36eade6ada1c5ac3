//! Changes of a zone, and who makes them.

use std::{fmt, future::Future, pin::Pin};

use super::{
    error::DnsError,
    record::{Record, RecordData, RecordName, RecordType},
};

/// A zone that can be changed.
///
/// Adding and removing name single values, never whole sets, so that two writers of one name do not take each
/// other's values away. Both are idempotent: what is there is not added twice, and what is not there is removed.
pub trait DnsProvider: fmt::Debug + Send + Sync {
    /// Records of this name, of all types in [`RecordType`]. A wildcard's may be among them.
    fn find<'a>(&'a self, name: &'a RecordName) -> DnsWork<'a, Vec<Record>>;

    /// Makes all changes if all conditions hold, else none: in one step where the provider can. One that cannot
    /// looks first, and says in its documentation that somebody may come in between.
    fn apply<'a>(&'a self, update: &'a Update) -> DnsWork<'a, Applied>;
}

/// What a [`DnsProvider`] does.
pub type DnsWork<'a, T> = Pin<Box<dyn Future<Output = Result<T, DnsError>> + Send + 'a>>;

/// Changes that are made together, and what must hold for it: all in one zone. Without changes, conditions are asked
/// and nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// Made in this order.
    pub changes: Vec<Change>,
}

impl Update {
    /// Changes without conditions.
    pub fn new(changes: impl Into<Vec<Change>>) -> Self {
        Self { conditions: Vec::new(), changes: changes.into() }
    }

    /// The same, if these hold.
    #[must_use]
    pub fn only_if(mut self, conditions: impl IntoIterator<Item = Condition>) -> Self {
        self.conditions.extend(conditions);
        self
    }
}

/// What must hold before a change (RFC 2136 section 2.4).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// No record of any type stands at the name.
    NameIsFree(RecordName),
    /// These are the values of this type at the name, and no others.
    Is(RecordName, RecordData),
    /// No record of this type stands at the name.
    HasNo(RecordName, RecordType),
}

impl Condition {
    /// Whose records it is about.
    pub fn name(&self) -> &RecordName {
        match self {
            Self::NameIsFree(name) | Self::Is(name, _) | Self::HasNo(name, _) => name,
        }
    }
}

/// One change (RFC 2136 section 2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Adds a value beside those there.
    Add(Record),
    /// Removes this value.
    Remove(RecordName, RecordData),
    /// Removes all values of this type.
    RemoveAll(RecordName, RecordType),
}

impl Change {
    /// Whose record it changes.
    pub fn name(&self) -> &RecordName {
        match self {
            Self::Add(record) => &record.name,
            Self::Remove(name, _) | Self::RemoveAll(name, _) => name,
        }
    }
}

/// The answer of [`DnsProvider::apply`].
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// All changes are made.
    Done,
    /// A condition did not hold; nothing was changed.
    ConditionFailed,
}
