//! How strongly somebody is signed in, and asking for more (RFC 9470, RFC 8176).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::Error;
use crate::timestamp::Timestamp;

/// What a person has shown, from weaker to stronger: the `acr` of tokens.
///
/// None of it is an authenticator assurance level of NIST: whoever reads the mailbox passes the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Acr {
    /// A code that was mailed: proof of a mailbox.
    Mailbox,
    /// A mailbox, and a recovery code in the place of the authenticator.
    Recovery,
    /// A mailbox, and a code of an authenticator app.
    Authenticator,
    /// A mailbox, and a key that signs for the page it is shown to (WebAuthn): phishing ends here.
    Hardware,
}

impl Acr {
    /// The value of the claim.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mailbox => "urn:sekimori:acr:mailbox",
            Self::Recovery => "urn:sekimori:acr:recovery",
            Self::Authenticator => "urn:sekimori:acr:authenticator",
            Self::Hardware => "urn:sekimori:acr:hardware",
        }
    }

    /// The methods of RFC 8176. A mailed code is `otp` there, for want of a closer word; `mfa` stands for
    /// two different kinds of proof, which a recovery code is not.
    pub const fn amr(self) -> &'static [&'static str] {
        match self {
            Self::Mailbox | Self::Recovery => &["otp"],
            Self::Authenticator => &["otp", "mfa"],
            Self::Hardware => &["otp", "hwk", "mfa"],
        }
    }
}

impl FromStr for Acr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let all = [Self::Mailbox, Self::Recovery, Self::Authenticator, Self::Hardware];
        let found = all.into_iter().find(|acr| acr.as_str() == text);
        found.ok_or_else(|| Error::setting("acr", "it is none of this crate's"))
    }
}

impl fmt::Display for Acr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What somebody has shown, and when: the claims `acr`, `amr` and `auth_time` together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authentication {
    acr: Acr,
    at: Timestamp,
}

impl Authentication {
    /// By what, and when.
    pub const fn new(acr: Acr, at: Timestamp) -> Self {
        Self { acr, at }
    }

    /// The strongest that was shown.
    pub const fn acr(&self) -> Acr {
        self.acr
    }

    /// When it was shown.
    pub const fn at(&self) -> Timestamp {
        self.at
    }
}

/// The proof that somebody who is signed in has shown more. [`Issuer::step_up`] makes a stronger session of
/// it, [`Sessions::step_up`] too.
///
/// [`Issuer::step_up`]: crate::session::Issuer::step_up
/// [`Sessions::step_up`]: crate::session::Sessions::step_up
#[must_use]
#[derive(Debug)]
pub struct Elevation {
    subject: String,
    shown: Authentication,
}

impl Elevation {
    /// A code of an authenticator app, for the person whose authenticator it is. The proof is used up.
    ///
    /// [`Issuer::elevation`](crate::session::Issuer::elevation) makes one of a mailed code.
    ///
    /// ```compile_fail
    /// use otp_auth::{step_up::Elevation, totp::VerifiedTotp};
    ///
    /// fn twice(verified: VerifiedTotp) -> (Elevation, Elevation) {
    ///     (Elevation::by_authenticator(verified), Elevation::by_authenticator(verified))
    /// }
    /// ```
    #[cfg(feature = "totp")]
    #[cfg_attr(docsrs, doc(cfg(feature = "totp")))]
    #[expect(clippy::needless_pass_by_value, reason = "one proof, one elevation")]
    pub fn by_authenticator(verified: crate::totp::VerifiedTotp) -> Self {
        let shown = Authentication::new(Acr::Authenticator, verified.authenticated_at());
        Self::of(verified.subject(), shown)
    }

    pub(crate) fn of(subject: impl Into<String>, shown: Authentication) -> Self {
        Self { subject: subject.into(), shown }
    }

    /// Something that was checked elsewhere: a recovery code that a
    /// [`RecoveryStore`](crate::recovery::RecoveryStore) gave up, an assertion of `WebAuthn`.
    ///
    /// # Security
    ///
    /// Whoever calls this vouches for it.
    pub fn danger_vouch(subject: impl Into<String>, shown: Authentication) -> Self {
        Self { subject: subject.into(), shown }
    }

    /// Whose session becomes stronger.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// What was shown.
    pub fn shown(&self) -> Authentication {
        self.shown
    }
}

/// What a resource asks for: at least a strength, and perhaps a fresh one.
///
/// ```
/// use std::time::Duration;
/// use otp_auth::step_up::{Acr, Authentication, Requirement};
/// use otp_auth::timestamp::Timestamp;
///
/// let noon = Timestamp::from_unix_secs(1_790_000_000);
/// let pay = Requirement::at_least(Acr::Authenticator).max_age(Duration::from_secs(300));
/// let signed_in = Authentication::new(Acr::Mailbox, noon);
/// let challenge = pay.check(&signed_in, noon).unwrap_err();
/// assert_eq!(challenge.status(), 401);
/// assert!(challenge.www_authenticate().starts_with("Bearer error=\"insufficient_user_authentication\""));
/// assert!(pay.check(&Authentication::new(Acr::Authenticator, noon), noon).is_ok());
/// ```
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requirement {
    acr: Acr,
    max_age: Option<Duration>,
}

impl Requirement {
    /// This strength or a greater one, of any age.
    pub const fn at_least(acr: Acr) -> Self {
        Self { acr, max_age: None }
    }

    /// Shown no longer ago than this, in whole seconds.
    pub const fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(Duration::from_secs(age.as_secs()));
        self
    }

    /// Whether what was shown is enough.
    ///
    /// # Errors
    ///
    /// The challenge to answer the request with. What was shown in the future, by a clock that differs by
    /// more than 30 seconds, is not enough where an age is asked for.
    pub fn check(&self, shown: &Authentication, now: Timestamp) -> Result<(), StepUpChallenge> {
        let is_fresh = self.max_age.is_none_or(|age| {
            now.since(shown.at) <= age && shown.at <= now.plus(Duration::from_secs(30))
        });
        if shown.acr >= self.acr && is_fresh {
            Ok(())
        } else {
            Err(StepUpChallenge { requirement: *self })
        }
    }
}

/// The answer to a request that needs more than was shown (RFC 9470 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepUpChallenge {
    requirement: Requirement,
}

impl StepUpChallenge {
    /// The status of the answer: 401.
    pub const fn status(&self) -> u16 {
        401
    }

    /// What was asked for.
    pub const fn requirement(&self) -> Requirement {
        self.requirement
    }

    /// The value of the header field `WWW-Authenticate`.
    pub fn www_authenticate(&self) -> String {
        let age = self.requirement.max_age.map(|age| format!(", max_age=\"{}\"", age.as_secs()));
        format!(
            "Bearer error=\"insufficient_user_authentication\", \
             error_description=\"A stronger or fresher sign-in is needed\", acr_values=\"{}\"{}",
            self.requirement.acr,
            age.unwrap_or_default()
        )
    }
}
