//! Revocations in memory, bounded without ever forgetting one.

use std::collections::{BTreeSet, HashMap};

use super::{Epoch, RevocationKey};

/// Who was revoked when. What has no room any more, or is old, becomes the floor: tokens from before it are
/// refused, whoever's they are.
#[derive(Debug)]
pub(super) struct Ledger {
    subjects: HashMap<Box<str>, Epoch>,
    logins: HashMap<Box<str>, Epoch>,
    order: BTreeSet<(Epoch, RevocationKey)>,
    floor: Epoch,
    at_most: usize,
}

impl Ledger {
    pub(super) fn new(at_most: usize) -> Self {
        Self {
            subjects: HashMap::new(),
            logins: HashMap::new(),
            order: BTreeSet::new(),
            floor: Epoch::default(),
            at_most,
        }
    }

    pub(super) fn is_revoked(&self, subject: &str, login: &str, issued: Epoch) -> bool {
        // What has no name can't be revoked by it: a service has no login, a session no `identity_nonce`.
        let is_later = |names: &HashMap<Box<str>, Epoch>, name: &str| {
            !name.is_empty() && names.get(name).is_some_and(|epoch| issued < *epoch)
        };
        issued < self.floor || is_later(&self.subjects, subject) || is_later(&self.logins, login)
    }

    pub(super) fn note(&mut self, key: &RevocationKey, epoch: Epoch) {
        let names = if key.is_subject { &mut self.subjects } else { &mut self.logins };
        if let Some(known) = names.get_mut(&key.name) {
            if *known >= epoch {
                return;
            }
            self.order.remove(&(*known, key.clone()));
            *known = epoch;
        } else {
            names.insert(key.name.clone(), epoch);
        }
        self.order.insert((epoch, key.clone()));
        while self.order.len() > self.at_most {
            self.forget_oldest();
        }
    }

    /// Whether anything changed.
    pub(super) fn raise_floor(&mut self, floor: Epoch) -> bool {
        let is_higher = floor > self.floor;
        self.floor = self.floor.max(floor);
        is_higher
    }

    /// Drops what no living token can be older than. Whether anything changed.
    pub(super) fn forget_before(&mut self, epoch: Epoch) -> bool {
        let mut is_change = false;
        while self.order.first().is_some_and(|(oldest, _)| *oldest < epoch) {
            self.forget_oldest();
            is_change = true;
        }
        is_change
    }

    pub(super) fn floor(&self) -> Epoch {
        self.floor
    }

    fn forget_oldest(&mut self) {
        let Some((epoch, key)) = self.order.pop_first() else { return };
        let names = if key.is_subject { &mut self.subjects } else { &mut self.logins };
        names.remove(&key.name);
        // A clock that was set forward forgets too early; the floor sees to it that nobody revives.
        self.raise_floor(epoch);
    }
}
