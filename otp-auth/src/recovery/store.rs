//! Where the digests lie.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use subtle::ConstantTimeEq;

use super::{RecoveryDigest, SET_SIZE};
use crate::error::Error;

/// Keeps the digests of a person's unused codes, shared by all nodes.
///
/// # Contract
///
/// Each method is one atomic step on its person. `consume` takes a digest out before it answers, durably:
/// at most one caller ever sees `Some` for a code.
///
/// # Errors
///
/// An error means that the step may or may not have happened: the code is refused.
#[async_trait]
pub trait RecoveryStore: fmt::Debug + Send + Sync {
    /// Puts a new set in the place of all codes that the person had.
    async fn replace(&self, subject: &str, codes: &[RecoveryDigest]) -> Result<(), Error>;

    /// Takes the code out if it is there; answers with the number of codes left, `None` if it was not there.
    ///
    /// Tell the person by mail whenever a code was used, and offer a new set when few are left.
    async fn consume(&self, subject: &str, code: &RecoveryDigest) -> Result<Option<usize>, Error>;

    /// How many codes the person has.
    async fn remaining(&self, subject: &str) -> Result<usize, Error>;
}

/// Recovery codes in the memory of one process, for a bounded number of people. A new person is refused when
/// it is full; nobody's codes are dropped.
pub struct MemoryRecovery {
    codes: Mutex<HashMap<String, Vec<RecoveryDigest>>>,
    people: usize,
}

impl MemoryRecovery {
    /// An empty store for 100,000 people: some fifty megabytes.
    pub fn new() -> Self {
        Self::for_people(100_000)
    }

    /// An empty store for so many people.
    pub fn for_people(people: usize) -> Self {
        Self { codes: Mutex::default(), people }
    }
}

impl Default for MemoryRecovery {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl RecoveryStore for MemoryRecovery {
    async fn replace(&self, subject: &str, codes: &[RecoveryDigest]) -> Result<(), Error> {
        if codes.len() > SET_SIZE {
            return Err(Error::setting("recovery codes", "a set has at most ten"));
        }
        if subject.len() > SUBJECT_BYTES {
            return Err(Error::setting("subject", "it is longer than 256 bytes"));
        }
        let mut all = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        if codes.is_empty() {
            all.remove(subject);
            return Ok(());
        }
        if all.len() >= self.people && !all.contains_key(subject) {
            return Err(Error::store_full());
        }
        all.insert(subject.to_owned(), codes.to_vec());
        Ok(())
    }

    async fn consume(&self, subject: &str, code: &RecoveryDigest) -> Result<Option<usize>, Error> {
        let mut all = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(codes) = all.get_mut(subject) else { return Ok(None) };
        let before = codes.len();
        // All are compared, whichever it is.
        codes.retain(|kept| !bool::from(kept.as_bytes().ct_eq(code.as_bytes())));
        let left = codes.len();
        if left == 0 {
            all.remove(subject);
        }
        Ok((left < before).then_some(left))
    }

    async fn remaining(&self, subject: &str) -> Result<usize, Error> {
        let all = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(all.get(subject).map_or(0, Vec::len))
    }
}

impl fmt::Debug for MemoryRecovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRecovery").finish_non_exhaustive()
    }
}

/// A `sub` of this crate's has 36.
const SUBJECT_BYTES: usize = 256;
