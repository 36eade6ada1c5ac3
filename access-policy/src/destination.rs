//! The pattern that says which requests an application protects: `host[/path]` with `*`.

use std::{cmp::Reverse, fmt, str::FromStr};

use crate::{
    error::{Error, Kind},
    glob, host, limits, path,
};

/// A host, and optionally a path, either with wildcards.
///
/// In the host a `*` stays inside its label and may stand for nothing, unless it is the whole label:
/// `*.example.com` covers `a.example.com`, neither `example.com` nor `a.b.example.com`. In the path
/// it may span segments. A path covers what lies below it as well: `/eng` covers `/eng/x`, not
/// `/engine`; but `/eng/*` does not cover `/eng`. No path, `/` and `/*` all mean the whole host, and
/// `/eng/` means `/eng`.
///
/// ```
/// use access_policy::Destination;
///
/// let destination = Destination::parse("*.Example.COM/docs/")?;
/// assert_eq!(destination.to_string(), "*.example.com/docs");
/// assert!(Destination::parse("https://example.com").is_err());
/// # Ok::<(), access_policy::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Host and path in normal form.
    text: Box<str>,
    /// How much of it is the host.
    host_len: u8,
    /// The pattern of what lies below the path, where that takes a glob.
    below: Option<Box<str>>,
}

impl Destination {
    /// Reads a pattern of at most 2,048 bytes and 16 wildcards, at most one per label and segment.
    ///
    /// # Errors
    ///
    /// When the pattern has a scheme, port, query or fragment, an illegal host, a path that proxies
    /// and origins read differently, or an escape of a character that needs none or has a meaning
    /// of its own in paths.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::try_parse(text)
            .map_err(|problem| Kind::Destination { text: limits::excerpt(text), problem }.into())
    }

    /// Returns the pattern in normal form.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn host(&self) -> HostPattern<'_> {
        HostPattern(self.text.get(..usize::from(self.host_len)).unwrap_or_default())
    }

    pub(crate) fn path(&self) -> PathPattern<'_> {
        let text = self.text.get(usize::from(self.host_len)..).unwrap_or_default();
        PathPattern { text, below: self.below.as_deref() }
    }

    /// How narrowly this pattern is cut: the greatest of those that cover a request wins. Only
    /// patterns whose hosts have equally many labels compare in a meaningful way.
    pub(crate) fn specificity(&self) -> (Vec<LabelRank>, PathRank) {
        (self.host().labels().rev().map(Label::rank).collect(), self.path().rank())
    }

    /// Reports whether some request is covered by both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.host().overlaps(other.host()) && self.path().overlaps(other.path())
    }

    fn try_parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > limits::MAX_PATTERN_BYTES {
            return Err("it is longer than 2,048 bytes");
        }
        if text.bytes().filter(|&byte| byte == b'*').count() > limits::MAX_PATTERN_WILDCARDS {
            return Err("it has more than 16 wildcards");
        }
        if text.contains("://") {
            return Err("leave out the scheme");
        }
        if text.contains(['?', '#']) {
            return Err("a query or fragment takes no part in a destination");
        }
        let (host, path) = text.find('/').map_or((text, ""), |slash| text.split_at(slash));
        let host = parse_host(host)?;
        let path = parse_path(path)?;
        let host_len = u8::try_from(host.len()).map_err(|_| "the host is longer than 253 bytes")?;
        let is_open = path.is_empty() || path.ends_with('*');
        let below = (!is_open && path.contains('*')).then(|| format!("{path}/*").into());
        Ok(Self { text: (host + &path).into(), host_len, below })
    }
}

impl FromStr for Destination {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// A host whose labels may have a wildcard each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostPattern<'a>(&'a str);

impl<'a> HostPattern<'a> {
    pub(crate) fn as_str(self) -> &'a str {
        self.0
    }

    pub(crate) fn has_wildcard(self) -> bool {
        self.0.contains('*')
    }

    pub(crate) fn label_count(self) -> usize {
        self.0.bytes().filter(|&byte| byte == b'.').count() + 1
    }

    /// The literal labels at the right end; the whole host if it has no wildcard.
    pub(crate) fn literal_suffix(self) -> &'a str {
        let Some(star) = self.0.rfind('*') else {
            return self.0;
        };
        let after = self.0.get(star..).unwrap_or_default();
        after.split_once('.').map_or("", |(_, suffix)| suffix)
    }

    /// Reports whether a normalised host is covered.
    pub(crate) fn covers(self, host: &str) -> bool {
        if !self.has_wildcard() {
            return self.0 == host;
        }
        let mut labels = host.split('.');
        self.labels().all(|pattern| labels.next().is_some_and(|label| pattern.covers(label)))
            && labels.next().is_none()
    }

    fn labels(self) -> impl DoubleEndedIterator<Item = Label<'a>> {
        self.0.split('.').map(|label| match label.split_once('*') {
            Some((before, after)) => Label::Wildcard(before, after),
            None => Label::Literal(label),
        })
    }

    fn overlaps(self, other: Self) -> bool {
        self.label_count() == other.label_count()
            && self.labels().zip(other.labels()).all(|(a, b)| a.overlaps(b))
    }
}

/// One label of a host pattern.
#[derive(Debug, Clone, Copy)]
enum Label<'a> {
    Literal(&'a str),
    /// Text before and after a `*`.
    Wildcard(&'a str, &'a str),
}

/// How narrowly a label is cut: `*`, then partial wildcards by their letters, then literals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LabelRank {
    Wildcard { letters: usize },
    Literal,
}

impl Label<'_> {
    fn rank(self) -> LabelRank {
        match self {
            Self::Literal(_) => LabelRank::Literal,
            Self::Wildcard(before, after) => {
                LabelRank::Wildcard { letters: before.len() + after.len() }
            }
        }
    }

    fn covers(self, label: &str) -> bool {
        match self {
            Self::Literal(literal) => literal == label,
            Self::Wildcard(before, after) => {
                // The label is never empty, so a lone `*` stands for at least one letter.
                label.len() >= before.len() + after.len()
                    && label.starts_with(before)
                    && label.ends_with(after)
            }
        }
    }

    fn overlaps(self, other: Self) -> bool {
        match (self, other) {
            (Self::Literal(literal), pattern) | (pattern, Self::Literal(literal)) => {
                pattern.covers(literal)
            }
            (Self::Wildcard(a, b), Self::Wildcard(c, d)) => {
                (a.starts_with(c) || c.starts_with(a)) && (b.ends_with(d) || d.ends_with(b))
            }
        }
    }
}

/// A path with wildcards, in canonical form; empty for the whole host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PathPattern<'a> {
    text: &'a str,
    below: Option<&'a str>,
}

/// How narrowly a path is cut, in the order of comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PathRank {
    literal_bytes_before_wildcard: usize,
    literal_bytes: usize,
    wildcards: Reverse<usize>,
    is_closed: bool,
}

/// Whether letter case counts in a comparison of paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LetterCase {
    Matters,
    Ignored,
}

impl PathPattern<'_> {
    /// Reports whether every path of the host is covered.
    pub(crate) fn is_whole_host(self) -> bool {
        self.text.is_empty()
    }

    pub(crate) fn has_wildcard(self) -> bool {
        self.text.contains('*')
    }

    pub(crate) fn len(self) -> usize {
        self.text.len()
    }

    /// Reports whether a path, in the form that [`path::canonicalise`] escapes to, is covered.
    pub(crate) fn covers(self, path: &str, case: LetterCase) -> bool {
        if self.is_whole_host() {
            return true;
        }
        let equal: fn(u8, u8) -> bool = match case {
            LetterCase::Matters => |a, b| a == b,
            LetterCase::Ignored => |a, b| a.eq_ignore_ascii_case(&b),
        };
        if self.has_wildcard() {
            let covers = |pattern: &str| glob::covers(pattern.as_bytes(), path.as_bytes(), equal);
            return covers(self.text) || self.below.is_some_and(covers);
        }
        let (pattern, path) = (self.text.as_bytes(), path.as_bytes());
        path.len() >= pattern.len()
            && pattern.iter().zip(path).all(|(&a, &b)| equal(a, b))
            && path.get(pattern.len()).is_none_or(|&next| next == b'/')
    }

    fn rank(self) -> PathRank {
        let wildcards = self.text.bytes().filter(|&byte| byte == b'*').count();
        PathRank {
            literal_bytes_before_wildcard: self.text.find('*').unwrap_or(self.text.len()),
            literal_bytes: self.text.len() - wildcards,
            wildcards: Reverse(wildcards),
            is_closed: !self.is_whole_host() && !self.text.ends_with('*'),
        }
    }

    fn overlaps(self, other: Self) -> bool {
        if self.is_whole_host() || other.is_whole_host() {
            return true;
        }
        if !glob::heads_meet(self.text.as_bytes(), other.text.as_bytes()) {
            return false;
        }
        let (these, those) = (self.globs(), other.globs());
        these.iter().any(|a| those.iter().any(|b| glob::overlap(a.as_bytes(), b.as_bytes())))
    }

    /// The pattern, and that of what lies below unless it is open at its end.
    pub(crate) fn globs(self) -> Vec<String> {
        let mut globs = vec![self.text.to_owned()];
        if !self.text.ends_with('*') {
            globs.push(format!("{}/*", self.text));
        }
        globs
    }
}

fn parse_host(text: &str) -> Result<String, &'static str> {
    if text.contains('@') {
        return Err("leave out the user information");
    }
    if text.contains(':') {
        return Err("leave out the port");
    }
    if text.is_empty() {
        return Err("the host is empty");
    }
    let host = if text.contains('*') {
        let labels = text.strip_suffix('.').unwrap_or(text).split('.');
        labels.map(parse_label).collect::<Result<Vec<_>, _>>()?.join(".")
    } else {
        host::normalise(text).ok_or("the host is not a legal name")?.into_owned()
    };
    if host.len() > 253 { Err("the host is longer than 253 bytes") } else { Ok(host) }
}

fn parse_label(text: &str) -> Result<String, &'static str> {
    let Some((before, after)) = text.split_once('*') else {
        return match host::normalise(text) {
            Some(label) if !label.contains('.') => Ok(label.into_owned()),
            _ => Err("a label of the host is not legal"),
        };
    };
    if after.contains('*') {
        return Err("a label of the host can hold one `*`");
    }
    if !before.bytes().chain(after.bytes()).all(host::is_label_byte) || text.len() > 63 {
        return Err("a label with `*` can hold letters, digits, `-` and `_` of ASCII");
    }
    Ok(text.to_ascii_lowercase())
}

fn parse_path(text: &str) -> Result<String, &'static str> {
    if text.split('/').any(|segment| segment.bytes().filter(|&byte| byte == b'*').count() > 1) {
        return Err("a segment of the path can hold one `*`");
    }
    if path::is_ambiguous(text) {
        return Err("proxies and origins read such a path differently");
    }
    let mut text = path::canonicalise(text).text;
    if has_escape_with_meaning(&text) {
        return Err("the path escapes a character that has a meaning of its own in paths");
    }
    if text.ends_with('/') {
        text.pop();
    }
    if text == "/*" {
        text.clear();
    }
    Ok(text)
}

/// Reports whether a canonical path has an escape that reads as something else once decoded.
fn has_escape_with_meaning(canonical: &str) -> bool {
    canonical.split('%').skip(1).any(|escape| {
        escape
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .is_none_or(|byte| byte == b'%' || byte == b'/' || path::is_segment_byte(byte))
    })
}
