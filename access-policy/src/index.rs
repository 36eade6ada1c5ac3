//! Finds the application that protects a host and path, however many there are.

use std::{cmp::Reverse, collections::HashMap};

use foldhash::fast::FixedState;

use crate::{
    application::Application,
    destination::{Destination, LetterCase},
    error::{Error, Kind},
    path::RequestPath,
    table::{Table, hash_of},
};

/// Destinations by host.
///
/// A pattern is filed under the number of its labels and the literal labels at its right end; an
/// exact host is the case in which these are all. Looking up a host then means one look for each
/// of its labels, and a longer literal end is always the more specific one.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// All entries; those of one bucket stand together, most specific first.
    entries: Box<[Entry]>,
    /// Where each bucket begins, and at the end how many entries there are.
    starts: Box<[u32]>,
    table: Table,
    /// For each number of labels, whether a pattern with a wildcard has so many.
    wildcard_label_counts: u128,
}

/// One destination of one application, which is known by its position in the list.
#[derive(Debug)]
struct Entry {
    destination: Destination,
    application: u32,
    /// Equal for neighbours that are equally specific.
    rank: u32,
}

/// The applications under which a request may fall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selection {
    /// By the canonical path.
    pub(crate) canonical: Option<usize>,
    /// By other readings of the path, where they differ from the canonical one.
    pub(crate) rivals: Vec<Option<usize>>,
}

impl Index {
    /// Files all destinations of applications that protect hosts, and notes which claim the same
    /// requests with the same precision.
    pub(crate) fn build(applications: &[Application], faults: &mut Vec<Error>) -> Self {
        let mut buckets: HashMap<(usize, &str), Vec<Entry>, FixedState> = HashMap::default();
        for (application, position) in applications.iter().zip(0..) {
            if !application.kind.protects_hosts() {
                continue;
            }
            for destination in &application.destinations {
                let host = destination.host();
                let key = (host.label_count(), host.literal_suffix());
                let destination = destination.clone();
                let entry = Entry { destination, application: position, rank: 0 };
                buckets.entry(key).or_default().push(entry);
            }
        }
        let mut buckets: Vec<_> = buckets.into_iter().collect();
        // In a fixed order, so that two builds are equal.
        buckets.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let table = Table::new(buckets.iter().map(|(key, _)| hash_of(key)));
        let (mut entries, mut starts) = (Vec::new(), vec![0]);
        let (mut wildcard_label_counts, mut rank) = (0, 0_u32);
        for ((labels, _), mut bucket) in buckets {
            if bucket.len() > 1 {
                bucket.sort_by_cached_key(|entry| {
                    (Reverse(entry.destination.specificity()), entry.destination.to_string())
                });
                check_for_duplicates(&bucket, faults);
            }
            if bucket.iter().any(|entry| entry.destination.host().has_wildcard()) {
                wildcard_label_counts |= 1_u128 << labels.min(127);
            }
            let same =
                |a: &Entry, b: &Entry| a.destination.specificity() == b.destination.specificity();
            for run in bucket.chunk_by_mut(same) {
                for entry in run {
                    entry.rank = rank;
                }
                rank = rank.wrapping_add(1);
            }
            entries.append(&mut bucket);
            starts.push(u32::try_from(entries.len()).unwrap_or(u32::MAX));
        }
        Self { entries: entries.into(), starts: starts.into(), table, wildcard_label_counts }
    }

    /// Finds the application by the canonical path alone.
    pub(crate) fn find(&self, host: &str, path: &RequestPath<'_>) -> Option<usize> {
        self.entries(host)
            .find(|entry| entry.destination.path().covers(path.canonical(), LetterCase::Matters))
            .map(|entry| entry.application as usize)
    }

    /// Finds the application, and those that other readings of the path would choose.
    pub(crate) fn select(&self, host: &str, path: &RequestPath<'_>) -> Selection {
        let mut selection = Selection { canonical: None, rivals: Vec::new() };
        let mut entries = self.entries(host).peekable();
        let is_whole_host =
            entries.peek().is_none_or(|entry| entry.destination.path().is_whole_host());
        selection.canonical = entries
            .find(|entry| entry.destination.path().covers(path.canonical(), LetterCase::Matters))
            .map(|entry| entry.application as usize);
        if is_whole_host {
            return selection;
        }
        if path.is_plain() {
            self.add_rivals(host, path.canonical(), LetterCase::Ignored, &mut selection);
            return selection;
        }
        for reading in path.readings() {
            for case in [LetterCase::Matters, LetterCase::Ignored] {
                self.add_rivals(host, &reading, case, &mut selection);
            }
        }
        selection
    }

    /// How many steps the search for an application takes at most.
    pub(crate) fn longest_search(&self) -> u64 {
        let bucket = self.starts.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        // A host has at most 127 labels; each is looked for, and each bucket is gone through.
        let labels = if self.wildcard_label_counts == 0 { 1 } else { 127 };
        labels * (u64::from(self.table.longest_search()) + u64::from(bucket))
    }

    /// Adds what one reading chooses; without regard to letter case it can be several.
    fn add_rivals(&self, host: &str, path: &str, case: LetterCase, selection: &mut Selection) {
        let mut add = |rival| {
            if rival != selection.canonical && !selection.rivals.contains(&rival) {
                selection.rivals.push(rival);
            }
        };
        let mut covering =
            self.entries(host).filter(|entry| entry.destination.path().covers(path, case));
        let Some(first) = covering.next() else {
            return add(None);
        };
        add(Some(first.application as usize));
        for other in covering.take_while(|other| other.rank == first.rank) {
            add(Some(other.application as usize));
        }
    }

    /// The entries whose host covers `host`, most specific first.
    fn entries<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a Entry> {
        let labels = host.bytes().filter(|&byte| byte == b'.').count() + 1;
        let has_wildcards = self.wildcard_label_counts & 1_u128 << labels.min(127) != 0;
        let shorter = has_wildcards.then(|| shorter_suffixes(host)).into_iter().flatten();
        std::iter::once(host)
            .chain(shorter)
            .flat_map(move |suffix| self.bucket(labels, suffix))
            .filter(move |entry| entry.destination.host().covers(host))
    }

    fn bucket(&self, labels: usize, suffix: &str) -> &[Entry] {
        let is_it = |at: u32| {
            self.bucket_at(at).first().is_some_and(|entry| {
                let host = entry.destination.host();
                host.literal_suffix() == suffix && host.label_count() == labels
            })
        };
        let found = self.table.find(hash_of((labels, suffix)), is_it);
        found.map(|at| self.bucket_at(at)).unwrap_or_default()
    }

    fn bucket_at(&self, at: u32) -> &[Entry] {
        let at = at as usize;
        match (self.starts.get(at), self.starts.get(at + 1)) {
            (Some(&start), Some(&end)) => {
                self.entries.get(start as usize..end as usize).unwrap_or_default()
            }
            _ => &[],
        }
    }
}

/// What follows each dot of the host, then nothing.
fn shorter_suffixes(host: &str) -> impl Iterator<Item = &str> {
    let after_dots = host.match_indices('.').map(|(at, _)| host.get(at + 1..).unwrap_or_default());
    after_dots.chain(std::iter::once(""))
}

fn check_for_duplicates(bucket: &[Entry], faults: &mut Vec<Error>) {
    for run in bucket.chunk_by(|a, b| a.destination.specificity() == b.destination.specificity()) {
        for (position, first) in run.iter().enumerate() {
            // Without wildcards only equal patterns overlap, and those stand side by side.
            let has_wildcard = first.destination.as_str().contains('*');
            let reach = if has_wildcard { run.len() } else { 1 };
            for second in run.iter().skip(position + 1).take(reach) {
                if first.application != second.application
                    && first.destination.overlaps(&second.destination)
                {
                    faults.push(duplicate(first, second));
                }
            }
        }
    }
}

fn duplicate(first: &Entry, second: &Entry) -> Error {
    let (first, second) =
        if first.application < second.application { (first, second) } else { (second, first) };
    Error::from(Kind::DuplicateDestination {
        first: second.destination.to_string(),
        second: first.destination.to_string(),
        other: format!("/applications/{}", first.application),
    })
    .at(format!("/applications/{}", second.application))
}
