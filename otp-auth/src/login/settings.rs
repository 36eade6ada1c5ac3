//! Settings of a login, and what refuses them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Core, Login, Observer, Risk, SignIn};
use crate::code::CodeLength;
use crate::error::Error;
use crate::locale::Locale;
use crate::mail::{MailTemplate, MailTexts};
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
    pub(super) template: MailTemplate,
    pub(super) observer: Option<Arc<dyn Observer>>,
    pub(super) settings: Settings,
}

impl LoginBuilder {
    /// For how long a code is good, counted from the first request. Default and maximum 10 minutes
    /// (NIST SP 800-63B-4, ASVS 6.5.5); minimum 1 minute. Nothing is sent again in the last minute.
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
    /// deployment is being guessed at, and twelve where the deployment is being guessed at without measure.
    pub fn code_length(mut self, length: CodeLength) -> Self {
        self.settings.length = length;
        self
    }

    /// How many tries of one address by strangers may fail. Default [`Budget::failures`]: 10 an hour, 30 a day.
    /// Guesses at a flow that got no mail because a budget of mails was spent do not count, since they cannot win.
    pub fn failure_budget(mut self, budget: Budget) -> Self {
        self.settings.failures = budget;
        self
    }

    /// How many by its known devices may. Default [`Budget::failures_of_known_devices`]: as many, and a pause of a
    /// day after 100 in a row.
    pub fn known_device_failure_budget(mut self, budget: Budget) -> Self {
        self.settings.device_failures = budget;
        self
    }

    /// How many tries of one address may fail before its codes have nine digits, those of strangers and of known
    /// devices counted apart. Default [`Budget::short_codes`]: 20, and 20 a year.
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

    /// How many tries of all strangers at nine digits may fail before strangers' codes have twelve. Default
    /// [`Budget::nine_digits_of_all`]: 100,000, and 100,000 a day.
    pub fn nine_digit_budget(mut self, budget: Budget) -> Self {
        self.settings.nine_digits_of_all = budget;
        self
    }

    /// How many tries of all strangers at twelve digits may fail before none is compared. Default
    /// [`Budget::twelve_digits_of_all`]: 43.2 million, and as many a day.
    pub fn twelve_digit_budget(mut self, budget: Budget) -> Self {
        self.settings.twelve_digits_of_all = budget;
        self
    }

    /// How many mails one address gets, those that its own devices ask for counted apart, and those that led to
    /// a success not at all; the shortest rule is the cool-down of a resend. Default [`Budget::mails`]: 1 a
    /// minute, 5 an hour, 10 a day.
    pub fn mail_budget(mut self, budget: Budget) -> Self {
        self.settings.mails = budget;
        self
    }

    /// How many of those strangers from one network may ask for. Default
    /// [`Budget::mails_of_one_network_to_one_address`]: 6 a day. Keep it below the budget of the address: what is
    /// left over is what a person with a new device gets while one network asks without end.
    pub fn mail_share_budget(mut self, budget: Budget) -> Self {
        self.settings.mail_share = budget;
        self
    }

    /// How many mails strangers from one network may ask for, to whomever. Default
    /// [`Budget::mails_of_one_network`]: 20 an hour.
    pub fn network_mail_budget(mut self, budget: Budget) -> Self {
        self.settings.network_mails = budget;
        self
    }

    /// How many flows strangers begin from one network. Default [`Budget::starts`]: 30 in 10 minutes.
    pub fn start_budget(mut self, budget: Budget) -> Self {
        self.settings.starts = budget;
        self
    }

    /// How many flows strangers begin from one site of IPv6 (/48). Default [`Budget::starts_of_one_site`]: 60 in
    /// 10 minutes, 500 a day.
    pub fn site_start_budget(mut self, budget: Budget) -> Self {
        self.settings.site_starts = budget;
        self
    }

    /// How many flows for one address its known devices begin. Default
    /// [`Budget::starts_of_known_devices`]: 20 in 10 minutes, 200 a day.
    pub fn known_device_start_budget(mut self, budget: Budget) -> Self {
        self.settings.device_starts = budget;
        self
    }

    /// Other words of the mails. Default ours; see [`MailTexts`](crate::mail::MailTexts).
    pub fn mail_texts(mut self, locale: Locale, texts: MailTexts) -> Self {
        self.template = self.template.texts(locale, texts);
        self
    }

    /// Who hears what happens. Default nobody.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Lifts every budget but the tries of a challenge, and accepts the risk: for benchmarks, and for tests that
    /// sign in without end.
    ///
    /// # Security
    ///
    /// Whoever asks often enough gets in, and mails whom they like.
    pub fn danger_without_budgets(self) -> Self {
        let wide = Budget::without_end();
        self.failure_budget(wide.clone())
            .known_device_failure_budget(wide.clone())
            .short_code_budget(wide.clone())
            .deployment_budget(wide.clone())
            .nine_digit_budget(wide.clone())
            .twelve_digit_budget(wide.clone())
            .mail_budget(wide.clone())
            .mail_share_budget(wide.clone())
            .network_mail_budget(wide.clone())
            .start_budget(wide.clone())
            .site_start_budget(wide.clone())
            .known_device_start_budget(wide)
            .danger_accept_risk(1.0, 1.0)
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
        let Self { store, pepper, random, template, observer, settings } = self;
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
        let (keys, template) = (pepper.keys(), Arc::new(template));
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
    pub(super) device_failures: Budget,
    pub(super) short_codes: Budget,
    pub(super) short_codes_of_all: Budget,
    pub(super) nine_digits_of_all: Budget,
    pub(super) twelve_digits_of_all: Budget,
    pub(super) mails: Budget,
    pub(super) mail_share: Budget,
    pub(super) network_mails: Budget,
    pub(super) starts: Budget,
    pub(super) site_starts: Budget,
    pub(super) device_starts: Budget,
    bounds: (f64, f64),
}

impl Settings {
    pub(super) fn risk(&self) -> Risk {
        let of_all = [CodeLength::Six, CodeLength::Nine, CodeLength::Twelve];
        let of_all = of_all.map(|length| self.failures_of_all(length));
        let failures = [&self.failures, &self.device_failures];
        Risk::compute(self.length, failures, &self.short_codes, of_all)
    }

    /// Failed tries of an address.
    pub(super) fn failures(&self, is_known_device: bool) -> &Budget {
        if is_known_device { &self.device_failures } else { &self.failures }
    }

    /// Failed tries of all strangers at codes of this length.
    pub(super) fn failures_of_all(&self, length: CodeLength) -> &Budget {
        match length {
            CodeLength::Six | CodeLength::Eight => &self.short_codes_of_all,
            CodeLength::Nine => &self.nine_digits_of_all,
            CodeLength::Twelve => &self.twelve_digits_of_all,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lifetime: MAX_LIFETIME,
            tries: 5,
            length: CodeLength::Six,
            failures: Budget::failures(),
            device_failures: Budget::failures_of_known_devices(),
            short_codes: Budget::short_codes(),
            short_codes_of_all: Budget::short_codes_of_all(),
            nine_digits_of_all: Budget::nine_digits_of_all(),
            twelve_digits_of_all: Budget::twelve_digits_of_all(),
            mails: Budget::mails(),
            mail_share: Budget::mails_of_one_network_to_one_address(),
            network_mails: Budget::mails_of_one_network(),
            starts: Budget::starts(),
            site_starts: Budget::starts_of_one_site(),
            device_starts: Budget::starts_of_known_devices(),
            bounds: (1e-4, 1e-3),
        }
    }
}

const MIN_LIFETIME: Duration = Duration::from_secs(60);

/// NIST SP 800-63B-4 and ASVS 6.5.5: a mailed code lives 10 minutes at most.
const MAX_LIFETIME: Duration = Duration::from_secs(600);
