//! Which certificates a node looks after, when it looks at which, and whether its clock can be believed. Pure.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    time::{Duration, SystemTime},
};

use foldhash::quality::RandomState;

use crate::{
    error::{Error, Kind},
    manager::{
        status::{LastError, NextStep, Status},
        tracked::Tracked,
    },
    name::Name,
    storage::{Key, Version},
};

/// The certificates of one node, in the order in which they want to be looked at.
///
/// Add some; then, again and again: [`Keeper::observe`] the clocks, [`Keeper::take_due`], work on what comes out, and hand it
/// back to [`Keeper::finish`]; sleep until [`Keeper::next_wake`].
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    slots: HashMap<u64, Slot, RandomState>,
    by_key: HashMap<Key, u64, RandomState>,
    /// What was put in last for a number counts; older ones are skipped.
    queue: BinaryHeap<Reverse<(SystemTime, u64, u64)>>,
    turns: u64,
    taken: HashSet<Name, RandomState>,
    clocks: Option<(SystemTime, Duration)>,
}

#[derive(Debug)]
struct Slot {
    state: State,
    turn: u64,
    /// Whether to look at it again as soon as it is back.
    is_changed: bool,
    /// How often in a row the work for it panicked.
    panics: u32,
    /// Whether the work for it ever came to an end, be it by a panic.
    was_tried: bool,
    /// Whether to serve it again, though it is the one that was served before.
    is_displaced: bool,
}

/// A certificate whose work panicked.
#[derive(Debug)]
pub(crate) struct Panicked {
    pub(crate) names: Vec<Name>,
    pub(crate) retry_at: SystemTime,
    /// Whether it had not been tried before.
    pub(crate) is_first: bool,
}

#[derive(Debug)]
enum State {
    Idle(Box<Tracked>),
    /// Being worked on; so it was before.
    Busy(Box<Status>),
}

/// How far the clock on the wall has moved other than time has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Jump {
    /// Such as after a machine was suspended.
    Forwards(Duration),
    Backwards(Duration),
}

impl Keeper {
    /// Looks after one more, at once.
    pub(crate) fn add(&mut self, tracked: Tracked, now: SystemTime) -> Result<(), Error> {
        if let Some(name) = tracked.names.iter().find(|name| self.taken.contains(name)) {
            return Err(Kind::NameConflict(name.to_string()).into());
        }
        self.taken.extend(tracked.names.iter().cloned());
        self.turns += 1;
        let number = self.turns;
        self.by_key.insert(tracked.key.clone(), number);
        let state = State::Idle(Box::new(Tracked { number, ..tracked }));
        self.slots.insert(
            number,
            Slot {
                state,
                turn: 0,
                is_changed: false,
                panics: 0,
                was_tried: false,
                is_displaced: false,
            },
        );
        self.enqueue(number, now);
        Ok(())
    }

    /// Looks no longer after the certificate that carries a name, and says which names it had.
    pub(crate) fn remove(&mut self, name: &Name) -> Option<Vec<Name>> {
        let of_name = |(_, slot): &(&u64, &Slot)| slot.names().contains(name);
        let number = *self.slots.iter().find(of_name)?.0;
        let names = self.slots.remove(&number)?.names().to_vec();
        self.by_key.retain(|_, it| *it != number);
        for name in &names {
            self.taken.remove(name);
        }
        Some(names)
    }

    /// Takes out what is to be worked on now, at most `limit`. `glance` says when to look again at what needs no work.
    #[expect(clippy::vec_box, reason = "it goes to a task as it is")]
    pub(crate) fn take_due(
        &mut self,
        now: SystemTime,
        limit: usize,
        mut glance: impl FnMut(&mut Tracked) -> Option<SystemTime>,
    ) -> Vec<Box<Tracked>> {
        let mut due = Vec::new();
        while due.len() < limit {
            match self.queue.peek() {
                Some(Reverse((at, _, _))) if *at <= now => {}
                _ => break,
            }
            let Some(Reverse((_, turn, number))) = self.queue.pop() else { break };
            let Some(slot) = self.slots.get_mut(&number).filter(|slot| slot.turn == turn) else {
                continue;
            };
            let State::Idle(tracked) = &mut slot.state else { continue };
            if let Some(wake_at) = glance(tracked) {
                self.enqueue(number, wake_at.max(now + SHORTEST_REST));
                continue;
            }
            let busy = State::Busy(Box::new(tracked.status(now)));
            if let State::Idle(tracked) = std::mem::replace(&mut slot.state, busy) {
                due.push(tracked);
            }
        }
        due
    }

    /// Takes one back, to be looked at again at `wake_at`. Says whether it is still looked after.
    pub(crate) fn finish(
        &mut self,
        tracked: Box<Tracked>,
        now: SystemTime,
        wake_at: SystemTime,
    ) -> bool {
        let number = tracked.number;
        let Some(slot) = self.slots.get_mut(&number) else { return false };
        // Waiting for a lease that the panic left behind is no success.
        if tracked.next.0 != NextStep::WaitForOtherNode {
            slot.panics = 0;
        }
        slot.was_tried |= tracked.is_tried;
        slot.state = State::Idle(tracked);
        let wake_at = if std::mem::take(&mut slot.is_changed) {
            slot.mark_stale();
            now
        } else {
            wake_at
        };
        self.enqueue(number, wake_at);
        true
    }

    /// Whether a name is looked after.
    pub(crate) fn has(&self, name: &Name) -> bool {
        self.taken.contains(name)
    }

    /// Why there is no certificate, if it was tried to get one and is not being tried.
    pub(crate) fn tried_in_vain(&self, key: &Key) -> Option<String> {
        let slot = self.slots.get(self.by_key.get(key)?)?;
        let State::Idle(tracked) = &slot.state else { return None };
        let error = tracked.last_error.as_ref().map(|error| error.text.clone());
        (tracked.is_tried && tracked.record.is_none())
            .then(|| error.unwrap_or_else(|| "it failed before, and is not due again".to_owned()))
    }

    /// The work for one panicked, and what was known is gone with it: it begins anew with what is stored, after a pause that
    /// grows. `None` if it is not looked after any more.
    pub(crate) fn restart(&mut self, number: u64, text: &str, now: SystemTime) -> Option<Panicked> {
        let slot = self.slots.get_mut(&number)?;
        let names = slot.names().to_vec();
        // They were good before.
        let fresh = Tracked::new(names.clone()).ok()?;
        let pause = FIRST_PANIC * 2_u32.saturating_pow(slot.panics.min(6));
        slot.panics = slot.panics.saturating_add(1);
        let retry_at = now + pause.min(LONGEST_PANIC);
        let is_first = !std::mem::replace(&mut slot.was_tried, true);
        let last_error = LastError::panicked(text, now);
        slot.is_changed = false;
        slot.state = State::Idle(Box::new(Tracked {
            number,
            is_tried: true,
            last_error: Some(last_error),
            next: (NextStep::Load, retry_at),
            ..fresh
        }));
        self.enqueue(number, retry_at);
        Some(Panicked { names, retry_at, is_first })
    }

    /// Somebody has changed what is stored. If it is not known yet, it is looked at at once.
    pub(crate) fn mark_changed(&mut self, key: &Key, version: Option<Version>, now: SystemTime) {
        let Some(number) = self.by_key.get(key).copied() else { return };
        let Some(slot) = self.slots.get_mut(&number) else { return };
        if let (State::Idle(tracked), Some(version)) = (&slot.state, version)
            && tracked.version >= Some(version)
        {
            return;
        }
        if slot.mark_stale() {
            self.enqueue(number, now);
        } else {
            slot.is_changed = true;
        }
    }

    /// Somebody else served a name that is looked after here, and does not any more: it is read and served again.
    pub(crate) fn serve_again(&mut self, name: &Name, now: SystemTime) {
        let of_name = |(_, slot): &(&u64, &mut Slot)| slot.names().contains(name);
        let Some((number, slot)) = self.slots.iter_mut().find(of_name) else { return };
        let number = *number;
        slot.is_displaced = true;
        if slot.mark_stale() {
            self.enqueue(number, now);
        } else {
            slot.is_changed = true;
        }
    }

    /// When something wants to be looked at.
    pub(crate) fn next_wake(&self) -> Option<SystemTime> {
        self.queue.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Compares the clock on the wall with one that only ever counts. If they part, everything is looked at anew.
    pub(crate) fn observe(&mut self, wall: SystemTime, counted: Duration) -> Option<Jump> {
        let (last_wall, last_counted) = self.clocks.replace((wall, counted))?;
        let expected = last_wall + counted.saturating_sub(last_counted);
        let jump = match (wall.duration_since(expected), expected.duration_since(wall)) {
            (Ok(by), _) if by > TOLERANCE => Jump::Forwards(by),
            (_, Ok(by)) if by > TOLERANCE => Jump::Backwards(by),
            _ => return None,
        };
        let numbers: Vec<_> = self.slots.keys().copied().collect();
        for number in numbers {
            self.enqueue(number, wall);
        }
        Some(jump)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.by_key.keys().cloned().collect()
    }

    pub(crate) fn statuses(&self, now: SystemTime) -> Vec<Status> {
        let status = |slot: &Slot| match &slot.state {
            State::Idle(tracked) => tracked.status(now),
            State::Busy(status) => Status::clone(status),
        };
        let mut all: Vec<_> = self.slots.values().map(status).collect();
        all.sort_by(|one, other| one.names.cmp(&other.names));
        all
    }

    fn enqueue(&mut self, number: u64, at: SystemTime) {
        self.turns += 1;
        if let Some(slot) = self.slots.get_mut(&number) {
            slot.turn = self.turns;
            self.queue.push(Reverse((at, self.turns, number)));
        }
    }
}

impl Slot {
    fn names(&self) -> &[Name] {
        match &self.state {
            State::Idle(tracked) => &tracked.names,
            State::Busy(status) => &status.names,
        }
    }

    /// Has the store read before anything is decided; not while it is being worked on.
    fn mark_stale(&mut self) -> bool {
        let State::Idle(tracked) = &mut self.state else { return false };
        tracked.is_stale = true;
        if std::mem::take(&mut self.is_displaced) {
            // What is stored is then as good as new.
            tracked.version = None;
        }
        true
    }
}

/// Clocks that are set right little by little stay below it.
const TOLERANCE: Duration = Duration::from_secs(30);
/// So that a glance that asks for another one at once cannot make it spin.
const SHORTEST_REST: Duration = Duration::from_millis(1);
/// After a panic; doubling, up to an hour. A lease that it held has ended by then.
const FIRST_PANIC: Duration = Duration::from_secs(60);
const LONGEST_PANIC: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    #[expect(clippy::vec_box, reason = "as it comes out")]
    fn take(keeper: &mut Keeper, seconds: u64, limit: usize) -> Vec<Box<Tracked>> {
        keeper.take_due(at(seconds), limit, |_| None)
    }

    fn keeper(names: &[&str]) -> Keeper {
        let mut keeper = Keeper::default();
        for name in names {
            let tracked = Tracked::new(vec![name.parse().unwrap()]).unwrap();
            keeper.add(tracked, at(0)).unwrap();
        }
        keeper
    }

    #[test]
    fn what_is_due_comes_out_once_and_in_its_order() {
        let mut keeper = keeper(&["a.jp", "b.jp", "c.jp"]);
        let mut out = take(&mut keeper, 0, 2);
        assert_eq!(out.len(), 2);
        out.extend(take(&mut keeper, 0, 2));
        assert_eq!(out.len(), 3);
        assert!(take(&mut keeper, 9, 9).is_empty(), "all are being worked on");
        for (wake, tracked) in [30, 10, 20].into_iter().zip(out) {
            assert!(keeper.finish(tracked, at(1), at(wake)));
        }
        assert_eq!(keeper.next_wake(), Some(at(10)));
        assert_eq!(take(&mut keeper, 20, 9).len(), 2);
    }

    #[test]
    fn a_glance_is_enough_for_what_needs_no_work() {
        let mut keeper = keeper(&["a.jp", "b.jp"]);
        let is_a = |tracked: &mut Tracked| tracked.texts[0] == "a.jp";
        let due = keeper.take_due(at(0), 9, |tracked| is_a(tracked).then(|| at(50)));
        assert_eq!(due[0].texts, ["b.jp"]);
        assert_eq!(keeper.next_wake(), Some(at(50)));
        assert!(keeper.take_due(at(60), 9, |_| Some(at(60))).is_empty(), "it ends");
    }

    #[test]
    fn what_was_removed_meanwhile_does_not_come_back() {
        let mut keeper = keeper(&["a.jp"]);
        let tracked = take(&mut keeper, 0, 1).remove(0);
        assert!(keeper.remove(&"a.jp".parse().unwrap()).is_some());
        assert!(!keeper.finish(tracked, at(1), at(2)));
        assert_eq!(keeper.len(), 0);
        let again = Tracked::new(vec!["a.jp".parse().unwrap()]).unwrap();
        keeper.add(again, at(3)).unwrap();
        let twice = Tracked::new(vec!["A.jp.".parse().unwrap(), "b.jp".parse().unwrap()]).unwrap();
        assert!(keeper.add(twice, at(3)).unwrap_err().is_name_conflict());
    }

    #[test]
    fn a_change_during_work_is_looked_at_afterwards() {
        let mut keeper = keeper(&["a.jp"]);
        let tracked = take(&mut keeper, 0, 1).remove(0);
        let key = tracked.key.clone();
        keeper.mark_changed(&key, Some(Version::new(1)), at(1));
        keeper.finish(tracked, at(2), at(1000));
        assert_eq!(keeper.next_wake(), Some(at(2)));
        let tracked = take(&mut keeper, 2, 1).remove(0);
        keeper.finish(tracked, at(3), at(1000));
        keeper.mark_changed(&key, Some(Version::new(2)), at(4));
        assert!(take(&mut keeper, 4, 1).remove(0).is_stale);
    }

    #[test]
    fn a_clock_that_jumps_is_noticed_once_and_all_is_looked_at() {
        let seconds = Duration::from_secs;
        let mut keeper = keeper(&["a.jp"]);
        let tracked = take(&mut keeper, 0, 1).remove(0);
        keeper.finish(tracked, at(0), at(5000));
        assert_eq!(keeper.observe(at(0), seconds(0)), None);
        assert_eq!(keeper.observe(at(80), seconds(60)), None, "a clock that is set right");
        assert!(take(&mut keeper, 80, 9).is_empty());
        let jump = keeper.observe(at(4000), seconds(120));
        assert_eq!(jump, Some(Jump::Forwards(seconds(3860))));
        let tracked = take(&mut keeper, 4000, 9).remove(0);
        keeper.finish(tracked, at(4000), at(5000));
        assert_eq!(keeper.observe(at(4060), seconds(180)), None);
        let jump = keeper.observe(at(120), seconds(240));
        assert_eq!(jump, Some(Jump::Backwards(seconds(4000))));
        assert_eq!(keeper.observe(at(180), seconds(300)), None, "one warning");
        assert_eq!(take(&mut keeper, 180, 9).len(), 1);
    }
}
