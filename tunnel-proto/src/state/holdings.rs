//! The unread bytes of one connection's bodies, and whose reader has stopped.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::limits;

/// What the bodies of one connection hold for readers who have not come for it. Knows no clock:
/// `now` never goes back.
///
/// All that hold something share [`limits::HELD_BYTES`]. A body that holds more than its share gets
/// less of its window back than was read, until it is down to its share: so slow readers shrink their
/// own windows and nobody else's. If more than the whole is held, bodies go whose reader has taken
/// nothing for [`limits::STALL_GRACE`], the longest stalled first; if more than half of it is held or of
/// the streams taken, those with patience that have been stalled for [`limits::STALL_TIMEOUT`].
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    bytes: usize,
    /// Bodies that hold anything.
    holders: usize,
    /// Bodies that hold so much that their windows matter.
    laden: usize,
    next: u64,
    bodies: HashMap<u64, Holding>,
}

#[derive(Debug)]
struct Holding {
    bytes: usize,
    /// Read, and not given back to the sender.
    withheld: usize,
    /// Since when bytes lie here that nobody takes.
    since: Instant,
    /// How long that may go on while there is room; for ever if there is none.
    patience: Option<Duration>,
}

impl Holdings {
    /// Adds a body, whose reader may stop for as long as `patience` while there is room; returns its key.
    pub(crate) fn open(&mut self, patience: Option<Duration>, now: Instant) -> u64 {
        let key = self.next;
        self.next += 1;
        self.bodies.insert(key, Holding { bytes: 0, withheld: 0, since: now, patience });
        key
    }

    /// Forgets a body and what it held.
    pub(crate) fn close(&mut self, key: u64) {
        if let Some(body) = self.bodies.remove(&key) {
            self.recount(body.bytes, 0);
        }
    }

    /// Bytes arrived.
    pub(crate) fn handle_arrival(&mut self, key: u64, bytes: usize, now: Instant) {
        let Some(body) = self.bodies.get_mut(&key) else { return };
        if body.bytes == 0 {
            body.since = now;
        }
        let before = body.bytes;
        body.bytes += bytes;
        self.recount(before, before + bytes);
    }

    /// The reader is done with bytes that it took: it has come back for more.
    pub(crate) fn handle_read(&mut self, key: u64, bytes: usize, now: Instant) {
        let Some(body) = self.bodies.get_mut(&key) else { return };
        body.since = now;
        let before = body.bytes;
        body.bytes = before.saturating_sub(bytes);
        let after = body.bytes;
        self.recount(before, after);
    }

    /// The reader is done with bytes it took: how many the sender may send for them.
    pub(crate) fn handle_release(&mut self, key: u64, bytes: usize) -> usize {
        let share = (limits::HELD_BYTES / self.holders.max(1)).max(limits::HELD_SHARE_BYTES);
        let Some(body) = self.bodies.get_mut(&key) else { return bytes };
        body.withheld += bytes;
        let given = body.withheld.min(share.saturating_sub(body.bytes));
        body.withheld -= given;
        given
    }

    /// Bodies that hold at least [`limits::LADEN_BYTES`].
    pub(crate) fn laden(&self) -> usize {
        self.laden
    }

    /// Whether a body holds anything.
    pub(crate) fn holds(&self, key: u64) -> bool {
        self.bodies.get(&key).is_some_and(|body| body.bytes > 0)
    }

    /// The bound under which a body must go, if it must. `crowd` is how many streams are taken beyond those
    /// that leave room for others.
    pub(crate) fn verdict(&self, key: u64, crowd: usize, now: Instant) -> Option<&'static str> {
        let body = self.bodies.get(&key).filter(|body| body.bytes > 0)?;
        let stalled = now.saturating_duration_since(body.since);
        if self.bytes > limits::HELD_BYTES && stalled >= limits::STALL_GRACE {
            let is_longest = self.older(body, |_| true) == (0, 0);
            return is_longest.then_some("HELD_BYTES");
        }
        let patience = body.patience?;
        if stalled >= patience {
            return Some("STALL_PATIENCE");
        }
        let excess = self.bytes.saturating_sub(limits::HELD_BYTES / 2);
        if (excess == 0 && crowd == 0) || stalled < limits::STALL_TIMEOUT {
            return None;
        }
        let (bodies, bytes) = self.older(body, |other| other.patience.is_some());
        (bytes < excess || bodies < crowd).then_some("STALL_TIMEOUT")
    }

    /// How many bodies have been stalled longer than one, and what they hold.
    fn older(&self, body: &Holding, counts: impl Fn(&Holding) -> bool) -> (usize, usize) {
        let is_older = |other: &&Holding| other.bytes > 0 && other.since < body.since;
        let older = self.bodies.values().filter(is_older).filter(|other| counts(other));
        older.fold((0, 0), |(count, bytes), other| (count + 1, bytes + other.bytes))
    }

    /// A body that held `before` bytes holds `after`.
    fn recount(&mut self, before: usize, after: usize) {
        let is_laden = |bytes: usize| usize::from(bytes >= limits::LADEN_BYTES);
        self.bytes = self.bytes + after - before;
        self.holders = self.holders + usize::from(after > 0) - usize::from(before > 0);
        self.laden = self.laden + is_laden(after) - is_laden(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn start() -> Instant {
        Instant::now()
    }

    /// Bodies with full windows, the first the longest stalled.
    fn stalled(count: u32, patience: Option<Duration>, start: Instant) -> (Holdings, Vec<u64>) {
        let mut holdings = Holdings::default();
        let keys = (0..count)
            .map(|index| {
                let now = start + Duration::from_millis(index.into());
                let key = holdings.open(patience, now);
                holdings.handle_arrival(key, MIB, now);
                key
            })
            .collect();
        (holdings, keys)
    }

    /// Lets go of bodies until none must.
    fn gone(holdings: &mut Holdings, keys: &[u64], crowd: usize, now: Instant) -> Vec<u64> {
        let mut gone = Vec::new();
        while let Some(key) = keys
            .iter()
            .find(|key| holdings.verdict(**key, crowd - gone.len().min(crowd), now).is_some())
        {
            gone.push(*key);
            holdings.close(*key);
        }
        gone
    }

    #[test]
    fn the_longest_stalled_go_first_and_no_more_than_must() {
        let start = start();
        let (mut holdings, keys) = stalled(32, None, start);
        let later = start + Duration::from_secs(5);
        let reader = holdings.open(None, later);
        holdings.handle_arrival(reader, MIB, later);
        // 33 MiB held.
        let gone = gone(&mut holdings, &keys, 0, later);
        assert_eq!(gone, keys[..33 - limits::HELD_BYTES / MIB]);
        assert_eq!(holdings.verdict(reader, 0, later), None);
    }

    #[test]
    fn a_stalled_reader_has_its_time_while_there_is_room() {
        let start = start();
        for patience in [limits::STALL_PATIENCE, Duration::from_secs(60)] {
            let (mut holdings, keys) = stalled(1, Some(patience), start);
            let early = start + patience.mul_f64(0.9);
            assert_eq!(holdings.verdict(keys[0], 0, early), None);
            let later = start + patience;
            assert_eq!(holdings.verdict(keys[0], 0, later), Some("STALL_PATIENCE"));
            holdings.handle_read(keys[0], 1, later);
            assert_eq!(holdings.verdict(keys[0], 0, later), None, "it reads on");
            holdings.handle_read(keys[0], MIB, later);
            let much_later = later + 2 * patience;
            assert_eq!(holdings.verdict(keys[0], 0, much_later), None, "it waits for more");
        }
        let (holdings, keys) = stalled(1, None, start);
        let later = start + 2 * limits::STALL_PATIENCE;
        assert_eq!(holdings.verdict(keys[0], 1_000, later), None, "a terminal may be stopped");
    }

    #[test]
    fn who_is_stalled_makes_room_when_bytes_or_streams_run_short() {
        let start = start();
        let most = limits::HELD_BYTES / MIB;
        let patience = Some(limits::STALL_PATIENCE);
        let early = start + limits::STALL_TIMEOUT.mul_f64(0.9);
        let later = start + 2 * limits::STALL_TIMEOUT;
        let (mut holdings, keys) = stalled(u32::try_from(most).unwrap(), patience, start);
        assert_eq!(gone(&mut holdings, &keys, 0, early), [0_u64; 0]);
        assert_eq!(gone(&mut holdings, &keys, 0, later), keys[..most / 2]);

        let (mut holdings, keys) = stalled(4, patience, start);
        assert_eq!(gone(&mut holdings, &keys, 0, later), [0_u64; 0], "there is room");
        assert_eq!(gone(&mut holdings, &keys, 3, early), [0_u64; 0]);
        assert_eq!(gone(&mut holdings, &keys, 3, later), keys[..3]);

        // A terminal that has been stopped for longer keeps nobody from making room.
        let (mut holdings, terminals) = stalled(1, None, start);
        let film = holdings.open(patience, start + limits::STALL_GRACE);
        holdings.handle_arrival(film, 1, start + limits::STALL_GRACE);
        assert_eq!(holdings.verdict(film, 1, later), Some("STALL_TIMEOUT"));
        assert_eq!(holdings.verdict(terminals[0], 1, later), None);
    }

    #[test]
    fn slow_readers_come_down_to_their_share_and_are_not_cut() {
        let start = start();
        let (mut holdings, keys) = stalled(100, Some(limits::STALL_PATIENCE), start);
        let mut windows = vec![0; keys.len()];
        // Each reads a little each second, and the sender fills every window at once.
        for second in 1..200 {
            let now = start + Duration::from_secs(second);
            for (key, window) in keys.iter().zip(&mut windows) {
                holdings.handle_read(*key, 16 * 1024, now);
                *window += holdings.handle_release(*key, 16 * 1024);
                holdings.handle_arrival(*key, std::mem::take(window), now);
                assert_eq!(holdings.verdict(*key, 1_000, now), None);
            }
        }
        assert!(holdings.bytes <= limits::HELD_BYTES, "{}", holdings.bytes);
        assert!(holdings.bytes > limits::HELD_BYTES / 4, "{}: room is used", holdings.bytes);
    }

    #[test]
    fn a_message_on_its_way_is_no_load() {
        let start = start();
        let mut holdings = Holdings::default();
        let keys: Vec<u64> = (0..1_000).map(|_| holdings.open(None, start)).collect();
        for key in &keys {
            holdings.handle_arrival(*key, 1_000, start);
        }
        assert_eq!((holdings.holders, holdings.laden()), (1_000, 0));
        for key in &keys[..10] {
            holdings.handle_arrival(*key, limits::LADEN_BYTES, start);
        }
        assert_eq!(holdings.laden(), 10);
        holdings.handle_read(keys[0], 1_001, start);
        holdings.close(keys[1]);
        assert_eq!((holdings.holders, holdings.laden()), (999, 8));
        for key in &keys {
            holdings.handle_read(*key, usize::MAX, start);
        }
        assert_eq!((holdings.bytes, holdings.holders, holdings.laden()), (0, 0, 0));
    }

    #[test]
    fn a_fast_reader_keeps_its_whole_window() {
        let start = start();
        let mut holdings = Holdings::default();
        let key = holdings.open(None, start);
        for _ in 0..1_000 {
            holdings.handle_arrival(key, MIB, start);
            holdings.handle_read(key, MIB, start);
            assert_eq!(holdings.handle_release(key, MIB), MIB);
        }
    }

    #[test]
    fn what_was_withheld_comes_back_when_there_is_room() {
        let start = start();
        let (mut holdings, keys) = stalled(20, None, start);
        holdings.handle_read(keys[0], MIB / 2, start);
        assert_eq!(holdings.handle_release(keys[0], MIB / 2), limits::HELD_BYTES / 20 - MIB / 2);
        for key in &keys[1..] {
            holdings.close(*key);
        }
        holdings.handle_read(keys[0], MIB / 2, start);
        let given = holdings.handle_release(keys[0], MIB / 2);
        assert_eq!(given, MIB - (limits::HELD_BYTES / 20 - MIB / 2));
    }
}
