//! What a decision comes to, and why.

use std::fmt;

use crate::{application::Application, fact::FactName, policy::Policy, rule::Rule};

/// What is to happen to a request.
///
/// Exhaustive on purpose: whoever enforces decisions must handle each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[must_use]
pub enum Outcome {
    /// Pass; the visitor has logged in.
    Allow,
    /// Pass without a login, as a service.
    ServiceAuth,
    /// Pass without a login and without any check.
    Bypass,
    /// Nobody has logged in, and some identity could be allowed: ask for a login.
    NeedsIdentity,
    /// An external evaluation decides: ask it ([`Decision::external_calls`](crate::Decision)), and
    /// decide again with the answers.
    NeedsExternal,
    /// Answer the CORS preflight with [`Cors::answer`](crate::Cors::answer); nothing goes to the
    /// origin.
    RespondPreflight,
    /// Refuse.
    Deny(DenyClass),
}

impl Outcome {
    /// Reports whether the request goes to the origin.
    pub fn is_pass(self) -> bool {
        matches!(self, Self::Allow | Self::ServiceAuth | Self::Bypass)
    }

    /// How much this outcome gives, least first.
    pub(crate) fn permissiveness(self) -> u8 {
        match self {
            Self::Deny(_) => 0,
            Self::RespondPreflight => 1,
            Self::NeedsIdentity => 2,
            Self::NeedsExternal => 3,
            Self::Allow => 4,
            Self::ServiceAuth => 5,
            Self::Bypass => 6,
        }
    }

    /// Returns a short name for logs and tables, such as `allow` or `deny`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::ServiceAuth => "service auth",
            Self::Bypass => "bypass",
            Self::NeedsIdentity => "login needed",
            Self::NeedsExternal => "external evaluation needed",
            Self::RespondPreflight => "respond to preflight",
            Self::Deny(_) => "deny",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Sorts refusals by the page that the visitor should see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DenyClass {
    /// Another identity could have passed. Cloudflare's `custom_deny_url`, `identity_denied`.
    Identity,
    /// No identity whatever could have passed. Cloudflare's `custom_non_identity_deny_url`,
    /// `forbidden`.
    NonIdentity,
    /// A fact that the caller did not supply could have changed the outcome.
    MissingFact,
    /// No application covers the host and path.
    NoApplication,
    /// The path can be read in several ways, which fall under different applications.
    AmbiguousPath,
    /// The service token is not valid, or there is none where a program needs one: 401.
    ServiceTokenInvalid,
    /// The service token is valid, but no service or bypass policy admits it.
    ServiceTokenForbidden,
    /// A CORS preflight without a login, which nobody answers for the application.
    Preflight,
}

impl DenyClass {
    /// Returns the HTTP status of the refusal.
    pub fn status(self) -> u16 {
        match self {
            Self::AmbiguousPath => 400,
            Self::ServiceTokenInvalid => 401,
            Self::NoApplication => 404,
            Self::Identity
            | Self::NonIdentity
            | Self::MissingFact
            | Self::ServiceTokenForbidden
            | Self::Preflight => 403,
        }
    }
}

/// Why a decision came out as it did. `Display` gives one line of plain English for logs.
///
/// # Security
///
/// The line quotes rules. Show it to operators, not to visitors; for those there is
/// [`VisitorReason`](crate::VisitorReason).
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
    /// This policy depends on an external evaluation.
    ExternalNeeded {
        /// The policy.
        policy: &'a Policy,
    },
    /// A fact that this policy asks for is not known, and no other policy decided.
    FactMissing {
        /// The policy.
        policy: &'a Policy,
        /// What is not known.
        fact: FactName,
    },
    /// The application has no policy that matched, so its default holds: deny.
    NoPolicyMatched {
        /// The application.
        application: &'a Application,
    },
    /// No application covers the host and path.
    NoApplication,
    /// Readings of the path fall under different applications.
    AmbiguousPath,
    /// The request is a CORS preflight.
    Preflight {
        /// The application.
        application: &'a Application,
    },
    /// It is about the service token, not about the visitor.
    ServiceToken {
        /// The application.
        application: &'a Application,
    },
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
            Self::ExternalNeeded { policy } => {
                write!(formatter, "{} depends on an external evaluation", Named(policy))
            }
            Self::FactMissing { policy, fact } => {
                write!(formatter, "{} needs {fact}, which is not known", Named(policy))
            }
            Self::NoPolicyMatched { application } => {
                write!(formatter, "no policy of application `{}` matched", application.name)
            }
            Self::NoApplication => formatter.write_str("no application covers this host and path"),
            Self::AmbiguousPath => {
                formatter.write_str("proxies and origins may read the path in different ways")
            }
            Self::Preflight { application } => {
                write!(formatter, "it is a preflight request to application `{}`", application.name)
            }
            Self::ServiceToken { application } => write!(
                formatter,
                "the service token does not open application `{}`",
                application.name
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
