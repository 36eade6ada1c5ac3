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
/// nothing for [`limits::STALL_GRACE`], the longest stalled first.
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
}

impl Holdings {
    /// Adds a body; returns its key.
    pub(crate) fn open(&mut self, now: Instant) -> u64 {
        let key = self.next;
        self.next += 1;
        self.bodies.insert(key, Holding { bytes: 0, withheld: 0, since: now });
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

    /// The reader took bytes.
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

    /// The bound under which a body must go, if it must. `patience` is how long its reader may stop
    /// while there is room.
    pub(crate) fn verdict(
        &self,
        key: u64,
        patience: Option<Duration>,
        now: Instant,
    ) -> Option<&'static str> {
        let body = self.bodies.get(&key).filter(|body| body.bytes > 0)?;
        let stalled = now.saturating_duration_since(body.since);
        if patience.is_some_and(|patience| stalled >= patience) {
            return Some("STALL_TIMEOUT");
        }
        let is_longest = || {
            let holders = self.bodies.values().filter(|other| other.bytes > 0);
            holders.min_by_key(|other| other.since).is_some_and(|first| first.since == body.since)
        };
        let must_go =
            self.bytes > limits::HELD_BYTES && stalled >= limits::STALL_GRACE && is_longest();
        must_go.then_some("HELD_BYTES")
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
    fn stalled(count: u32, start: Instant) -> (Holdings, Vec<u64>) {
        let mut holdings = Holdings::default();
        let keys = (0..count)
            .map(|index| {
                let now = start + Duration::from_millis(index.into());
                let key = holdings.open(now);
                holdings.handle_arrival(key, MIB, now);
                key
            })
            .collect();
        (holdings, keys)
    }

    #[test]
    fn the_longest_stalled_go_first_and_no_more_than_must() {
        let start = start();
        let (mut holdings, keys) = stalled(32, start);
        let later = start + Duration::from_secs(5);
        let reader = holdings.open(later);
        holdings.handle_arrival(reader, MIB, later);
        let mut gone = Vec::new();
        while let Some(key) = keys.iter().find(|key| holdings.verdict(**key, None, later).is_some())
        {
            gone.push(*key);
            holdings.close(*key);
        }
        // 33 MiB held.
        assert_eq!(gone, keys[..33 - limits::HELD_BYTES / MIB]);
        assert_eq!(holdings.verdict(reader, None, later), None);
    }

    #[test]
    fn a_stalled_reader_has_its_time_while_there_is_room() {
        let start = start();
        let (mut holdings, keys) = stalled(1, start);
        let patience = Some(limits::STALL_TIMEOUT);
        let early = start + limits::STALL_TIMEOUT.mul_f64(0.9);
        assert_eq!(holdings.verdict(keys[0], patience, early), None);
        let later = start + limits::STALL_TIMEOUT;
        assert_eq!(holdings.verdict(keys[0], patience, later), Some("STALL_TIMEOUT"));
        assert_eq!(holdings.verdict(keys[0], None, later), None, "a terminal may be stopped");
        holdings.handle_read(keys[0], 1, later);
        assert_eq!(holdings.verdict(keys[0], patience, later), None, "it reads on");
        holdings.handle_read(keys[0], MIB, later);
        let much_later = later + Duration::from_secs(3600);
        assert_eq!(holdings.verdict(keys[0], patience, much_later), None, "it waits for more");
    }

    #[test]
    fn slow_readers_come_down_to_their_share_and_are_not_cut() {
        let start = start();
        let (mut holdings, keys) = stalled(100, start);
        let mut windows = vec![0; keys.len()];
        // Each reads a little each second, and the sender fills every window at once.
        for second in 1..200 {
            let now = start + Duration::from_secs(second);
            for (key, window) in keys.iter().zip(&mut windows) {
                holdings.handle_read(*key, 16 * 1024, now);
                *window += holdings.handle_release(*key, 16 * 1024);
                holdings.handle_arrival(*key, std::mem::take(window), now);
                assert_eq!(holdings.verdict(*key, Some(limits::STALL_TIMEOUT), now), None);
            }
        }
        assert!(holdings.bytes <= limits::HELD_BYTES, "{}", holdings.bytes);
        assert!(holdings.bytes > limits::HELD_BYTES / 4, "{}: room is used", holdings.bytes);
    }

    #[test]
    fn a_message_on_its_way_is_no_load() {
        let start = start();
        let mut holdings = Holdings::default();
        let keys: Vec<u64> = (0..1_000).map(|_| holdings.open(start)).collect();
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
        let key = holdings.open(start);
        for _ in 0..1_000 {
            holdings.handle_arrival(key, MIB, start);
            holdings.handle_read(key, MIB, start);
            assert_eq!(holdings.handle_release(key, MIB), MIB);
        }
    }

    #[test]
    fn what_was_withheld_comes_back_when_there_is_room() {
        let start = start();
        let (mut holdings, keys) = stalled(20, start);
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
