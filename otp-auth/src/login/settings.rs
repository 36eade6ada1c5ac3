//! Settings of a login, and what refuses them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Core, Login, Observer, Risk, SignIn};
use crate::code::CodeLength;
use crate::error::Error;
use crate::mail::{Host, MailTemplate};
use crate::random::Random;
use crate::secret::Pepper;
use crate::store::Store;
use crate::throttle::Budget;

/// Settings of a [`Login`].
#[must_use]
pub struct LoginBuilder {
    pub(super) store: Arc<dyn Store>,
    pub(super) pepper: Pepper,
    pub(super) random: Arc<dyn Random>,
    pub(super) host: Host,
    pub(super) observer: Option<Arc<dyn Observer>>,
    pub(super) settings: Settings,
}

impl LoginBuilder {
    /// For how long a code is good, counted from the first request. Default and maximum 10 minutes
    /// (NIST SP 800-63B-4, ASVS 6.5.5); minimum 1 minute.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.lifetime = lifetime;
        self
    }

    /// How many tries a flow has, resends included. Default 5, maximum 10.
    pub fn tries(mut self, tries: u32) -> Self {
        self.settings.tries = tries;
        self
    }

    /// How many digits an ordinary code has. Default six. A code has nine where the address or the
    /// deployment is being guessed at.
    pub fn code_length(mut self, length: CodeLength) -> Self {
        self.settings.length = length;
        self
    }

    /// How many tries of one address, or of one known device, may fail. Default [`Budget::failures`]:
    /// 10 an hour, 30 a day, and a pause of a day after 100 in a row.
    pub fn failure_budget(mut self, budget: Budget) -> Self {
        self.settings.failures = budget;
        self
    }

    /// How many tries of one address may fail before its codes have nine digits. Default
    /// [`Budget::short_codes`]: 20, and 20 a year.
    pub fn short_code_budget(mut self, budget: Budget) -> Self {
        self.settings.short_codes = budget;
        self
    }

    /// How many tries of all strangers may fail before strangers' codes have nine digits. Default
    /// [`Budget::short_codes_of_all`]: 300, and 300 a day.
    pub fn deployment_budget(mut self, budget: Budget) -> Self {
        self.settings.short_codes_of_all = budget;
        self
    }

    /// How many mails one address gets, those that its own devices ask for counted apart; the shortest
    /// rule is the cool-down of a resend. Default [`Budget::mails`]: 1 a minute, 5 an hour, 10 a day.
    pub fn mail_budget(mut self, budget: Budget) -> Self {
        self.settings.mails = budget;
        self
    }

    /// How many flows strangers begin from one network. Default [`Budget::starts`]: 30 in 10 minutes.
    pub fn start_budget(mut self, budget: Budget) -> Self {
        self.settings.starts = budget;
        self
    }

    /// How many flows known devices begin from one network. Default
    /// [`Budget::starts_of_known_devices`]: 60 in 10 minutes.
    pub fn known_device_start_budget(mut self, budget: Budget) -> Self {
        self.settings.device_starts = budget;
        self
    }

    /// How many addresses the policy admits, at most. Default 5,000. The more doors there are to try,
    /// the likelier one opens; see [`Risk`].
    pub fn addresses(mut self, addresses: u32) -> Self {
        self.settings.addresses = addresses;
        self
    }

    /// Who hears what happens. Default nobody.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Accepts settings with more [`Risk`] than 1e-4 a year for one address and 1e-3 a day for any.
    ///
    /// # Security
    ///
    /// These are the chances that guessing alone takes an account over.
    pub fn danger_accept_risk(mut self, of_one_in_a_year: f64, of_any_in_a_day: f64) -> Self {
        self.settings.bounds = (of_one_in_a_year, of_any_in_a_day);
        self
    }

    /// The risk of these settings, whether or not [`build`](Self::build) would take them.
    pub fn risk(&self) -> Risk {
        self.settings.risk()
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Names the setting that is out of range, as the caller's fault; `risk` where guessing is likelier to
    /// succeed than the bounds say.
    pub fn build(self) -> Result<Login<SignIn>, Error> {
        let Self { store, pepper, random, host, observer, settings } = self;
        if !(MIN_LIFETIME..=MAX_LIFETIME).contains(&settings.lifetime) {
            return Err(Error::setting("lifetime", "it must be 1 to 10 minutes"));
        }
        if !(1..=10).contains(&settings.tries) {
            return Err(Error::setting("tries", "it must be 1 to 10"));
        }
        let (risk, (year, day)) = (settings.risk(), settings.bounds);
        let keeps = |found: f64, bound: f64| found <= bound;
        if !keeps(risk.of_one_address_in_a_year, year) {
            return Err(Error::setting("risk", "an address is guessed too likely within a year"));
        }
        if !keeps(risk.of_any_address_in_a_day, day) {
            return Err(Error::setting("risk", "some address is guessed too likely within a day"));
        }
        let (keys, template) = (pepper.keys(), Arc::new(MailTemplate::new(host)));
        Ok(Login::new(Core { store, keys, random, template, observer, settings }))
    }
}

impl fmt::Debug for LoginBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) struct Settings {
    pub(super) lifetime: Duration,
    pub(super) tries: u32,
    pub(super) length: CodeLength,
    pub(super) failures: Budget,
    pub(super) short_codes: Budget,
    pub(super) short_codes_of_all: Budget,
    pub(super) mails: Budget,
    pub(super) starts: Budget,
    pub(super) device_starts: Budget,
    pub(super) addresses: u32,
    bounds: (f64, f64),
}

impl Settings {
    pub(super) fn risk(&self) -> Risk {
        Risk::compute(
            self.length,
            &self.failures,
            &self.short_codes,
            &self.short_codes_of_all,
            self.addresses,
        )
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lifetime: MAX_LIFETIME,
            tries: 5,
            length: CodeLength::Six,
            failures: Budget::failures(),
            short_codes: Budget::short_codes(),
            short_codes_of_all: Budget::short_codes_of_all(),
            mails: Budget::mails(),
            starts: Budget::starts(),
            device_starts: Budget::starts_of_known_devices(),
            addresses: 5_000,
            bounds: (1e-4, 1e-3),
        }
    }
}

const MIN_LIFETIME: Duration = Duration::from_secs(60);

/// NIST SP 800-63B-4 and ASVS 6.5.5: a mailed code lives 10 minutes at most.
const MAX_LIFETIME: Duration = Duration::from_secs(600);
