//! What nodes share about revocations.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::timestamp::Timestamp;

/// A moment in the life of a revocation store: in milliseconds of its clock, never going back. Tokens carry
/// the one at which they were signed, as the claim `epoch`.
///
/// It is the store's, so the clocks of nodes don't matter: a token that was signed by a node whose clock is
/// ahead ends like any other.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(u64);

impl Epoch {
    /// Of a moment of the store's clock.
    pub const fn at(now: Timestamp) -> Self {
        Self(now.as_unix_millis())
    }

    /// From its number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Whose tokens end.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RevocationKey {
    pub(super) is_subject: bool,
    pub(super) name: Box<str>,
}

impl RevocationKey {
    /// All tokens of a person, or of a service token by its client id: "log out everywhere".
    pub fn subject(subject: &str) -> Self {
        Self { is_subject: true, name: subject.into() }
    }

    /// The tokens of one login, by the `identity_nonce` that they share.
    pub fn login(identity_nonce: &str) -> Self {
        Self { is_subject: false, name: identity_nonce.into() }
    }

    /// As text for a store: `sub:` or `login:`, and the name.
    pub fn to_text(&self) -> String {
        let kind = if self.is_subject { "sub" } else { "login" };
        format!("{kind}:{}", self.name)
    }

    /// From such a text; `None` if it is none.
    pub fn from_text(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("sub", name) => Some(Self::subject(name)),
            ("login", name) => Some(Self::login(name)),
            _ => None,
        }
    }
}

impl fmt::Debug for RevocationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_subject {
            "RevocationKey::subject(..)"
        } else {
            "RevocationKey::login(..)"
        })
    }
}

/// How far a node has read. Opaque to all but the store that gave it; the default is the beginning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cursor(pub String);

/// What [`RevocationStore::changes`] answers.
#[derive(Debug, Clone)]
pub struct Changes {
    /// What was revoked after the cursor, in order.
    pub revoked: Vec<(RevocationKey, Epoch)>,
    /// Where to go on.
    pub cursor: Cursor,
    /// Tokens of before this are refused, because the store no longer knows what was revoked then.
    pub floor: Epoch,
    /// Whether there was no more at this moment.
    pub is_last: bool,
}

/// The revocations that nodes share.
///
/// # Contract
///
/// One clock for all nodes, which never goes back: `epoch` answers with the greatest of the store's clock
/// and every epoch it ever gave; `revoke` with one greater than that. Each is one atomic step.
/// A revocation is durable before the answer, and `changes` shows it from then on, for as long as tokens
/// live. A store that has lost its content says so by a floor of when it began anew.
///
/// `now` is the caller's clock, for stores without one of their own.
///
/// # Errors
///
/// An error means that the step may or may not have happened.
#[async_trait]
pub trait RevocationStore: fmt::Debug + Send + Sync {
    /// The present epoch.
    async fn epoch(&self, now: Timestamp) -> Result<Epoch, Error>;

    /// Ends everything of this key that carries an earlier epoch than the answer.
    async fn revoke(&self, key: &RevocationKey, now: Timestamp) -> Result<Epoch, Error>;

    /// What was revoked after the cursor, some thousand at a time.
    async fn changes(&self, after: &Cursor, now: Timestamp) -> Result<Changes, Error>;
}
