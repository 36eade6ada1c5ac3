//! What a decision comes to, and why.

use std::fmt;

use crate::{application::Application, policy::Policy, rule::Rule, truth::Fact};

/// What is to happen to a request.
///
/// Exhaustive on purpose: whoever enforces decisions must handle each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub enum Outcome {
    /// Pass; the visitor has logged in.
    Allow,
    /// Pass without a login.
    Bypass,
    /// Nobody has logged in, and some identity could be allowed: ask for a login.
    NeedsIdentity,
    /// Refuse.
    Deny(DenyClass),
}

impl Outcome {
    /// Reports whether the request goes to the origin.
    pub fn is_pass(self) -> bool {
        matches!(self, Self::Allow | Self::Bypass)
    }

    /// How much this outcome gives, least first.
    pub(crate) fn permissiveness(self) -> u8 {
        match self {
            Self::Deny(_) => 0,
            Self::NeedsIdentity => 1,
            Self::Allow => 2,
            Self::Bypass => 3,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Allow => "allow",
            Self::Bypass => "bypass",
            Self::NeedsIdentity => "login needed",
            Self::Deny(_) => "deny",
        })
    }
}

/// Sorts refusals by the page that the visitor should see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DenyClass {
    /// Another identity could have passed. Cloudflare's `custom_deny_url`, `identity_denied`.
    Identity,
    /// No identity whatever could have passed. Cloudflare's `custom_non_identity_deny_url`,
    /// `forbidden`.
    NonIdentity,
    /// A fact that the caller did not supply could have changed the outcome.
    MissingFact,
    /// No application covers the request.
    NoApplication,
    /// The path can be read in several ways, which fall under different applications.
    AmbiguousPath,
}

/// Why a decision came out as it did. `Display` gives one line of plain English for logs.
///
/// # Security
///
/// The line quotes rules. Show it to operators, not to visitors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason<'a> {
    /// A policy matched, and its action decided.
    PolicyMatched {
        /// The policy.
        policy: &'a Policy,
        /// The include rule that matched, the first one if there are several.
        rule: &'a Rule,
    },
    /// This allow policy is the first one that a login could satisfy.
    LoginNeeded {
        /// The policy.
        policy: &'a Policy,
    },
    /// A fact that this policy asks for is not known, and no other policy decided.
    FactMissing {
        /// The policy.
        policy: &'a Policy,
        /// What is not known.
        fact: Fact,
    },
    /// The application has no policy that matched, so its default holds: deny.
    NoPolicyMatched {
        /// The application.
        application: &'a Application,
    },
    /// No application covers the host and path, and the default is to deny.
    NoApplication,
    /// Readings of the path fall under different applications.
    AmbiguousPath,
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PolicyMatched { policy, rule } => {
                write!(formatter, "{} matched: {}", Named(policy), rule.condition())
            }
            Self::LoginNeeded { policy } => {
                write!(formatter, "{} could match after a login", Named(policy))
            }
            Self::FactMissing { policy, fact } => {
                write!(formatter, "{} needs {fact}, which is not known", Named(policy))
            }
            Self::NoPolicyMatched { application } => {
                write!(formatter, "no policy of application `{}` matched", application.name)
            }
            Self::NoApplication => formatter.write_str("no application covers this host and path"),
            Self::AmbiguousPath => formatter.write_str(
                "the path can be read in several ways, which fall under different applications",
            ),
        }
    }
}

/// A policy by name and action.
pub(crate) struct Named<'a>(pub(crate) &'a Policy);

impl fmt::Display for Named<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "policy `{}` ({})", self.0.name, self.0.decision)
    }
}
