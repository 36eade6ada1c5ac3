//! How likely a guesser is to win.

use std::time::Duration;

use crate::code::CodeLength;
use crate::throttle::Budget;

/// The chance that somebody who only guesses gets in, however many addresses are admitted: a rule that admits a
/// whole domain admits every spelling of it, and that changes nothing here.
///
/// A guess at a code of *d* digits hits with 10^-*d*, and the number of guesses is what the budgets let
/// pass, so each bound is a sum over guesses (Boole's inequality): no assumption about the attacker, but
/// that they read no mail. The first counts what strangers and known devices of the address guess together, so
/// it holds against whoever once had the mailbox; the second counts strangers.
///
/// ```
/// use std::sync::Arc;
/// use otp_auth::{login::Login, random::SystemRandom, secret::Pepper, store::MemoryStore};
///
/// let random = SystemRandom::new();
/// let (pepper, host) = (Pepper::generate(&random)?, "auth.example.jp".parse()?);
/// let login = Login::builder(Arc::new(MemoryStore::new()), pepper, Arc::new(random), host).build()?;
/// println!("{}", login.risk()); // 9.5e-5 a year for one address, 8.9e-4 a day for any
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
}

impl Risk {
    /// Computes both from the settings of a login.
    ///
    /// `ordinary` is the length of codes, `failures` are the budgets of failed tries of one address by strangers and
    /// by its known devices, `short_codes` that of either at codes of ordinary length; codes have nine digits once
    /// the latter is spent. `of_all`
    /// are the budgets of failed tries of all strangers: at codes of ordinary length, of nine digits, of twelve.
    pub fn compute(
        ordinary: CodeLength,
        failures: [&Budget; 2],
        short_codes: &Budget,
        of_all: [&Budget; 3],
    ) -> Self {
        let is_short = ordinary.digits() < CodeLength::Nine.digits();
        // Whoever guesses at addresses that are not admitted guesses at decoys, which nothing opens.
        let lengths = [ordinary, CodeLength::Nine, CodeLength::Twelve];
        let day = lengths.into_iter().zip(of_all).enumerate().map(|(tier, (length, budget))| {
            // The first tier is there for short codes only.
            let is_used = if tier == 0 { is_short } else { length.digits() >= ordinary.digits() };
            let guesses = if is_used { count(budget.most_within(DAY)) } else { 0.0 };
            guesses * chance(length)
        });
        let long = if is_short { CodeLength::Nine } else { ordinary };
        let year = failures.map(|failures| {
            let all = count(failures.most_within(YEAR));
            let at_short = if is_short { count(short_codes.most_within(YEAR)) } else { 0.0 };
            at_short.min(all) * chance(ordinary) + (all - at_short).max(0.0) * chance(long)
        });
        Self {
            of_one_address_in_a_year: year.iter().sum::<f64>().min(1.0),
            of_any_address_in_a_day: day.sum::<f64>().min(1.0),
        }
    }
}

impl std::fmt::Display for Risk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.1e} a year for one address, {:.1e} a day for any",
            self.of_one_address_in_a_year, self.of_any_address_in_a_day
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

    fn of_all(short: &Budget) -> Risk {
        let (nine, twelve) = (Budget::nine_digits_of_all(), Budget::twelve_digits_of_all());
        let (failures, short_codes) = (Budget::failures(), Budget::short_codes());
        Risk::compute(CodeLength::Six, [&failures; 2], &short_codes, [short, &nine, &twelve])
    }

    fn of_length(length: CodeLength, failures: &Budget, short: &Budget) -> Risk {
        let (nine, twelve) = (Budget::nine_digits_of_all(), Budget::twelve_digits_of_all());
        Risk::compute(length, [failures; 2], short, [&Budget::short_codes_of_all(), &nine, &twelve])
    }

    fn close(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-6, "{found} for {expected}");
    }

    #[test]
    fn the_defaults_keep_both_bounds() {
        let risk = of_all(&Budget::short_codes_of_all());
        // 40 guesses at six digits and 7,270 at nine, by strangers and by known devices.
        close(risk.of_one_address_in_a_year, 2.0 * (40e-6 + 7_270e-9));
        // 600 at six, 200,000 at nine, 86.4 million at twelve.
        close(risk.of_any_address_in_a_day, 600e-6 + 200_000e-9 + 86.4e6 * 1e-12);
        assert_eq!(risk.to_string(), "9.5e-5 a year for one address, 8.9e-4 a day for any");
    }

    /// Notes, section 1.6: five for each code and a new code each minute is 0.93 a year.
    #[test]
    fn without_budgets_that_last_an_account_is_lost_within_the_year() {
        let wide = Budget::try_new(vec![Rule::try_new(7_200, DAY).unwrap()]).unwrap();
        assert!(of_length(CodeLength::Six, &wide, &wide).of_one_address_in_a_year > 0.9);
        close(of_all(&wide).of_any_address_in_a_day, 14_400e-6 + 200_000e-9 + 86.4e-6);
    }

    #[test]
    fn longer_codes_and_fewer_tries_lower_it() {
        let (failures, short) = (Budget::failures(), Budget::short_codes());
        let lengths = [CodeLength::Six, CodeLength::Eight, CodeLength::Nine, CodeLength::Twelve];
        let risks = lengths.map(|length| of_length(length, &failures, &short));
        for pair in risks.windows(2) {
            assert!(pair[1].of_one_address_in_a_year < pair[0].of_one_address_in_a_year);
            assert!(pair[1].of_any_address_in_a_day < pair[0].of_any_address_in_a_day);
        }
        close(risks[3].of_any_address_in_a_day, 86.4e-6);
        let few = Budget::try_new(vec![Rule::try_new(1, DAY).unwrap()]).unwrap();
        let few = of_length(CodeLength::Six, &few, &short);
        assert!(few.of_one_address_in_a_year < risks[0].of_one_address_in_a_year);
    }
}
