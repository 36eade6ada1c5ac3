//! Immutable look-up tables. They hold what was configured and nothing a visitor sent, so a visitor
//! can't make them slow; the longest search is known when they are built.

use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;

/// Finds positions by hash; the caller compares what lies there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// Hash and position; a free slot holds [`FREE`]. The length is a power of two.
    slots: Box<[(u32, u32)]>,
    longest_search: u32,
}

impl Table {
    /// Files positions 0, 1, 2.. under these hashes.
    pub(crate) fn new(hashes: impl ExactSizeIterator<Item = u64>) -> Self {
        // At most half full, so that searches stay short.
        let len = (hashes.len() * 2).next_power_of_two().max(2);
        let mut table = Self { slots: vec![(0, FREE); len].into_boxed_slice(), longest_search: 1 };
        for (position, hash) in (0..).zip(hashes) {
            table.insert(hash, position);
        }
        table
    }

    /// The position that lies under this hash and that `is_it` confirms.
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let (short, start) = split(hash);
        let mask = self.slots.len().wrapping_sub(1);
        for step in 0..self.slots.len() {
            let &(known, position) = self.slots.get(start.wrapping_add(step) & mask)?;
            if position == FREE {
                return None;
            }
            if known == short && is_it(position) {
                return Some(position);
            }
        }
        None
    }

    /// How many slots a search looks at, at most.
    pub(crate) fn longest_search(&self) -> u32 {
        self.longest_search
    }

    fn insert(&mut self, hash: u64, position: u32) {
        let (short, start) = split(hash);
        let mask = self.slots.len() - 1;
        for step in 0..self.slots.len() {
            if let Some(slot) = self.slots.get_mut(start.wrapping_add(step) & mask)
                && slot.1 == FREE
            {
                *slot = (short, position);
                let steps = u32::try_from(step).unwrap_or(u32::MAX);
                self.longest_search = self.longest_search.max(steps.saturating_add(2));
                return;
            }
        }
    }
}

/// Texts, each once, known by small numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Symbols {
    bytes: Box<str>,
    /// Where each text ends; it begins where the one before ends.
    ends: Box<[u32]>,
    table: Table,
}

impl Symbols {
    /// The number of a text.
    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        self.table.find(hash_of(text), |symbol| self.text(symbol) == text)
    }

    pub(crate) fn longest_search(&self) -> u32 {
        self.table.longest_search()
    }

    fn text(&self, symbol: u32) -> &str {
        let at = symbol as usize;
        let end = self.ends.get(at).map_or(0, |&end| end as usize);
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        self.bytes.get(start.unwrap_or(0) as usize..end).unwrap_or_default()
    }
}

/// Gives numbers to texts.
#[derive(Debug, Default)]
pub(crate) struct SymbolsBuilder {
    numbers: std::collections::HashMap<Box<str>, u32, FixedState>,
    order: Vec<Box<str>>,
}

impl SymbolsBuilder {
    pub(crate) fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = u32::try_from(self.order.len()).unwrap_or(u32::MAX);
        self.numbers.insert(text.into(), number);
        self.order.push(text.into());
        number
    }

    pub(crate) fn finish(self) -> Symbols {
        let mut bytes = String::new();
        let mut ends = Vec::with_capacity(self.order.len());
        for text in &self.order {
            bytes.push_str(text);
            // INVARIANT: documents are smaller than 4 GiB.
            ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        }
        let table = Table::new(self.order.iter().map(hash_of));
        Symbols { bytes: bytes.into(), ends: ends.into(), table }
    }
}

/// A set of numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Set {
    values: Box<[u64]>,
    table: Table,
}

impl Set {
    pub(crate) fn new(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        values.dedup();
        let table = Table::new(values.iter().map(|&value| hash_of(value)));
        Self { values: values.into(), table }
    }

    pub(crate) fn contains(&self, value: u64) -> bool {
        self.table.find(hash_of(value), |at| self.values.get(at as usize) == Some(&value)).is_some()
    }

    pub(crate) fn longest_search(&self) -> u32 {
        self.table.longest_search()
    }
}

/// The same for the same value, in every run.
pub(crate) fn hash_of(value: impl std::hash::Hash) -> u64 {
    FixedState::with_seed(0x5e_6b_6d_6f_72_69).hash_one(value)
}

/// The half that is kept for comparison, and where to begin the search.
#[expect(clippy::cast_possible_truncation, reason = "halves of a hash")]
fn split(hash: u64) -> (u32, usize) {
    ((hash >> 32) as u32, hash as u32 as usize)
}

/// No position: tables hold fewer than four billion.
const FREE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_filed_and_nothing_else() {
        let mut builder = SymbolsBuilder::default();
        let texts: Vec<_> = (0..1_000).map(|n| format!("text {n}")).collect();
        let numbers: Vec<_> = texts.iter().map(|text| builder.number(text)).collect();
        assert_eq!(builder.number("text 7"), numbers[7]);
        let symbols = builder.finish();
        for (text, number) in texts.iter().zip(&numbers) {
            assert_eq!(symbols.find(text), Some(*number));
        }
        assert_eq!(symbols.find("text 1000"), None);
        assert_eq!(symbols.find(""), None);
        assert_eq!(Symbols::default().find("x"), None);
    }

    #[test]
    fn equal_hashes_are_told_apart() {
        let table = Table::new([7, 7, 7].into_iter());
        assert_eq!(table.find(7, |position| position == 2), Some(2));
        assert_eq!(table.find(7, |_| false), None);
        assert!(table.longest_search() >= 4);
    }

    #[test]
    fn sets_hold_their_values() {
        let set = Set::new(vec![3, 1, u64::MAX, 3]);
        assert!(set.contains(3) && set.contains(1) && set.contains(u64::MAX));
        assert!(!set.contains(2) && !Set::new(Vec::new()).contains(0));
    }
}
