//! What a visitor may learn about a refusal.

use std::fmt;

use crate::{
    evaluate::Why,
    judgement::Judgement,
    outcome::{DenyClass, Outcome},
};

/// Why a visitor does not pass, without a word about the policies. `Display` gives a sentence.
///
/// # Security
///
/// Even so, the difference between these codes tells an outsider something. Use
/// [`collapsed`](Self::collapsed) where that is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VisitorReason {
    /// There is nothing at this address.
    NotFound,
    /// Log in first.
    NotSignedIn,
    /// You have logged in, and are not admitted.
    NotAdmitted,
    /// From where you are, nobody is admitted.
    NotFromHere,
    /// A policy blocks the request.
    Blocked,
    /// Something about the request could not be found out; it may help to try again.
    Unavailable,
    /// The service token is not valid or does not open this application.
    TokenRefused,
    /// The request is malformed.
    BadRequest,
    /// Refused. All reasons become this one when they are collapsed.
    Refused,
}

impl VisitorReason {
    /// Makes all refusals look alike; the request for a login stays.
    #[must_use]
    pub fn collapsed(self) -> Self {
        match self {
            Self::NotSignedIn => self,
            _ => Self::Refused,
        }
    }

    pub(crate) fn of(judgement: &Judgement<'_>) -> Option<Self> {
        let class = match judgement.verdict.outcome {
            Outcome::Deny(class) => class,
            Outcome::NeedsIdentity => return Some(Self::NotSignedIn),
            _ => return None,
        };
        Some(match class {
            _ if judgement.verdict.why == Why::Matched => Self::Blocked,
            DenyClass::Identity => Self::NotAdmitted,
            DenyClass::NonIdentity => Self::NotFromHere,
            DenyClass::MissingFact => Self::Unavailable,
            DenyClass::NoApplication => Self::NotFound,
            DenyClass::AmbiguousPath => Self::BadRequest,
            DenyClass::ServiceTokenInvalid | DenyClass::ServiceTokenForbidden => Self::TokenRefused,
            DenyClass::Preflight => Self::NotSignedIn,
        })
    }
}

impl fmt::Display for VisitorReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotFound => "there is nothing at this address",
            Self::NotSignedIn => "log in first",
            Self::NotAdmitted => "you are not admitted here",
            Self::NotFromHere => "nobody is admitted from where you are",
            Self::Blocked => "this request is blocked",
            Self::Unavailable => "something could not be checked; try again later",
            Self::TokenRefused => "the service token was refused",
            Self::BadRequest => "the request is malformed",
            Self::Refused => "refused",
        })
    }
}
