//! Maps read key by key: what is taken is known, what is left over is a problem.

use std::time::Duration;

use super::{
    duration,
    problem::Report,
    value::{Entry, Kind, Value, quote},
};

/// Where a configuration comes from: its durations and its tolerance differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// YAML by the operator of this machine. Durations are Go's texts; unknown keys are mistakes.
    File,
    /// JSON by the edge. Durations are whole seconds; unknown keys are a newer edge's, and names
    /// are compared without case, as Go compares them.
    Push,
}

/// A map while it is read.
pub(super) struct Map<'v> {
    place: String,
    source: Source,
    entries: Vec<Option<&'v Entry>>,
    known: Vec<&'static str>,
}

/// A value with its full place.
#[derive(Debug, Clone)]
pub(super) struct Place<'v> {
    /// Keys from the top, as in `ingress[2].service`.
    pub(super) path: String,
    pub(super) line: Option<usize>,
    pub(super) source: Source,
    pub(super) value: &'v Value,
}

impl<'v> Map<'v> {
    pub(super) fn open(at: &Place<'v>, report: &mut Report) -> Option<Self> {
        let entries = match &at.value.kind {
            Kind::Map(entries) => entries.iter().map(Some).collect(),
            _ if at.value.is_null() => Vec::new(),
            _ => {
                at.tell(report, &format!("is {}, not a map", at.value.describe()));
                return None;
            }
        };
        Some(Self { place: at.path.clone(), source: at.source, entries, known: Vec::new() })
    }

    /// Takes a key's value. One without a value counts as absent.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Place<'v>> {
        self.known.push(key);
        let source = self.source;
        let matches = |entry: &Entry| match source {
            Source::File => entry.key == key,
            Source::Push => entry.key.eq_ignore_ascii_case(key),
        };
        let mut found = None;
        for slot in &mut self.entries {
            if slot.is_some_and(matches) {
                found = slot.take();
            }
        }
        let entry = found?;
        (!entry.value.is_null()).then(|| Place {
            path: join(&self.place, key),
            line: entry.line,
            source,
            value: &entry.value,
        })
    }

    /// What nobody took: with `known` the names that would have been right as well.
    pub(super) fn left(self) -> (Vec<&'v Entry>, Unknown) {
        let unknown = Unknown { place: self.place, source: self.source, known: self.known };
        (self.entries.into_iter().flatten().collect(), unknown)
    }

    /// Tells of every key that nobody took.
    pub(super) fn finish(self, report: &mut Report) {
        let (entries, unknown) = self.left();
        for entry in entries {
            unknown.tell(entry, &[], report);
        }
    }
}

/// How to speak of a key that nobody knows.
pub(super) struct Unknown {
    place: String,
    source: Source,
    known: Vec<&'static str>,
}

impl Unknown {
    pub(super) fn tell(&self, entry: &Entry, more: &[&'static str], report: &mut Report) {
        if self.source == Source::Push {
            return;
        }
        let known: Vec<_> = self.known.iter().chain(more).copied().collect();
        let advice = match nearest(&entry.key, &known) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("known are `{}`", known.join("`, `")),
        };
        report.tell(join(&self.place, &entry.key), entry.line, format!("is unknown; {advice}"));
    }
}

impl<'v> Place<'v> {
    pub(super) fn whole(value: &'v Value, source: Source) -> Self {
        Self { path: String::new(), line: value.line, source, value }
    }

    pub(super) fn tell(&self, report: &mut Report, what: &str) {
        report.tell(&*self.path, self.line, what);
    }

    fn wrong(&self, wanted: &str, report: &mut Report) {
        self.tell(report, &format!("is {}, not {wanted}", self.value.describe()));
    }

    pub(super) fn text(&self, report: &mut Report) -> Option<&'v str> {
        match &self.value.kind {
            Kind::Text(text) | Kind::Plain(text) => Some(text),
            _ => {
                self.wrong("a text", report);
                None
            }
        }
    }

    pub(super) fn boolean(&self, report: &mut Report) -> Option<bool> {
        let value = match &self.value.kind {
            Kind::Bool(value) => Some(*value),
            // Go's YAML reader takes these for a key that holds a truth value.
            Kind::Plain(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "y" => Some(true),
                "false" | "no" | "off" | "n" => Some(false),
                _ => None,
            },
            _ => None,
        };
        if value.is_none() {
            self.wrong("`true` or `false`", report);
        }
        value
    }

    pub(super) fn number(&self, most: u32, report: &mut Report) -> Option<u32> {
        let value = match &self.value.kind {
            Kind::Number(text) | Kind::Plain(text) => text.parse().ok(),
            _ => None,
        };
        let value = value.filter(|value| *value <= most);
        if value.is_none() {
            self.wrong(&format!("a whole number from 0 to {most}"), report);
        }
        value
    }

    pub(super) fn duration(&self, report: &mut Report) -> Option<Duration> {
        match (self.source, &self.value.kind) {
            (Source::Push, Kind::Number(_)) => {
                self.number(u32::MAX, report).map(|seconds| Duration::from_secs(seconds.into()))
            }
            (Source::Push, _) => {
                self.wrong("a whole number of seconds", report);
                None
            }
            (Source::File, Kind::Plain(text) | Kind::Text(text)) => {
                let duration = duration::parse(text);
                if let Err(what) = &duration {
                    self.tell(report, &format!("is {}, {what}", quote(text)));
                }
                duration.ok()
            }
            (Source::File, _) => {
                self.wrong("a duration such as `30s`", report);
                None
            }
        }
    }

    pub(super) fn list(&self, report: &mut Report) -> Option<Vec<Place<'v>>> {
        let Kind::List(items) = &self.value.kind else {
            self.wrong("a list", report);
            return None;
        };
        let item = |(at, value): (usize, &'v Value)| Place {
            path: format!("{}[{at}]", self.path),
            line: value.line,
            source: self.source,
            value,
        };
        Some(items.iter().enumerate().map(item).collect())
    }

    pub(super) fn texts(&self, report: &mut Report) -> Option<Vec<String>> {
        let items = self.list(report)?;
        items.iter().map(|item| item.text(report).map(str::to_owned)).collect()
    }
}

fn join(place: &str, key: &str) -> String {
    if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") }
}

/// The name that was probably meant.
pub(super) fn nearest(given: &str, known: &[&'static str]) -> Option<&'static str> {
    let given = given.to_ascii_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&given, &name.to_ascii_lowercase());
    let near = known.iter().map(|name| (distance(name), *name)).min()?;
    (near.0 <= (given.chars().count() / 3).max(1)).then_some(near.1)
}
