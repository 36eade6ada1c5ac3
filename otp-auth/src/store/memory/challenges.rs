//! Open challenges of one shard.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use crate::challenge::{CLOCK_TOLERANCE, Challenge, ChallengeId};
use crate::error::Error;
use crate::store::{Inserted, Reserved};
use crate::timestamp::Timestamp;

/// Records lie in places of one vector; the table holds numbers of places, so that its empty slots are
/// small. The places that end in one second are listed together: forgetting looks at nothing else.
#[derive(Debug)]
pub(super) struct Challenges {
    places: HashMap<[u8; 16], u32, BuildHasherDefault<IdHasher>>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    ends: BTreeMap<u64, Vec<u32>>,
    latest: Option<Timestamp>,
    at_most: usize,
}

#[derive(Debug)]
struct Entry {
    challenge: Challenge,
    spent: u8,
    is_used: bool,
}

impl Challenges {
    pub(super) fn new(at_most: usize) -> Self {
        Self {
            places: HashMap::default(),
            entries: Vec::new(),
            free: Vec::new(),
            ends: BTreeMap::new(),
            latest: None,
            at_most,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Notes the time: forgets what has ended, and everything when the clock has stepped back.
    pub(super) fn advance(&mut self, now: Timestamp) -> Timestamp {
        let latest = self.latest.unwrap_or(now);
        if now.plus(CLOCK_TOLERANCE) < latest {
            *self = Self { latest: Some(now), ..Self::new(self.at_most) };
            return now;
        }
        let latest = latest.max(now);
        self.latest = Some(latest);
        // A minute of grace lets the operator's log say "expired" rather than "unknown".
        let horizon = latest.minus(GRACE).as_unix_secs();
        while let Some(second) = self.ends.first_entry().filter(|second| *second.key() < horizon) {
            for place in second.remove() {
                let entry = self.entries.get_mut(place as usize).and_then(Option::take);
                if let Some(entry) = entry {
                    self.places.remove(entry.challenge.id().as_bytes());
                    self.free.push(place);
                }
            }
        }
        latest
    }

    pub(super) fn insert(&mut self, challenge: &Challenge) -> Result<Inserted, Error> {
        if self.places.contains_key(challenge.id().as_bytes()) {
            return Ok(Inserted::Exists);
        }
        let reserve = if challenge.is_known_device { self.at_most / 8 } else { 0 };
        if self.places.len() >= self.at_most + reserve {
            return Err(Error::store_full());
        }
        let entry = Some(Entry { challenge: challenge.clone(), spent: 0, is_used: false });
        let place = if let Some(place) = self.free.pop() {
            self.entries[place as usize] = entry;
            place
        } else {
            let place = u32::try_from(self.entries.len()).map_err(|_| Error::store_full())?;
            self.entries.push(entry);
            place
        };
        self.places.insert(*challenge.id().as_bytes(), place);
        self.ends.entry(challenge.expires().as_unix_secs()).or_default().push(place);
        Ok(Inserted::Inserted)
    }

    pub(super) fn look_up(&mut self, id: ChallengeId, now: Timestamp) -> Option<Challenge> {
        let entry = self.live(id, now).filter(|entry| entry.spent < entry.challenge.tries);
        entry.map(|entry| entry.challenge.clone())
    }

    pub(super) fn reserve(&mut self, id: ChallengeId, now: Timestamp) -> Reserved {
        let Some(entry) = self.entry(id) else { return Reserved::Unknown };
        if entry.is_used {
            return Reserved::Used;
        }
        if entry.challenge.is_dead_at(now) {
            return Reserved::Expired;
        }
        if entry.spent >= entry.challenge.tries {
            return Reserved::Exhausted;
        }
        entry.spent += 1;
        Reserved::Granted { challenge: entry.challenge.clone(), number: entry.spent.into() }
    }

    pub(super) fn consume(&mut self, id: ChallengeId, generation: u32, now: Timestamp) -> bool {
        let entry = self.live(id, now).filter(|e| e.challenge.generation() == generation);
        entry.is_some_and(|entry| {
            entry.is_used = true;
            true
        })
    }

    pub(super) fn replace(&mut self, generation: u32, next: &Challenge, now: Timestamp) -> bool {
        let entry = self.live(next.id(), now).filter(|e| e.challenge.generation() == generation);
        entry.is_some_and(|entry| {
            // INVARIANT: the end stays the first one, whatever the new record says.
            entry.challenge = next.clone().issued_with(&entry.challenge);
            true
        })
    }

    fn entry(&mut self, id: ChallengeId) -> Option<&mut Entry> {
        let place = *self.places.get(id.as_bytes())?;
        self.entries.get_mut(place as usize)?.as_mut()
    }

    fn live(&mut self, id: ChallengeId, now: Timestamp) -> Option<&mut Entry> {
        self.entry(id).filter(|e| !e.is_used && !e.challenge.is_dead_at(now))
    }
}

/// An id is half of an HMAC: nobody chooses it, and its first bytes are a good hash.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// How long a dead challenge is remembered past its end.
const GRACE: Duration = Duration::from_secs(60);
