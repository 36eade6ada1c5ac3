//! How likely a guesser is to win.

use std::time::Duration;

use crate::code::CodeLength;
use crate::throttle::Budget;

/// The chance that somebody who only guesses gets in, where so many addresses are admitted as the settings say.
///
/// A rule that admits a whole domain admits every spelling of it: each new address comes with budgets of its own, and
/// guesses at codes of nine digits have no budget of the deployment. Then only what a network may begin bounds the second
/// number. Set the number of addresses with such a rule in mind.
///
/// A guess at a code of *d* digits hits with 10^-*d*, and the number of guesses is what the budgets let
/// pass, so each bound is a sum over guesses (Boole's inequality): no assumption about the attacker, but
/// that they read no mail and have no browser that has signed in before.
///
/// ```
/// use std::sync::Arc;
/// use otp_auth::{login::Login, random::SystemRandom, secret::Pepper, store::MemoryStore};
///
/// let random = SystemRandom::new();
/// let (pepper, host) = (Pepper::generate(&random)?, "auth.example.jp".parse()?);
/// let login = Login::builder(Arc::new(MemoryStore::new()), pepper, Arc::new(random), host).build()?;
/// println!("{}", login.risk()); // 5.1e-5 a year for one address, 9.0e-4 a day for any of 5000
/// assert!(login.risk().of_one_address_in_a_year <= 1e-4);
/// assert!(login.risk().of_any_address_in_a_day <= 1e-3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Risk {
    /// That one given address is taken over within a year of unlimited attack.
    pub of_one_address_in_a_year: f64,
    /// That any address of the deployment is, within a day.
    pub of_any_address_in_a_day: f64,
    /// How many admitted addresses the second number is for.
    pub addresses: u32,
}

impl Risk {
    /// Computes both from the settings of a login.
    ///
    /// `ordinary` is the length of codes, `failures`, `short_codes` and `short_codes_of_all` are the
    /// budgets of failed tries of one address, of one address at ordinary codes, and of all strangers at
    /// ordinary codes; codes have nine digits once one of the latter is spent. `addresses` is how many
    /// addresses are admitted.
    pub fn compute(
        ordinary: CodeLength,
        failures: &Budget,
        short_codes: &Budget,
        short_codes_of_all: &Budget,
        addresses: u32,
    ) -> Self {
        let (short, long) = (chance(ordinary), chance(CodeLength::Nine));
        let all = count(failures.most_within(YEAR));
        let at_short = count(short_codes.most_within(YEAR)).min(all);
        let year = at_short * short + (all - at_short) * long;
        // Failures at long codes are bounded for each address only. Whoever guesses at addresses that
        // are not admitted guesses at decoys, which nothing opens.
        let all_day = count(failures.most_within(DAY)) * f64::from(addresses);
        let at_short_day = count(short_codes_of_all.most_within(DAY)).min(all_day);
        let day = at_short_day * short + (all_day - at_short_day) * long;
        Self {
            of_one_address_in_a_year: year.min(1.0),
            of_any_address_in_a_day: day.min(1.0),
            addresses,
        }
    }
}

impl std::fmt::Display for Risk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.1e} a year for one address, {:.1e} a day for any of {}",
            self.of_one_address_in_a_year, self.of_any_address_in_a_day, self.addresses
        )
    }
}

fn chance(length: CodeLength) -> f64 {
    0.1f64.powi(i32::try_from(length.digits()).unwrap_or(0))
}

#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 guesses the chance is 1 anyway")]
fn count(guesses: u64) -> f64 {
    guesses as f64
}

const DAY: Duration = Duration::from_secs(86_400);

const YEAR: Duration = Duration::from_secs(365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::throttle::Rule;

    fn risk(failures: &Budget, short: &Budget, all: &Budget) -> Risk {
        Risk::compute(CodeLength::Six, failures, short, all, 5_000)
    }

    fn close(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-6, "{found} for {expected}");
    }

    #[test]
    fn the_defaults_keep_both_bounds() {
        let risk = risk(&Budget::failures(), &Budget::short_codes(), &Budget::short_codes_of_all());
        // 40 guesses at six digits and 10,940 at nine.
        close(risk.of_one_address_in_a_year, 40e-6 + 10_940e-9);
        // 600 at six, and 5,000 times 60 less those at nine.
        close(risk.of_any_address_in_a_day, 600e-6 + 299_400e-9);
        assert_eq!(risk.to_string(), "5.1e-5 a year for one address, 9.0e-4 a day for any of 5000");
    }

    /// Notes, section 1.6: five for each code and a new code each minute is 0.93 a year.
    #[test]
    fn without_budgets_that_last_an_account_is_lost_within_the_year() {
        let rule = |count| Rule::try_new(count, Duration::from_secs(86_400)).unwrap();
        let wide = Budget::try_new(vec![rule(7_200)]).unwrap();
        let risk = risk(&wide, &wide, &wide);
        assert!(risk.of_one_address_in_a_year > 0.9);
        close(risk.of_any_address_in_a_day, 14_400e-6 + (5_000.0 * 14_400.0 - 14_400.0) * 1e-9);
    }

    #[test]
    fn longer_codes_and_fewer_tries_lower_it() {
        let (failures, short, all) =
            (Budget::failures(), Budget::short_codes(), Budget::short_codes_of_all());
        let six = risk(&failures, &short, &all);
        let eight = Risk::compute(CodeLength::Eight, &failures, &short, &all, 5_000);
        assert!(eight.of_one_address_in_a_year < six.of_one_address_in_a_year);
        assert!(eight.of_any_address_in_a_day < six.of_any_address_in_a_day);
        let few = Budget::try_new(vec![Rule::try_new(1, DAY).unwrap()]).unwrap();
        assert!(risk(&few, &short, &all).of_one_address_in_a_year < six.of_one_address_in_a_year);
    }
}
