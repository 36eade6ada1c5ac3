//! Finds the application that protects a host and path, however many there are.

use std::{cmp::Reverse, collections::HashMap};

use foldhash::fast::FixedState;

use crate::{
    application::Application,
    destination::{Destination, HostPattern, LetterCase},
    error::{Error, Kind},
    limits,
    path::RequestPath,
    steps,
    table::{Table, Texts, TextsBuilder, hash_of},
};

/// Destinations by host.
///
/// Exact hosts are one look away. A pattern with wildcards is filed under the number of its labels
/// and the literal labels at its right end: looking up a host then means one look for each of its
/// labels, and a longer literal end is always the more specific one.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// For an exact host, the application if one has it whole ([`WHOLE_HOST`]), else the bucket.
    exact: Table,
    /// Buckets of patterns, by the hash of their literal end.
    patterns: Table,
    /// All entries but those of exact and whole hosts; those of one bucket stand together, most
    /// specific first.
    entries: Box<[Entry]>,
    /// Where each bucket begins, and at the end how many entries there are.
    starts: Box<[u32]>,
    /// For each number of labels, whether a pattern has so many.
    pattern_label_counts: u128,
    worst_case: WorstCase,
}

/// What a search takes at worst, and how many applications it finds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WorstCase {
    pub(crate) steps: u64,
    pub(crate) applications: u64,
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
    /// Whether the path bears on which application it is.
    pub(crate) has_paths: bool,
}

impl Index {
    /// Files all destinations of applications that protect hosts, and notes which claim the same
    /// requests with the same precision.
    pub(crate) fn build<'a>(
        applications: &'a [Application],
        texts: &mut TextsBuilder<'a>,
        faults: &mut Vec<Error>,
    ) -> Self {
        let mut builder = Builder::default();
        let mut exact = Vec::with_capacity(applications.len());
        let mut patterns = Vec::new();
        for bucket in gather(applications) {
            let host = bucket.host;
            let text = texts.text(host.literal_suffix());
            let hash = hash_of(host.literal_suffix().as_bytes());
            let filed = if host.has_wildcard() { &mut patterns } else { &mut exact };
            if let [(destination, application)] = &*bucket.destinations
                && !host.has_wildcard()
                && destination.path().is_whole_host()
            {
                filed.push((hash, text, WHOLE_HOST | application));
            } else {
                filed.push((hash, text, builder.bucket(bucket, faults)));
            }
        }
        let longest_exact =
            exact.iter().filter_map(|(_, _, at)| builder.len_of(*at)).max().unwrap_or(0);
        let in_patterns =
            patterns.iter().filter_map(|(_, _, at)| builder.len_of(*at)).sum::<usize>();
        let mut index = Self {
            exact: Table::new(exact.into_iter()),
            patterns: Table::new(patterns.into_iter()),
            entries: builder.entries.into(),
            starts: builder.starts.into(),
            pattern_label_counts: builder.pattern_label_counts,
            worst_case: WorstCase::default(),
        };
        index.worst_case = index.worst_case((longest_exact + in_patterns) as u64);
        index
    }

    pub(crate) fn cost(&self) -> WorstCase {
        self.worst_case
    }

    /// With so many entries that could be looked at for one host.
    fn worst_case(&self, entries: u64) -> WorstCase {
        let longest_path = 3 * limits::MAX_PATH_BYTES + 1;
        let costliest = self.entries.iter().map(|entry| {
            let pattern = entry.destination.path();
            let globs =
                if pattern.has_wildcard() { 2 * (pattern.len() + 3) * longest_path } else { 0 };
            (globs + 1) as u64
        });
        let each_entry = costliest.max().unwrap_or(0);
        let labels = if self.pattern_label_counts == 0 { 0 } else { MAX_LABELS };
        let each_pass =
            labels * u64::from(self.patterns.longest_search()) + entries.saturating_mul(each_entry);
        let has_paths = self.entries.iter().any(|entry| !entry.destination.path().is_whole_host());
        let (passes, rivals) = if has_paths { (2 + 2 * MAX_READINGS, entries) } else { (2, 0) };
        WorstCase {
            steps: u64::from(self.exact.longest_search()) + each_pass.saturating_mul(passes),
            applications: 1 + rivals,
        }
    }

    /// Finds the application by the canonical path alone.
    pub(crate) fn find(&self, texts: &Texts, host: &str, path: &RequestPath<'_>) -> Option<usize> {
        match self.exact(texts, host) {
            Exact::Whole(application) => Some(application),
            Exact::Bucket(bucket) => self
                .entries(texts, host, bucket)
                .find(|entry| {
                    entry.destination.path().covers(path.canonical(), LetterCase::Matters)
                })
                .map(|entry| entry.application as usize),
        }
    }

    /// Finds the application, and those that other readings of the path would choose.
    pub(crate) fn select(&self, texts: &Texts, host: &str, path: &RequestPath<'_>) -> Selection {
        let mut selection = Selection { canonical: None, rivals: Vec::new(), has_paths: false };
        // Most hosts have one application that holds for all their paths.
        let bucket = match self.exact(texts, host) {
            Exact::Whole(application) => {
                selection.canonical = Some(application);
                return selection;
            }
            Exact::Bucket(bucket) => bucket,
        };
        let mut entries = self.entries(texts, host, bucket).peekable();
        let is_whole_host =
            entries.peek().is_none_or(|entry| entry.destination.path().is_whole_host());
        selection.canonical = entries
            .find(|entry| entry.destination.path().covers(path.canonical(), LetterCase::Matters))
            .map(|entry| entry.application as usize);
        if is_whole_host {
            return selection;
        }
        selection.has_paths = true;
        let entries = || self.entries(texts, host, bucket);
        if path.is_plain() {
            add_rivals(entries, path.canonical(), LetterCase::Ignored, &mut selection);
            return selection;
        }
        for reading in path.readings() {
            for case in [LetterCase::Matters, LetterCase::Ignored] {
                add_rivals(entries, &reading, case, &mut selection);
            }
        }
        selection
    }

    fn exact(&self, texts: &Texts, host: &str) -> Exact<'_> {
        match self.exact.find(texts, hash_of(host.as_bytes()), host.as_bytes()) {
            Some(whole) if whole & WHOLE_HOST != 0 => Exact::Whole((whole & !WHOLE_HOST) as usize),
            Some(bucket) => Exact::Bucket(self.bucket(bucket)),
            None => Exact::Bucket(&[]),
        }
    }

    /// The entries whose host covers `host`, most specific first; those of its own bucket are given.
    fn entries<'a>(
        &'a self,
        texts: &'a Texts,
        host: &'a str,
        exact: &'a [Entry],
    ) -> impl Iterator<Item = &'a Entry> {
        let has_patterns = self.pattern_label_counts != 0
            && self.pattern_label_counts & label_bit(label_count(host)) != 0;
        let suffixes = has_patterns.then(|| shorter_suffixes(host)).into_iter().flatten();
        let covering = suffixes
            .flat_map(move |suffix| self.buckets_of(texts, suffix))
            .filter(move |entry| entry.destination.host().covers(host));
        exact.iter().inspect(|_| steps::take(1)).chain(covering)
    }

    /// The entries of patterns that end in these labels. Those with other numbers of labels are
    /// among them; the caller sees that they do not cover its host.
    fn buckets_of<'a>(
        &'a self,
        texts: &'a Texts,
        suffix: &'a str,
    ) -> impl Iterator<Item = &'a Entry> {
        self.patterns
            .candidates(hash_of(suffix.as_bytes()))
            .filter(move |(text, _)| texts.get(*text) == suffix.as_bytes())
            .flat_map(|(_, bucket)| self.bucket(bucket))
            .inspect(|_| steps::take(1))
    }

    fn bucket(&self, at: u32) -> &[Entry] {
        let at = at as usize;
        match (self.starts.get(at), self.starts.get(at + 1)) {
            (Some(&start), Some(&end)) => {
                self.entries.get(start as usize..end as usize).unwrap_or_default()
            }
            _ => &[],
        }
    }
}

enum Exact<'a> {
    /// One application has the host whole.
    Whole(usize),
    Bucket(&'a [Entry]),
}

/// Destinations whose hosts have the same literal end and as many labels.
struct Bucket<'a> {
    host: HostPattern<'a>,
    destinations: Vec<(&'a Destination, u32)>,
}

/// The buckets, in the order in which their first destinations come.
fn gather(applications: &[Application]) -> Vec<Bucket<'_>> {
    let mut known: HashMap<(usize, &str), usize, FixedState> = HashMap::default();
    known.reserve(applications.len());
    let mut buckets: Vec<Bucket<'_>> = Vec::with_capacity(applications.len());
    for (application, position) in applications.iter().zip(0..) {
        if !application.kind.protects_hosts() {
            continue;
        }
        for destination in &application.destinations {
            let host = destination.host();
            let next = buckets.len();
            let at = *known.entry((host.label_count(), host.literal_suffix())).or_insert(next);
            match buckets.get_mut(at) {
                Some(bucket) => bucket.destinations.push((destination, position)),
                None => buckets.push(Bucket { host, destinations: vec![(destination, position)] }),
            }
        }
    }
    buckets
}

#[derive(Debug)]
struct Builder {
    entries: Vec<Entry>,
    starts: Vec<u32>,
    pattern_label_counts: u128,
    rank: u32,
}

impl Default for Builder {
    fn default() -> Self {
        Self { entries: Vec::new(), starts: vec![0], pattern_label_counts: 0, rank: 0 }
    }
}

impl Builder {
    /// How many entries a bucket has; nothing where one application has the host whole.
    fn len_of(&self, bucket: u32) -> Option<usize> {
        let at = bucket as usize;
        Some((self.starts.get(at + 1)? - self.starts.get(at)?) as usize)
    }

    /// Sorts a bucket, and gives its number.
    fn bucket(&mut self, bucket: Bucket<'_>, faults: &mut Vec<Error>) -> u32 {
        if bucket.host.has_wildcard() {
            self.pattern_label_counts |= label_bit(bucket.host.label_count());
        }
        let entry = |(destination, application): (&Destination, u32)| Entry {
            destination: destination.clone(),
            application,
            rank: 0,
        };
        let mut entries: Vec<_> = bucket.destinations.into_iter().map(entry).collect();
        if entries.len() > 1 {
            entries.sort_by_cached_key(|entry| {
                (Reverse(entry.destination.specificity()), entry.destination.to_string())
            });
            check_for_duplicates(&entries, faults);
        }
        let same =
            |a: &Entry, b: &Entry| a.destination.specificity() == b.destination.specificity();
        for run in entries.chunk_by_mut(same) {
            for entry in run {
                entry.rank = self.rank;
            }
            self.rank = self.rank.wrapping_add(1);
        }
        self.entries.append(&mut entries);
        let number = self.starts.len() - 1;
        self.starts.push(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        u32::try_from(number).unwrap_or(u32::MAX)
    }
}

/// Adds what one reading chooses; without regard to letter case it can be several.
fn add_rivals<'a, I: Iterator<Item = &'a Entry>>(
    entries: impl Fn() -> I,
    path: &str,
    case: LetterCase,
    selection: &mut Selection,
) {
    let mut add = |rival| {
        if rival != selection.canonical && !selection.rivals.contains(&rival) {
            selection.rivals.push(rival);
        }
    };
    let mut covering = entries().filter(|entry| entry.destination.path().covers(path, case));
    let Some(first) = covering.next() else {
        return add(None);
    };
    add(Some(first.application as usize));
    for other in covering.take_while(|other| other.rank == first.rank) {
        add(Some(other.application as usize));
    }
}

fn label_count(host: &str) -> usize {
    host.bytes().filter(|&byte| byte == b'.').count() + 1
}

fn label_bit(labels: usize) -> u128 {
    1 << labels.min(127)
}

/// What follows each dot of the host, then nothing.
fn shorter_suffixes(host: &str) -> impl Iterator<Item = &str> {
    let after_dots = host.match_indices('.').map(|(at, _)| host.get(at + 1..).unwrap_or_default());
    after_dots.chain(std::iter::once(""))
}

/// A host of 253 bytes has no more; each has a look for it.
const MAX_LABELS: u64 = 127;

/// The canonical form of a path, and each of three degrees of decoding with each set of liberties.
const MAX_READINGS: u64 = 1 + 3 * 16;

/// Marks the number of an application among those of buckets; there are fewer of either.
const WHOLE_HOST: u32 = 1 << 31;

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
