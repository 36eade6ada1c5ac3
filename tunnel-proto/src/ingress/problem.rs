//! What is wrong with a configuration: everything at once, each with its place.

use std::{error::Error as StdError, fmt};

use crate::{
    error::{Error, ErrorKind},
    limits,
};

/// One thing wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    place: String,
    line: Option<usize>,
    what: String,
}

/// Everything wrong with a configuration, in the order of the file.
///
/// At most 100 problems are held, the rest is counted. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    held: Vec<Problem>,
    more: usize,
}

impl Problem {
    /// Where: a path of keys such as `ingress[2].originRequest.caPool`, counted from zero. Empty
    /// if it is the whole.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The line in the file, from 1. JSON has none.
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// What is wrong and, where it is known, what would be right.
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl Problems {
    /// Goes through them.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.held.iter()
    }

    /// One problem with a text as a whole.
    pub(super) fn whole(line: Option<usize>, what: impl Into<String>) -> Self {
        let mut report = Report::default();
        report.tell("", line, what);
        report.0
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.place.is_empty() {
            write!(f, "`{}` ", self.place.escape_debug())?;
        }
        f.write_str(&self.what)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.held.iter().enumerate() {
            let joint = if at == 0 { "" } else { "; " };
            write!(f, "{joint}{problem}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl StdError for Problems {}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        let kind = ErrorKind::Caller("the ingress configuration can't be used".into());
        Self::from(kind).with_source(problems)
    }
}

/// Problems while they are being found.
#[derive(Debug)]
pub(super) struct Report(Problems);

impl Default for Report {
    fn default() -> Self {
        Self(Problems { held: Vec::new(), more: 0 })
    }
}

impl Report {
    pub(super) fn tell(
        &mut self,
        place: impl Into<String>,
        line: Option<usize>,
        what: impl Into<String>,
    ) {
        if self.0.held.len() == limits::CONFIGURATION_PROBLEMS {
            self.0.more += 1;
            return;
        }
        self.0.held.push(Problem { place: place.into(), line, what: what.into() });
    }

    /// The value, unless something was wrong.
    pub(super) fn into_result<T>(mut self, value: T) -> Result<T, Problems> {
        if self.0.held.is_empty() {
            return Ok(value);
        }
        self.0.held.sort_by_key(|problem| problem.line);
        Err(self.0)
    }
}
