//! Finds the application that protects a host and path, however many there are.

use std::{cmp::Reverse, collections::HashMap};

use crate::{
    application::Application,
    destination::{Destination, LetterCase},
    error::{Error, Kind},
    path::RequestPath,
};

/// Destinations by host.
///
/// A pattern is filed under the number of its labels and the literal labels at its right end; an
/// exact host is the case in which these are all. Looking up a host then means one look for each
/// of its labels, and a longer literal end is always the more specific one.
#[derive(Debug, Default)]
pub(crate) struct Index {
    by_label_count: Vec<HashMap<String, Vec<Entry>>>,
}

/// One destination of one application, which is known by its position in the list.
#[derive(Debug)]
struct Entry {
    destination: Destination,
    application: usize,
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
    /// Files all destinations.
    ///
    /// # Errors
    ///
    /// When two applications claim the same request with the same precision.
    pub(crate) fn build(applications: &[Application]) -> Result<Self, Error> {
        let mut index = Self::default();
        for (position, application) in applications.iter().enumerate() {
            for destination in &application.destinations {
                index.insert(destination.clone(), position);
            }
        }
        for bucket in index.by_label_count.iter_mut().flat_map(HashMap::values_mut) {
            bucket.sort_by_cached_key(|entry| {
                (Reverse(entry.destination.specificity()), entry.destination.to_string())
            });
            check_for_duplicates(bucket, applications)?;
        }
        Ok(index)
    }

    /// Finds the application by the canonical path alone.
    pub(crate) fn find(&self, host: &str, path: &RequestPath<'_>) -> Option<usize> {
        self.entries(host)
            .find(|entry| entry.destination.path().covers(path.canonical(), LetterCase::Matters))
            .map(|entry| entry.application)
    }

    /// Finds the application, and those that other readings of the path would choose.
    pub(crate) fn select(&self, host: &str, path: &RequestPath<'_>) -> Selection {
        let mut selection = Selection { canonical: self.find(host, path), rivals: Vec::new() };
        let is_path_scoped = self
            .entries(host)
            .next()
            .is_some_and(|entry| !entry.destination.path().is_whole_host());
        if !is_path_scoped {
            return selection;
        }
        for reading in path.readings() {
            for case in [LetterCase::Matters, LetterCase::Ignored] {
                self.add_rivals(host, &reading, case, &mut selection);
            }
        }
        selection
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
        add(Some(first.application));
        let rank = first.destination.specificity();
        for equal in covering.take_while(|entry| entry.destination.specificity() == rank) {
            add(Some(equal.application));
        }
    }

    /// The entries whose host covers `host`, most specific first.
    fn entries<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a Entry> {
        let label_count = host.split('.').count();
        self.by_label_count
            .get(label_count)
            .into_iter()
            .flat_map(move |buckets| suffixes(host).filter_map(|suffix| buckets.get(suffix)))
            .flatten()
            .filter(move |entry| entry.destination.host().covers(host))
    }

    fn insert(&mut self, destination: Destination, application: usize) {
        let label_count = destination.host().label_count();
        if self.by_label_count.len() <= label_count {
            self.by_label_count.resize_with(label_count + 1, HashMap::new);
        }
        if let Some(buckets) = self.by_label_count.get_mut(label_count) {
            let suffix = destination.host().literal_suffix();
            buckets.entry(suffix).or_default().push(Entry { destination, application });
        }
    }
}

/// The host, then what follows each of its dots, then nothing.
fn suffixes(host: &str) -> impl Iterator<Item = &str> {
    let after_dots = host.match_indices('.').map(|(at, _)| host.get(at + 1..).unwrap_or_default());
    std::iter::once(host).chain(after_dots).chain(std::iter::once(""))
}

fn check_for_duplicates(bucket: &[Entry], applications: &[Application]) -> Result<(), Error> {
    for run in bucket.chunk_by(|a, b| a.destination.specificity() == b.destination.specificity()) {
        for (position, first) in run.iter().enumerate() {
            // Without wildcards only equal patterns overlap, and those stand side by side.
            let has_wildcard = first.destination.to_string().contains('*');
            let reach = if has_wildcard { run.len() } else { 1 };
            for second in run.iter().skip(position + 1).take(reach) {
                if first.application != second.application
                    && first.destination.overlaps(&second.destination)
                {
                    return Err(duplicate(first, second, applications));
                }
            }
        }
    }
    Ok(())
}

fn duplicate(first: &Entry, second: &Entry, applications: &[Application]) -> Error {
    let name = |entry: &Entry| {
        applications.get(entry.application).map(|a| a.name.clone()).unwrap_or_default()
    };
    Error::from(Kind::DuplicateDestination {
        first: second.destination.to_string(),
        second: first.destination.to_string(),
        other: name(first),
    })
    .at(format!("application `{}`", name(second)))
}
