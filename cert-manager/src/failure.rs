//! What an authority says when it refuses, and what follows from it.

use std::{fmt, time::SystemTime};

use serde::{Deserialize, Serialize};

/// A problem document (RFC 9457; RFC 8555 section 6.7).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Problem {
    /// What went wrong: the part after `urn:ietf:params:acme:error:`, or another URI as a whole.
    #[serde(rename = "type")]
    pub kind: String,
    /// In words.
    pub detail: String,
    /// What went wrong with each name.
    pub subproblems: Vec<Subproblem>,
}

/// What went wrong with one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Subproblem {
    /// As [`Problem::kind`].
    #[serde(rename = "type")]
    pub kind: String,
    /// In words.
    pub detail: String,
    /// About what.
    pub identifier: Option<Identifier>,
}

/// A name or an address, as ACME writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identifier {
    /// `dns` or `ip`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name, without `*.`.
    pub value: String,
}

#[cfg(feature = "acme")]
impl FailureClass {
    /// Whether there is no use in going on with the same order, or with the same request for one.
    pub(crate) fn ends_attempts(self) -> bool {
        match self {
            Self::Validation
            | Self::Rejected
            | Self::Request
            | Self::OrderGone
            | Self::Certificate => true,
            Self::Network | Self::Hold | Self::Trouble | Self::Solver | Self::Account => false,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind.is_empty() { "error" } else { &self.kind };
        write!(f, "{}: {}", excerpt(kind), excerpt(&self.detail))?;
        for sub in &self.subproblems {
            let name = sub.identifier.as_ref().map_or("?", |identifier| &identifier.value);
            write!(f, "; {}: {}: {}", excerpt(name), excerpt(&sub.kind), excerpt(&sub.detail))?;
        }
        Ok(())
    }
}

/// Why an order did not lead to a certificate, and when to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// What follows from it.
    pub class: FailureClass,
    /// What the authority said, if it said anything.
    pub problem: Option<Problem>,
    /// What was being done.
    pub doing: &'static str,
    /// The authority asked not to be bothered before this.
    pub not_before: Option<SystemTime>,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureClass {
    /// Nothing usable came back. Try again soon; it does not count as a failed order.
    Network,
    /// The authority asks for patience with what was asked for: rate limits.
    Hold,
    /// The authority has trouble of its own, or too much to do: nobody should ask for a while.
    Trouble,
    /// The answer to a challenge could not be shown. It is not the authority's fault.
    Solver,
    /// A name could not be validated: its DNS, its port 80 or 443, its CAA records.
    Validation,
    /// The authority will not issue for these names.
    Rejected,
    /// The account is refused, or somebody must act: new terms, an external account.
    Account,
    /// The request itself is at fault. Trying again soon would change nothing.
    Request,
    /// The order is gone. Start over; it does not count.
    OrderGone,
    /// What was issued is not what was ordered.
    Certificate,
}

impl Failure {
    /// A failure without words. `doing` ends the sentence "failed to".
    pub fn new(class: FailureClass, doing: &'static str) -> Self {
        Self { class, problem: None, doing, not_before: None }
    }

    /// A failure with words of one's own.
    pub fn because(class: FailureClass, doing: &'static str, detail: impl Into<String>) -> Self {
        let problem = Problem { detail: detail.into(), ..Problem::default() };
        Self { problem: Some(problem), ..Self::new(class, doing) }
    }

    /// Whether an authority's refusal names what was ordered, or a domain above it: then it is not about the account, and
    /// others are not concerned.
    pub(crate) fn is_about(&self, names: &[String]) -> bool {
        let Some(problem) = &self.problem else { return false };
        let said = problem.to_string();
        let domains = names.iter().flat_map(|name| {
            let name = name.trim_start_matches("*.");
            std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, parent)| parent))
        });
        // One label is a word like others.
        domains.filter(|domain| domain.contains(['.', ':'])).any(|domain| said.contains(domain))
    }

    /// Asks not to be bothered before this.
    #[must_use]
    pub fn not_before(self, time: SystemTime) -> Self {
        Self { not_before: Some(time), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to {}", self.doing)?;
        self.problem.as_ref().map_or(Ok(()), |problem| write!(f, ": {problem}"))
    }
}

impl std::error::Error for Failure {}

/// No more of somebody else's words than a line of a log holds, and none that end the line, move a terminal's cursor
/// or turn the direction of writing.
pub(crate) fn excerpt(text: &str) -> String {
    let is_shown = |c: &char| {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        !c.is_control() && !turns
    };
    text.chars().filter(is_shown).take(MAX_DETAIL_CHARACTERS).collect()
}

const MAX_DETAIL_CHARACTERS: usize = 500;
