//! Remarks about a configuration: what kinds there are, and how one is told.

use std::fmt;

use serde::Serialize;

/// A remark about a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Lint {
    /// What kind of remark.
    pub code: LintCode,
    /// Where, as a JSON pointer.
    pub location: String,
    /// What is wrong and what to do, in a sentence.
    pub message: String,
}

/// The kinds of remarks. The names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[non_exhaustive]
pub enum LintCode {
    /// A policy or group without include rules never matches.
    EmptyInclude,
    /// An allow policy lets in anybody who can receive a code.
    OpenToAnyone,
    /// A service token in a policy that can't grant anything to a program.
    TokenOutsideServiceAuth,
    /// Two rules in `require` exclude each other.
    ContradictoryRequire,
    /// The policy can never decide.
    ShadowedPolicy,
    /// Another rule of the same list covers this one.
    RedundantRule,
    /// An exclude rule that excludes nobody whom the policy includes.
    ExcludeNeverFires,
    /// A bypass on a destination with a wildcard.
    BypassOnWildcardPath,
    /// A method of login that RFC 8176 does not list.
    UnknownAmr,
    /// Two domains that look alike.
    ConfusableDomain,
    /// A SAML rule that holds for any provider.
    MissingProviderId,
    /// Wildcards of two applications cover the same requests.
    OverlappingWildcard,
    /// Requests that no application covers pass.
    UnmatchedRequestsPass,
    /// A selector that nobody can answer.
    UnsupportedSelector,
    /// A group, list or reusable policy that nothing uses.
    Unused,
    /// A rule without which its policy would decide about the same requests.
    DeadRule,
    /// A network whose address has bits beyond its prefix; only an import can tell.
    HostBitsSet,
}

impl fmt::Display for Lint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {:?}: {}", self.location, self.code, self.message)
    }
}
