//! Codes from the clock (RFC 6238): enrolment, and a check that no replay and no timing gets past.

mod enrolment;
#[cfg(feature = "redis")]
mod redis;
mod store;
mod uri;

use std::fmt;

use subtle::{ConditionallySelectable, ConstantTimeEq, ConstantTimeGreater};

pub use self::enrolment::{SecondFactor, TotpVerdict, VerifiedTotp};
pub use self::store::{FactorId, MemorySteps, Reservation, StepStore, Tries};
use crate::code::{CodeInput, CodeLength};
use crate::error::Error;
use crate::hotp::{HotpKey, OtpHash, modulus};
use crate::random::Random;
use crate::secret::Secret;
use crate::timestamp::Timestamp;

/// An authenticator app's secret, with what the app was told about it.
///
/// The defaults are those that every app knows: SHA-1, six digits, a step of 30 seconds, counted from the
/// Unix epoch.
#[derive(Clone)]
pub struct Totp {
    secret: Secret,
    key: HotpKey,
    hash: OtpHash,
    length: CodeLength,
}

impl Totp {
    /// Draws a secret of 160 bits (RFC 4226 section 4, R6).
    ///
    /// # Errors
    ///
    /// Fails when the generator does.
    pub fn generate(random: &dyn Random) -> Result<Self, Error> {
        Self::from_secret(Secret::generate(random, SECRET_BYTES)?)
    }

    /// Takes a secret of 16 to 128 bytes, for instance one that was kept.
    ///
    /// # Errors
    ///
    /// Refuses other lengths, as the caller's fault.
    pub fn from_secret(secret: Secret) -> Result<Self, Error> {
        Self::with_parameters(secret, OtpHash::Sha1, CodeLength::Six)
    }

    /// As [`from_secret`](Self::from_secret), for an app that is known to honour other parameters.
    ///
    /// # Errors
    ///
    /// Refuses secrets that are too short or too long, and twelve digits, as the caller's fault.
    pub fn with_parameters(
        secret: Secret,
        hash: OtpHash,
        length: CodeLength,
    ) -> Result<Self, Error> {
        if length == CodeLength::Twelve {
            return Err(Error::setting("code length", "it must be six, eight or nine digits"));
        }
        let key = HotpKey::new(&secret, hash)?;
        Ok(Self { secret, key, hash, length })
    }

    /// The shared secret, to be kept [sealed](crate::seal::SealingKey::seal) with the person's id as
    /// context.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// How many digits its codes have.
    pub fn length(&self) -> CodeLength {
        self.length
    }

    /// The key URI that an app reads from a QR code. See [`key_uri`](Self::key_uri) for its form.
    ///
    /// `otpauth://totp/ISSUER:ACCOUNT?secret=BASE32&issuer=ISSUER&algorithm=SHA1&digits=6&period=30`,
    /// with base32 unpadded. Everything in issuer and account but letters, digits, `-`, `.`, `_` and `~`
    /// is percent-encoded, colons and percent signs included, so that no app can split it elsewhere.
    ///
    /// The text holds the secret: show it once, to the person it belongs to, and do not log it.
    ///
    /// # Errors
    ///
    /// Refuses an issuer or account that is empty, over 128 bytes, or has control characters.
    pub fn key_uri(&self, issuer: &str, account: &str) -> Result<Secret, Error> {
        uri::write(self, issuer, account)
    }

    /// The secret in unpadded base32 (RFC 4648 section 6), for typing where no camera is.
    pub fn base32_secret(&self) -> Secret {
        Secret::new(uri::base32(self.secret.expose()).as_bytes().to_vec())
    }

    /// The code for a step, as a number. For tests and for programs that stand in for an app.
    pub fn value(&self, step: Step) -> u32 {
        self.key.value(step.0, self.length)
    }

    /// Compares an input with the codes of three steps: the one of `now` moved by `drift`, and its two
    /// neighbours. All three are computed and compared whatever the input is.
    ///
    /// Answers with the step, which is not an acceptance yet: whoever calls this must also let a
    /// [`StepStore`] advance to it. [`SecondFactor`] does both, and counts the tries.
    pub fn find_step(&self, input: &CodeInput, now: Timestamp, drift: Drift) -> Option<Step> {
        let typed = input.value();
        let centre = Step::at(now).0.saturating_add_signed(i64::from(drift.0));
        let modulus = modulus(self.length);
        let mut found = 0_u64;
        // Latest last: if two steps have one code, the later one counts, and no replay of it is left.
        for step in [centre.saturating_sub(1), centre, centre.saturating_add(1)] {
            let code = self.key.value(step, self.length) % modulus;
            let is_it = code.ct_eq(&typed);
            // Step 0 stands for "none": nobody is in 1970.
            found = u64::conditional_select(&found, &step, is_it);
        }
        bool::from(found.ct_gt(&0)).then_some(Step(found))
    }
}

impl fmt::Debug for Totp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Totp")
            .field("hash", &self.hash)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// A window of 30 seconds, numbered from the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step(u64);

impl Step {
    /// The step of a moment.
    pub fn at(now: Timestamp) -> Self {
        Self(now.as_unix_secs() / STEP_SECS)
    }

    /// The step of this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// How far an app's clock is ahead of ours, in steps: at most one, either way (RFC 6238 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Drift(i8);

impl Drift {
    /// Takes what was observed, cut to one step.
    pub fn observed(found: Step, now: Timestamp) -> Self {
        let here = Step::at(now).0;
        Self(if found.0 > here { 1 } else { -i8::from(found.0 < here) })
    }

    /// From what a store kept; anything else than -1, 0 and 1 is cut.
    pub fn new(steps: i8) -> Self {
        Self(steps.clamp(-1, 1))
    }

    /// -1, 0 or 1.
    pub const fn steps(self) -> i8 {
        self.0
    }
}

/// RFC 6238 section 5.2.
const STEP_SECS: u64 = 30;

/// The output length of SHA-1.
const SECRET_BYTES: usize = 20;
