//! A person's authenticator app, from enrolment to acceptance.

use std::fmt;
use std::sync::Arc;

use super::{Drift, FactorId, Reservation, Step, StepStore, Totp, Tries};
use crate::code::{CodeInput, CodeInputError};
use crate::error::Error;
use crate::timestamp::Timestamp;

/// Checks codes of authenticator apps: each is accepted once, and wrong ones are counted.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use otp_auth::random::SystemRandom;
/// use otp_auth::timestamp::Timestamp;
/// use otp_auth::totp::{FactorId, MemorySteps, SecondFactor, Step, Totp, TotpVerdict};
///
/// let checks = SecondFactor::new(Arc::new(MemorySteps::new()));
/// let (id, totp) = (FactorId::new("alice", "phone")?, Totp::generate(&SystemRandom::new())?);
/// let uri = totp.key_uri("Example Ltd", "alice@example.jp")?; // as a QR code, shown once
/// // Enrolled is who has shown one right code.
/// let now = Timestamp::from_unix_secs(1_790_000_000);
/// let typed = format!("{:06}", totp.value(Step::at(now)));
/// let verdict = checks.check(&id, &totp, &typed, now).await?;
/// assert!(matches!(verdict, TotpVerdict::Verified(_)));
/// let replayed = checks.check(&id, &totp, &typed, now).await?;
/// assert!(matches!(replayed, TotpVerdict::Refused));
/// # Ok::<(), otp_auth::error::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct SecondFactor {
    steps: Arc<dyn StepStore>,
    tries: Tries,
}

impl SecondFactor {
    /// Counts in `steps`, with the default of [`Tries`].
    pub fn new(steps: Arc<dyn StepStore>) -> Self {
        Self { steps, tries: Tries::default() }
    }

    /// Allows other numbers of wrong codes.
    ///
    /// # Errors
    ///
    /// Refuses more than 100 in a row, which NIST SP 800-63B does not allow.
    pub fn tries(mut self, tries: Tries) -> Result<Self, Error> {
        if tries.at_most > 100 || tries.at_once > tries.at_most {
            return Err(Error::setting("tries", "at most 100 in a row"));
        }
        self.tries = tries;
        Ok(self)
    }

    /// Checks what a person typed. Enrolment asks the same: a secret counts once it gave one right code.
    ///
    /// # Errors
    ///
    /// A store that gives no answer: the code is not accepted, and the try may be spent.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may have spent a try, or the code.
    pub async fn check(
        &self,
        factor: &FactorId,
        totp: &Totp,
        typed: &str,
        now: Timestamp,
    ) -> Result<TotpVerdict, Error> {
        let input = match CodeInput::parse(typed, totp.length()) {
            Ok(input) => input,
            Err(error) => return Ok(TotpVerdict::Malformed(error)),
        };
        let drift = match self.steps.reserve(factor, &self.tries, now).await? {
            Reservation::Granted { drift } => drift,
            Reservation::Refused => return Ok(TotpVerdict::TooMany),
        };
        let Some(step) = totp.find_step(&input, now, drift) else {
            return Ok(TotpVerdict::Refused);
        };
        // RFC 6238 section 5.2: never the same step twice. The store decides who is first.
        if !self.steps.advance(factor, step, Drift::observed(step, now)).await? {
            return Ok(TotpVerdict::Refused);
        }
        Ok(TotpVerdict::Verified(VerifiedTotp { factor: factor.clone(), step, at: now }))
    }
}

/// The answer to a typed code.
#[must_use]
#[derive(Debug)]
pub enum TotpVerdict {
    /// Right, and this caller is the only one to be told so.
    Verified(VerifiedTotp),
    /// Wrong, or used before.
    Refused,
    /// Too many wrong codes in a row; nothing was compared.
    TooMany,
    /// It cannot be a code; no try was spent.
    Malformed(CodeInputError),
}

/// The proof that a person held an authenticator of theirs. Comes out of [`SecondFactor::check`] alone, and cannot
/// be copied.
#[must_use]
pub struct VerifiedTotp {
    factor: FactorId,
    step: Step,
    at: Timestamp,
}

impl VerifiedTotp {
    /// Which authenticator.
    pub fn factor(&self) -> &FactorId {
        &self.factor
    }

    /// Whose authenticator: the `sub` of tokens.
    pub fn subject(&self) -> &str {
        self.factor.subject()
    }

    /// The step of the code.
    pub fn step(&self) -> Step {
        self.step
    }

    /// When it was accepted.
    pub fn authenticated_at(&self) -> Timestamp {
        self.at
    }
}

impl fmt::Debug for VerifiedTotp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedTotp").field("factor", &self.factor).finish_non_exhaustive()
    }
}
