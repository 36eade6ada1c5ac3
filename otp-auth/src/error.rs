//! The crate's error: opaque, sorted by who is to blame.

use std::error::Error as StdError;

use thiserror::Error as ThisError;

/// What went wrong in an operation of this crate.
///
/// Asks of the caller only one decision at a time: [`is_caller_fault`](Self::is_caller_fault) means
/// fix the program or its configuration, [`is_retryable`](Self::is_retryable) means the environment
/// (store, generator) failed and a later attempt may succeed. Whatever it is, nobody has been signed in.
///
/// Refusals of a visitor are not errors: see [`Verdict`](crate::login::Verdict),
/// [`AddressError`](crate::address::AddressError) and [`TokenError`](crate::token::TokenError).
#[derive(Debug, ThisError)]
#[error("{kind}")]
pub struct Error {
    kind: Kind,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Reports that a store could not answer, or that its answer is unknown.
    ///
    /// For implementations of [`Store`](crate::store::Store).
    pub fn store_unavailable(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { kind: Kind::StoreUnavailable, source: Some(source.into()) }
    }

    /// Reports that a bounded store refused a new record.
    ///
    /// For implementations of [`Store`](crate::store::Store).
    pub fn store_full() -> Self {
        Self { kind: Kind::StoreFull, source: None }
    }

    /// Reports that a generator could not deliver random bytes.
    ///
    /// For implementations of [`Random`](crate::random::Random).
    pub fn randomness() -> Self {
        Self { kind: Kind::Randomness, source: None }
    }

    /// Whether the caller passed a setting or argument that can never work.
    pub fn is_caller_fault(&self) -> bool {
        matches!(self.kind, Kind::Setting { .. } | Kind::Key { .. })
    }

    /// Whether the store was away, or gave no answer that can be relied on.
    pub fn is_store_unavailable(&self) -> bool {
        matches!(self.kind, Kind::StoreUnavailable)
    }

    /// Whether the store is at its bound and refused a new record.
    pub fn is_store_full(&self) -> bool {
        matches!(self.kind, Kind::StoreFull)
    }

    /// Whether the generator of random bytes failed.
    pub fn is_randomness(&self) -> bool {
        matches!(self.kind, Kind::Randomness)
    }

    /// Whether a later attempt may succeed without a change of the program.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, Kind::StoreUnavailable | Kind::StoreFull | Kind::Randomness)
    }

    pub(crate) fn setting(setting: &'static str, problem: &'static str) -> Self {
        Self { kind: Kind::Setting { setting, problem }, source: None }
    }

    pub(crate) fn key(problem: &'static str) -> Self {
        Self { kind: Kind::Key { problem }, source: None }
    }

    pub(crate) fn with_source(
        mut self,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }
}

#[derive(Debug, ThisError)]
enum Kind {
    #[error("setting `{setting}` is refused: {problem}")]
    Setting { setting: &'static str, problem: &'static str },
    #[error("signing key is refused: {problem}")]
    Key { problem: &'static str },
    #[error("challenge store gave no answer")]
    StoreUnavailable,
    #[error("challenge store is full")]
    StoreFull,
    #[error("no random bytes from the generator")]
    Randomness,
}
