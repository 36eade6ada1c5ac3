//! Immutable look-up tables. They hold what was configured and nothing a visitor sent, so a visitor
//! can't make them slow; the longest search is known when they are built.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::steps;

/// Texts, each once, in one piece of memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Texts {
    /// Each text behind its length.
    bytes: Box<[u8]>,
}

/// A text of [`Texts`]; equal texts have equal numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Text(u32);

impl Texts {
    pub(crate) fn get(&self, text: Text) -> &[u8] {
        text_in(&self.bytes, text)
    }
}

fn text_in(bytes: &[u8], text: Text) -> &[u8] {
    let head = bytes.get(text.0 as usize..).and_then(|rest| rest.split_first_chunk());
    let Some((len, rest)) = head else {
        return &[];
    };
    rest.get(..u32::from_le_bytes(*len) as usize).unwrap_or_default()
}

/// Gathers texts.
#[derive(Debug, Default)]
pub(crate) struct TextsBuilder<'a> {
    known: HashMap<&'a str, Text, FixedState>,
    bytes: Vec<u8>,
}

impl<'a> TextsBuilder<'a> {
    pub(crate) fn text(&mut self, text: &'a str) -> Text {
        let bytes = &mut self.bytes;
        *self.known.entry(text).or_insert_with(|| {
            // INVARIANT: documents are smaller than 4 GiB.
            let at = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
            Text(at)
        })
    }

    pub(crate) fn get(&self, text: Text) -> &[u8] {
        text_in(&self.bytes, text)
    }

    pub(crate) fn finish(self) -> Texts {
        Texts { bytes: self.bytes.into() }
    }
}

/// Finds numbers by texts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// The length is a power of two.
    slots: Box<[Slot]>,
    longest_search: u32,
}

/// What lies under a hash, of which half is kept.
#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u32,
    /// [`FREE`] if nothing lies here.
    text: Text,
    value: u32,
}

impl Table {
    /// Files values under texts, each with its hash. A text may come more than once.
    pub(crate) fn new(entries: impl ExactSizeIterator<Item = (u64, Text, u32)>) -> Self {
        // At most half full, so that searches stay short.
        let len = (entries.len() * 2).next_power_of_two().max(2);
        let free = Slot { hash: 0, text: FREE, value: 0 };
        let mut table = Self { slots: vec![free; len].into_boxed_slice(), longest_search: 1 };
        for (hash, text, value) in entries {
            table.insert(hash, text, value);
        }
        table
    }

    /// What may lie under a hash; the caller compares the texts.
    pub(crate) fn candidates(&self, hash: u64) -> impl Iterator<Item = (Text, u32)> {
        let (short, mut at) = split(hash);
        let mask = self.slots.len().wrapping_sub(1);
        std::iter::from_fn(move || {
            loop {
                // INVARIANT: at most half of the slots are taken, so there is an end to it.
                let slot = self.slots.get(at & mask)?;
                steps::take(1);
                at = at.wrapping_add(1);
                if slot.text == FREE {
                    return None;
                }
                if slot.hash == short {
                    return Some((slot.text, slot.value));
                }
            }
        })
    }

    /// What lies under a text.
    pub(crate) fn find(&self, texts: &Texts, hash: u64, text: &[u8]) -> Option<u32> {
        let mut candidates = self.candidates(hash);
        candidates.find(|(known, _)| texts.get(*known) == text).map(|(_, value)| value)
    }

    /// How many slots a search looks at, at most.
    pub(crate) fn longest_search(&self) -> u32 {
        self.longest_search
    }

    fn insert(&mut self, hash: u64, text: Text, value: u32) {
        let (short, start) = split(hash);
        let mask = self.slots.len() - 1;
        for step in 0..self.slots.len() {
            if let Some(slot) = self.slots.get_mut(start.wrapping_add(step) & mask)
                && slot.text == FREE
            {
                *slot = Slot { hash: short, text, value };
                let steps = u32::try_from(step).unwrap_or(u32::MAX);
                self.longest_search = self.longest_search.max(steps.saturating_add(2));
                return;
            }
        }
    }
}

/// The same for the same text, in every run.
#[inline]
pub(crate) fn hash_of(text: &[u8]) -> u64 {
    hash(text, 0)
}

/// The same for texts that differ in the case of ASCII letters alone. Some others share it too.
#[inline]
pub(crate) fn folded_hash_of(text: &[u8]) -> u64 {
    hash(text, 0x2020_2020_2020_2020)
}

/// Eight bytes at a time, with these bits set in each. Nobody but the administrator chooses what is in
/// a table, so mixing well is enough.
#[inline]
fn hash(text: &[u8], set: u64) -> u64 {
    let mut state = text.len() as u64;
    let mut mix = |word: u64| {
        state = (state.rotate_left(23) ^ (word | set)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    };
    let (words, rest) = text.as_chunks::<8>();
    for word in words {
        mix(u64::from_le_bytes(*word));
    }
    if let (Some(last), false) = (text.last_chunk::<8>(), rest.is_empty()) {
        mix(u64::from_le_bytes(*last));
    } else if let (Some(first), Some(last)) = (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        mix(u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last)));
    } else {
        mix(rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
    }
    state ^= state >> 32;
    state = state.wrapping_mul(0xd6e8_feb8_6659_fd93);
    state ^ state >> 32
}

/// The half that is kept for comparison, and where to begin the search.
#[expect(clippy::cast_possible_truncation, reason = "halves of a hash")]
fn split(hash: u64) -> (u32, usize) {
    ((hash >> 32) as u32, hash as u32 as usize)
}

/// No text: there are fewer than four billion bytes.
const FREE: Text = Text(u32::MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_filed_and_nothing_else() {
        let names: Vec<_> = (0..1_000).map(|n| format!("text {n}")).collect();
        let mut builder = TextsBuilder::default();
        let filed: Vec<_> = names.iter().map(|name| builder.text(name)).collect();
        assert_eq!(builder.text("text 7"), filed[7]);
        let texts = builder.finish();
        let entries = names.iter().zip(&filed).zip(0..1_000);
        let table = Table::new(entries.map(|((n, t), at)| (hash_of(n.as_bytes()), *t, at)));
        let find = |name: &str| table.find(&texts, hash_of(name.as_bytes()), name.as_bytes());
        for (name, at) in names.iter().zip(0..) {
            assert_eq!(find(name), Some(at));
        }
        assert_eq!(find("text 1000"), None);
        assert_eq!(find(""), None);
        assert_eq!(Table::default().find(&texts, 0, b"x"), None);
    }

    #[test]
    fn equal_hashes_are_told_apart() {
        let mut builder = TextsBuilder::default();
        let [a, b, c] = ["a", "b", "c"].map(|name| builder.text(name));
        let texts = builder.finish();
        let table = Table::new([(7, a, 0), (7, b, 1), (7, c, 2)].into_iter());
        assert_eq!(table.find(&texts, 7, b"c"), Some(2));
        assert_eq!(table.find(&texts, 7, b"d"), None);
        assert!(table.longest_search() >= 4);
    }

    #[test]
    fn letter_case_does_not_change_a_folded_hash() {
        let hash = |text: &str| folded_hash_of(text.as_bytes());
        assert_eq!(hash("Ops@Example.JP-and-more"), hash("oPS@example.jp-AND-more"));
        assert_ne!(hash("ops"), hash("dev"));
        assert_ne!(hash("ops"), hash("ops\0"));
        assert_ne!(hash("ops"), hash("opsops"));
    }
}
