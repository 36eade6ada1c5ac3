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
    host: HostPattern,
    path: PathPattern,
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

    pub(crate) fn host(&self) -> &HostPattern {
        &self.host
    }

    pub(crate) fn path(&self) -> &PathPattern {
        &self.path
    }

    /// How narrowly this pattern is cut: the greatest of those that cover a request wins. Only
    /// patterns whose hosts have equally many labels compare in a meaningful way.
    pub(crate) fn specificity(&self) -> (Vec<LabelRank>, PathRank) {
        (self.host.labels.iter().rev().map(Label::rank).collect(), self.path.rank())
    }

    /// Reports whether some request is covered by both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.host.overlaps(&other.host) && self.path.overlaps(&other.path)
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
        Ok(Self { host: HostPattern::parse(host)?, path: PathPattern::parse(path)? })
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
        for (index, label) in self.host.labels.iter().enumerate() {
            if index > 0 {
                formatter.write_str(".")?;
            }
            label.fmt(formatter)?;
        }
        formatter.write_str(self.path.as_str())
    }
}

/// A host whose labels may have a wildcard each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct HostPattern {
    labels: Vec<Label>,
}

impl HostPattern {
    pub(crate) fn label_count(&self) -> usize {
        self.labels.len()
    }

    /// The literal labels at the right end, joined by dots; the whole host if it has no wildcard.
    pub(crate) fn literal_suffix(&self) -> String {
        let literal = self.labels.iter().rev().map_while(Label::as_literal).collect::<Vec<_>>();
        literal.into_iter().rev().collect::<Vec<_>>().join(".")
    }

    /// Reports whether a normalised host is covered.
    pub(crate) fn covers(&self, host: &str) -> bool {
        let mut labels = host.split('.');
        self.labels.iter().all(|pattern| labels.next().is_some_and(|label| pattern.covers(label)))
            && labels.next().is_none()
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.labels.len() == other.labels.len()
            && self.labels.iter().zip(&other.labels).all(|(a, b)| a.overlaps(b))
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains('@') {
            return Err("leave out the user information");
        }
        if text.contains(':') {
            return Err("leave out the port");
        }
        if text.is_empty() {
            return Err("the host is empty");
        }
        let labels = if text.contains('*') {
            let labels = text.strip_suffix('.').unwrap_or(text).split('.');
            labels.map(Label::parse).collect::<Result<Vec<_>, _>>()?
        } else {
            let name = host::normalise(text).ok_or("the host is not a legal name")?;
            name.split('.').map(|label| Label::Literal(label.to_owned())).collect()
        };
        let length = labels.iter().map(|label| label.to_string().len() + 1).sum::<usize>();
        if length > 254 { Err("the host is longer than 253 bytes") } else { Ok(Self { labels }) }
    }
}

/// One label of a host pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Label {
    Literal(String),
    /// Text before and after a `*`.
    Wildcard(String, String),
}

/// How narrowly a label is cut: `*`, then partial wildcards by their letters, then literals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LabelRank {
    Wildcard { letters: usize },
    Literal,
}

impl Label {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let Some((before, after)) = text.split_once('*') else {
            return match host::normalise(text) {
                Some(label) if !label.contains('.') => Ok(Self::Literal(label.into_owned())),
                _ => Err("a label of the host is not legal"),
            };
        };
        if after.contains('*') {
            return Err("a label of the host can hold one `*`");
        }
        if !before.bytes().chain(after.bytes()).all(host::is_label_byte) || text.len() > 63 {
            return Err("a label with `*` can hold letters, digits, `-` and `_` of ASCII");
        }
        Ok(Self::Wildcard(before.to_ascii_lowercase(), after.to_ascii_lowercase()))
    }

    fn as_literal(&self) -> Option<&str> {
        match self {
            Self::Literal(label) => Some(label),
            Self::Wildcard(..) => None,
        }
    }

    fn rank(&self) -> LabelRank {
        match self {
            Self::Literal(_) => LabelRank::Literal,
            Self::Wildcard(before, after) => {
                LabelRank::Wildcard { letters: before.len() + after.len() }
            }
        }
    }

    fn covers(&self, label: &str) -> bool {
        match self {
            Self::Literal(literal) => literal == label,
            Self::Wildcard(before, after) => {
                // The label is never empty, so a lone `*` stands for at least one letter.
                label.len() >= before.len() + after.len()
                    && label.starts_with(before.as_str())
                    && label.ends_with(after.as_str())
            }
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(literal), pattern) | (pattern, Self::Literal(literal)) => {
                pattern.covers(literal)
            }
            (Self::Wildcard(a, b), Self::Wildcard(c, d)) => {
                (a.starts_with(c.as_str()) || c.starts_with(a.as_str()))
                    && (b.ends_with(d.as_str()) || d.ends_with(b.as_str()))
            }
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(label) => formatter.write_str(label),
            Self::Wildcard(before, after) => write!(formatter, "{before}*{after}"),
        }
    }
}

/// A path with wildcards, in canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PathPattern {
    /// Empty for the whole host.
    text: String,
    /// The pattern of what lies below, unless `text` is open at its end.
    below: Option<String>,
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

impl PathPattern {
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Reports whether every path of the host is covered.
    pub(crate) fn is_whole_host(&self) -> bool {
        self.text.is_empty()
    }

    /// Reports whether a path, in the form that [`path::canonicalise`] escapes to, is covered.
    pub(crate) fn covers(&self, path: &str, case: LetterCase) -> bool {
        let equal: fn(u8, u8) -> bool = match case {
            LetterCase::Matters => |a, b| a == b,
            LetterCase::Ignored => |a, b| a.eq_ignore_ascii_case(&b),
        };
        self.is_whole_host()
            || self.globs().any(|pattern| glob::covers(pattern, path.as_bytes(), equal))
    }

    fn rank(&self) -> PathRank {
        let wildcards = self.text.bytes().filter(|&byte| byte == b'*').count();
        PathRank {
            literal_bytes_before_wildcard: self.text.find('*').unwrap_or(self.text.len()),
            literal_bytes: self.text.len() - wildcards,
            wildcards: Reverse(wildcards),
            is_closed: !self.is_whole_host() && !self.text.ends_with('*'),
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.is_whole_host()
            || other.is_whole_host()
            || self.globs().any(|a| other.globs().any(|b| glob::overlap(a, b)))
    }

    fn globs(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(self.text.as_bytes()).chain(self.below.as_deref().map(str::as_bytes))
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
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
        let below = (!text.is_empty() && !text.ends_with('*')).then(|| format!("{text}/*"));
        Ok(Self { text, below })
    }
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
