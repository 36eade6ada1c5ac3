//! What a submitted code is worth.

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;

use super::{Purpose, SignIn};
use crate::address::EmailAddress;
use crate::challenge::{Challenge, ChallengeId, DecoyReason};
use crate::code::CodeInputError;
use crate::locale::Locale;
use crate::timestamp::Timestamp;

/// The answer to a submitted code.
///
/// All failures have one outward text, [`message`](Self::message); the [`Refusal`] inside is for the
/// operator. Whether the visitor may try again depends on the count of tries, which a decoy has too.
#[must_use]
pub enum Verdict<P = SignIn> {
    /// The code was right, and this caller is the only one to be told so.
    Proven(Proven<P>),
    /// Not accepted; the visitor may type again.
    Again(Refusal),
    /// Not accepted; the visitor must ask for a new code.
    StartOver(Refusal),
    /// The input cannot be a code; no try was spent.
    Malformed(CodeInputError),
}

impl<P> Verdict<P> {
    /// What to show the visitor: depends on the kind of verdict alone, never on the reason.
    pub fn message(&self, locale: Locale) -> &'static str {
        match (self, locale) {
            (Self::Proven(_), Locale::En) => "You are signed in.",
            (Self::Proven(_), Locale::Ja) => "サインインしました。",
            (Self::Again(_), Locale::En) => "That code is not valid. Check it and try again.",
            (Self::Again(_), Locale::Ja) => {
                "コードが正しくありません。確認して、もう一度入力してください。"
            }
            (Self::StartOver(_), Locale::En) => "That code is not valid. Ask for a new one.",
            (Self::StartOver(_), Locale::Ja) => {
                "コードが正しくありません。新しいコードを請求してください。"
            }
            (Self::Malformed(e), locale) => malformed(*e, locale),
        }
    }

    /// Why the code was not accepted, for the operator; `None` if it was, or was malformed.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Again(refusal) | Self::StartOver(refusal) => Some(refusal),
            Self::Proven(_) | Self::Malformed(_) => None,
        }
    }
}

impl<P: Purpose> fmt::Debug for Verdict<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proven(proven) => f.debug_tuple("Proven").field(proven).finish(),
            Self::Again(refusal) => f.debug_tuple("Again").field(refusal).finish(),
            Self::StartOver(refusal) => f.debug_tuple("StartOver").field(refusal).finish(),
            Self::Malformed(error) => f.debug_tuple("Malformed").field(error).finish(),
        }
    }
}

/// Why a code was not accepted. For the operator's log only: shown to a visitor it tells who is admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    reason: Reason,
    address: Option<EmailAddress>,
}

impl Refusal {
    /// The reason.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The address of the flow, if the flow was found.
    pub fn address(&self) -> Option<&EmailAddress> {
        self.address.as_ref()
    }

    pub(super) fn new(reason: Reason) -> Self {
        Self { reason, address: None }
    }

    /// A granted try that did not match.
    pub(super) fn wrong(challenge: Challenge) -> Self {
        let reason = challenge.decoy.map_or(Reason::Wrong, Reason::Decoy);
        Self { reason, address: Some(challenge.address) }
    }
}

/// The true reason behind a [`Refusal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The code was not the one that was mailed.
    Wrong,
    /// No code can be right: the challenge is a decoy.
    Decoy(DecoyReason),
    /// The flow cookie is missing, malformed or of another flow.
    OtherBrowser,
    /// The address has failed too often; no try was spent.
    FailureBudget,
    /// Since the code was mailed, the address or the deployment has been guessed at too often for codes of its
    /// length; the next one is longer. No try was spent.
    ShortCode,
    /// The deployment has been guessed at too often for codes of any length; no try was spent.
    DeploymentBudget,
    /// All tries were spent.
    Exhausted,
    /// The code was used before.
    Used,
    /// The code was too old, or the clock was set back.
    Expired,
    /// No such flow, or no longer.
    Unknown,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong => f.write_str("wrong code"),
            Self::Decoy(reason) => write!(f, "decoy: {reason}"),
            Self::OtherBrowser => f.write_str("flow cookie missing or of another flow"),
            Self::ShortCode => f.write_str("code too short for a time of attack"),
            Self::FailureBudget => f.write_str("address has failed too often"),
            Self::DeploymentBudget => f.write_str("strangers have failed too often"),
            Self::Exhausted => f.write_str("no tries left"),
            Self::Used => f.write_str("code used before"),
            Self::Expired => f.write_str("code expired"),
            Self::Unknown => f.write_str("no such flow"),
        }
    }
}

/// The proof that a person read the mail sent to an address: the only thing that opens a session.
///
/// It comes out of [`Login::submit`](super::Login::submit) alone, cannot be copied, and is consumed by
/// [`Issuer::org_token`](crate::session::Issuer::org_token) if it is for [`SignIn`].
///
/// ```compile_fail
/// fn twice(proven: otp_auth::login::Proven) -> (otp_auth::login::Proven, otp_auth::login::Proven) {
///     (proven.clone(), proven)
/// }
/// ```
#[must_use]
pub struct Proven<P = SignIn> {
    address: EmailAddress,
    challenge: ChallengeId,
    client: IpAddr,
    at: Timestamp,
    purpose: PhantomData<fn() -> P>,
}

impl<P> Proven<P> {
    /// The address whose mail was read.
    pub fn address(&self) -> &EmailAddress {
        &self.address
    }

    /// The flow that led here.
    pub fn challenge(&self) -> ChallengeId {
        self.challenge
    }

    /// Where the flow was begun from.
    pub fn client(&self) -> IpAddr {
        self.client
    }

    /// When the code was accepted.
    pub fn authenticated_at(&self) -> Timestamp {
        self.at
    }

    pub(super) fn of(challenge: Challenge, at: Timestamp) -> Self {
        Self {
            address: challenge.address,
            challenge: challenge.id,
            client: challenge.client,
            at,
            purpose: PhantomData,
        }
    }
}

impl<P: Purpose> fmt::Debug for Proven<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proven")
            .field("purpose", &P::NAME)
            .field("address", &self.address)
            .field("challenge", &self.challenge)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

fn malformed(error: CodeInputError, locale: Locale) -> &'static str {
    let (CodeInputError::WrongLength { expected } | CodeInputError::NotADigit { expected }) = error;
    match (expected, locale) {
        (6, Locale::En) => "The code has six digits.",
        (6, Locale::Ja) => "コードは6桁の数字です。",
        (8, Locale::En) => "The code has eight digits.",
        (8, Locale::Ja) => "コードは8桁の数字です。",
        (9, Locale::En) => "The code has nine digits.",
        (9, Locale::Ja) => "コードは9桁の数字です。",
        (_, Locale::En) => "The code has twelve digits.",
        (_, Locale::Ja) => "コードは12桁の数字です。",
    }
}
