//! Revocations of one process.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::ledger::Ledger;
use super::{Changes, Cursor, Epoch, RevocationKey, RevocationStore};
use crate::error::Error;
use crate::timestamp::Timestamp;

/// A [`RevocationStore`] in the memory of one process.
///
/// What it holds ends with the process, while tokens live on: a program that restarts and must not revive
/// a token that was logged out [saves](Self::save) it, or begins with
/// [`refusing_before`](Self::refusing_before).
pub struct MemoryRevocations {
    state: Mutex<State>,
}

struct State {
    clock: Epoch,
    /// What was revoked, numbered from `first` on.
    log: VecDeque<(RevocationKey, Epoch)>,
    first: u64,
    ledger: Ledger,
}

impl MemoryRevocations {
    /// Nothing revoked.
    pub fn new() -> Self {
        Self::refusing_before(Timestamp::from_unix_millis(0))
    }

    /// Nothing revoked, and everything refused that was signed before a moment: for a start without memory.
    pub fn refusing_before(moment: Timestamp) -> Self {
        let mut ledger = Ledger::new(AT_MOST);
        ledger.raise_floor(Epoch::at(moment));
        let clock = Epoch::at(moment);
        Self { state: Mutex::new(State { clock, log: VecDeque::new(), first: 0, ledger }) }
    }

    /// Drops what was revoked before a moment, and refuses all tokens that are as old.
    pub fn forget_before(&self, moment: Timestamp) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.log.front().is_some_and(|(_, epoch)| *epoch < Epoch::at(moment)) {
            state.forget_oldest();
        }
    }

    /// What is known as text, a line each, for a file.
    pub fn save(&self) -> String {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (clock, floor) = (state.clock.number(), state.ledger.floor().number());
        let head = format!("{clock} {floor} {}\n", state.log.len());
        // A name with a line end stays in its line.
        let name = |key: &RevocationKey| key.to_text().replace('%', "%25").replace('\n', "%0A");
        let lines =
            state.log.iter().map(|(key, epoch)| format!("{} {}\n", epoch.number(), name(key)));
        std::iter::once(head).chain(lines).collect()
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    ///
    /// Refuses a text that is damaged or cut, as the caller's fault; begin with
    /// [`refusing_before`](Self::refusing_before) now.
    pub fn load(text: &str) -> Result<Self, Error> {
        let damaged = || Error::setting("saved revocations", "they are damaged");
        let number = |text: &str| text.parse().map(Epoch::new).map_err(|_| damaged());
        let mut lines = text.split_terminator('\n');
        let mut head = lines.next().unwrap_or_default().splitn(3, ' ');
        let mut next = || head.next().ok_or_else(damaged);
        let (clock, floor) = (number(next()?)?, number(next()?)?);
        let count: usize = next()?.parse().map_err(|_| damaged())?;
        let mut state =
            State { clock, log: VecDeque::new(), first: 0, ledger: Ledger::new(AT_MOST) };
        state.ledger.raise_floor(floor);
        for line in lines {
            let (epoch, key) = line.split_once(' ').ok_or_else(damaged)?;
            let key = key.replace("%0A", "\n").replace("%25", "%");
            state.add(RevocationKey::from_text(&key).ok_or_else(damaged)?, number(epoch)?);
        }
        // A text that lost its end would revive somebody.
        if state.log.len() != count || !text.ends_with('\n') {
            return Err(damaged());
        }
        Ok(Self { state: Mutex::new(state) })
    }
}

impl State {
    /// The clock that never goes back.
    fn tick(&mut self, now: Timestamp) -> Epoch {
        self.clock = self.clock.max(Epoch::at(now));
        self.clock
    }

    fn add(&mut self, key: RevocationKey, epoch: Epoch) {
        self.clock = self.clock.max(epoch);
        self.ledger.note(&key, epoch);
        self.log.push_back((key, epoch));
        if self.log.len() > AT_MOST {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, epoch)) = self.log.pop_front() {
            self.ledger.raise_floor(epoch);
            self.first += 1;
        }
    }
}

#[async_trait]
impl RevocationStore for MemoryRevocations {
    async fn epoch(&self, now: Timestamp) -> Result<Epoch, Error> {
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner).tick(now))
    }

    async fn revoke(&self, key: &RevocationKey, now: Timestamp) -> Result<Epoch, Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = state.tick(now).next();
        state.add(key.clone(), epoch);
        Ok(epoch)
    }

    async fn changes(&self, after: &Cursor, _now: Timestamp) -> Result<Changes, Error> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let after: u64 = after.0.parse().unwrap_or(0);
        let skipped = usize::try_from(after.saturating_sub(state.first)).unwrap_or(usize::MAX);
        let revoked: Vec<_> = state.log.iter().skip(skipped).take(AT_ONCE).cloned().collect();
        let read = state.first.max(after) + revoked.len() as u64;
        let is_last = read >= state.first + state.log.len() as u64;
        let (cursor, floor) = (Cursor(read.to_string()), state.ledger.floor());
        Ok(Changes { revoked, cursor, floor, is_last })
    }
}

impl Default for MemoryRevocations {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryRevocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRevocations").finish_non_exhaustive()
    }
}

const AT_MOST: usize = 100_000;
const AT_ONCE: usize = 1_000;
