//! One-time codes: drawing, reading what a person typed, and the keyed digest that is stored.

use std::fmt;

use subtle::ConstantTimeEq;
use thiserror::Error as ThisError;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::random::Random;
use crate::secret::{Pepper, Secret, keyed_digest};

/// How many digits a code has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum CodeLength {
    /// Six digits, 20 bits: the default, as Cloudflare Access.
    #[default]
    Six,
    /// Eight digits.
    Eight,
    /// Nine digits.
    Nine,
}

impl CodeLength {
    /// The number of digits.
    pub const fn digits(self) -> usize {
        match self {
            Self::Six => 6,
            Self::Eight => 8,
            Self::Nine => 9,
        }
    }

    /// How many codes there are.
    const fn modulus(self) -> u32 {
        match self {
            Self::Six => 1_000_000,
            Self::Eight => 100_000_000,
            Self::Nine => 1_000_000_000,
        }
    }

    /// The least 32-bit draw that is refused: the greatest multiple of the modulus within 32 bits.
    const fn bound(self) -> u32 {
        match self {
            Self::Six => 4_294_000_000,
            Self::Eight => 4_200_000_000,
            Self::Nine => 4_000_000_000,
        }
    }
}

/// A code as drawn. Redacted in every output; zeroed on drop.
#[derive(Clone)]
pub struct Code {
    digits: Zeroizing<String>,
}

impl Code {
    /// Draws a code, each value equally likely.
    ///
    /// # Errors
    ///
    /// Fails when the generator does, or delivers 64 refused draws in a row (chance below 2^-240 at six
    /// digits): a stuck generator is an error, never a weak code.
    pub fn draw(random: &dyn Random, length: CodeLength) -> Result<Self, Error> {
        for _ in 0..64 {
            let mut bytes = Zeroizing::new([0; 4]);
            random.fill(&mut *bytes)?;
            if let Some(value) = reduce(u32::from_be_bytes(*bytes), length) {
                let digits = Zeroizing::new(format!("{value:0width$}", width = length.digits()));
                return Ok(Self { digits });
            }
        }
        Err(Error::randomness())
    }

    /// The digits in the clear. Only for the message to the person, and for tests.
    pub fn expose(&self) -> &str {
        &self.digits
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(..)")
    }
}

/// What a person typed, in its one normal form.
///
/// Accepts ASCII digits and full-width digits (U+FF10 to U+FF19). Spaces (U+0020, U+3000) and hyphens
/// (U+002D, U+2010 to U+2015, U+FF0D) are dropped wherever they stand. Everything else is refused, other
/// scripts' digits included. The normal form is what is hashed and compared, so no spelling gets a
/// second chance.
#[derive(Clone)]
pub struct CodeInput {
    digits: Zeroizing<String>,
}

impl CodeInput {
    /// Reads `text` as a code of the given length.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the form; a malformed input is never counted as a try.
    ///
    /// ```
    /// use otp_auth::code::{CodeInput, CodeInputError, CodeLength};
    ///
    /// assert!(CodeInput::parse(" 482-913 ", CodeLength::Six).is_ok());
    /// assert!(CodeInput::parse("４８２　９１３", CodeLength::Six).is_ok());
    /// let refused = CodeInput::parse("48291", CodeLength::Six).unwrap_err();
    /// assert_eq!(refused, CodeInputError::WrongLength { expected: 6 });
    /// ```
    pub fn parse(text: &str, length: CodeLength) -> Result<Self, CodeInputError> {
        let wrong_length = CodeInputError::WrongLength { expected: length.digits() };
        if text.len() > INPUT_BYTES {
            return Err(wrong_length);
        }
        let mut digits = Zeroizing::new(String::with_capacity(INPUT_BYTES));
        for c in text.chars() {
            match c {
                '0'..='9' => digits.push(c),
                '\u{ff10}'..='\u{ff19}' => digits.extend(char::from_digit(c as u32 - 0xff10, 10)),
                ' ' | '\u{3000}' | '-' | '\u{2010}'..='\u{2015}' | '\u{ff0d}' => {}
                _ => return Err(CodeInputError::NotADigit { expected: length.digits() }),
            }
        }
        if digits.len() == length.digits() { Ok(Self { digits }) } else { Err(wrong_length) }
    }

    /// The digits as a number, for codes that are computed and not kept.
    #[cfg(feature = "totp")]
    pub(crate) fn value(&self) -> u32 {
        self.digits.bytes().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'))
    }
}

impl fmt::Debug for CodeInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeInput(..)")
    }
}

/// Why an input cannot be a code. Safe to show: it depends on the input alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum CodeInputError {
    /// Too few or too many digits.
    #[error("the code has {expected} digits")]
    WrongLength {
        /// How many digits a code has.
        expected: usize,
    },
    /// A character that is neither digit nor separator.
    #[error("the code has {expected} digits and nothing else")]
    NotADigit {
        /// How many digits a code has.
        expected: usize,
    },
}

/// Everything that a code is bound to: a digest copied to another challenge, address or browser is void.
pub(crate) struct Binding<'a> {
    pub(crate) purpose: &'a str,
    pub(crate) challenge: &'a [u8],
    pub(crate) flow: &'a Secret,
    pub(crate) address_key: &'a str,
    pub(crate) generation: u32,
    /// A decoy's digest is made with `false` and verified with `true`: no guess can match it.
    pub(crate) admitted: bool,
}

impl Binding<'_> {
    /// The digest to store for a drawn code.
    pub(crate) fn digest(&self, pepper: &Pepper, code: &Code) -> [u8; 32] {
        self.digest_under(pepper.current(), &code.digits)
    }

    /// Compares an input with a stored digest under the current and the previous pepper.
    ///
    /// Takes constant time in both values; the number of HMACs depends on the configuration only.
    pub(crate) fn matches(&self, pepper: &Pepper, input: &CodeInput, stored: &[u8; 32]) -> bool {
        let current = self.digest_under(pepper.current(), &input.digits).ct_eq(stored);
        let previous = pepper
            .previous()
            .map_or(0.into(), |previous| self.digest_under(previous, &input.digits).ct_eq(stored));
        (current | previous).into()
    }

    fn digest_under(&self, key: &Secret, digits: &str) -> [u8; 32] {
        keyed_digest(
            key,
            &[
                b"otp-auth/code/v1",
                self.purpose.as_bytes(),
                self.challenge,
                self.flow.expose(),
                self.address_key.as_bytes(),
                &self.generation.to_be_bytes(),
                &[u8::from(self.admitted)],
                digits.as_bytes(),
            ],
        )
    }
}

/// Maps a 32-bit draw to a code value, or refuses it so that no value is favoured.
fn reduce(draw: u32, length: CodeLength) -> Option<u32> {
    (draw < length.bound()).then(|| draw % length.modulus())
}

/// Nine full-width digits with a separator between any two take 51 bytes.
const INPUT_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: [CodeLength; 3] = [CodeLength::Six, CodeLength::Eight, CodeLength::Nine];

    /// The accepted draws are whole runs of `0..modulus`, one after the other: every value has exactly
    /// `bound / modulus` pre-images. Shown by arithmetic at each border and by enumeration of runs.
    #[test]
    fn every_code_has_equally_many_draws() {
        for length in LENGTHS {
            let (bound, modulus) = (length.bound(), length.modulus());
            assert_eq!(modulus, 10u32.pow(u32::try_from(length.digits()).unwrap()));
            assert_eq!(bound % modulus, 0);
            assert!(
                u64::from(bound) + u64::from(modulus) > u64::from(u32::MAX) + 1,
                "not greatest"
            );
            for run in 0..bound / modulus {
                let first = run * modulus;
                assert_eq!(reduce(first, length), Some(0));
                assert_eq!(reduce(first + (modulus - 1), length), Some(modulus - 1));
            }
            assert_eq!(reduce(bound, length), None);
            assert_eq!(reduce(u32::MAX, length), None);
        }
        for run in [0, 1, 2_146, 4_293] {
            let mut seen = vec![0u8; 1_000_000];
            for draw in run * 1_000_000..(run + 1) * 1_000_000 {
                seen[reduce(draw, CodeLength::Six).unwrap() as usize] += 1;
            }
            assert!(seen.iter().all(|count| *count == 1));
        }
    }

    #[derive(Debug)]
    struct Scripted(std::sync::Mutex<Vec<u32>>);

    impl Random for Scripted {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), Error> {
            let draw = self.0.lock().unwrap().pop().ok_or_else(Error::randomness)?;
            bytes.copy_from_slice(&draw.to_be_bytes());
            Ok(())
        }
    }

    #[test]
    fn refused_draws_are_drawn_again() {
        let random = Scripted(vec![7, u32::MAX, 4_294_000_000].into());
        assert_eq!(Code::draw(&random, CodeLength::Six).unwrap().expose(), "000007");
        assert!(Code::draw(&random, CodeLength::Six).unwrap_err().is_randomness());
        let stuck = Scripted(vec![u32::MAX; 100].into());
        assert!(Code::draw(&stuck, CodeLength::Six).unwrap_err().is_randomness());
    }

    #[test]
    fn each_part_of_the_binding_counts() {
        let pepper = Pepper::new(Secret::new(vec![1; 32])).unwrap();
        let code = Code { digits: Zeroizing::new("482913".to_owned()) };
        let input = CodeInput::parse("482913", CodeLength::Six).unwrap();
        let flow = Secret::new(vec![2; 32]);
        let other_flow = Secret::new(vec![3; 32]);
        let issued = || Binding {
            purpose: "sign-in",
            challenge: &[4; 16],
            flow: &flow,
            address_key: "a@b.example",
            generation: 0,
            admitted: true,
        };
        let stored = issued().digest(&pepper, &code);
        assert!(issued().matches(&pepper, &input, &stored));
        for changed in [
            Binding { purpose: "step-up", ..issued() },
            Binding { challenge: &[5; 16], ..issued() },
            Binding { flow: &other_flow, ..issued() },
            Binding { address_key: "b@b.example", ..issued() },
            Binding { generation: 1, ..issued() },
            Binding { admitted: false, ..issued() },
        ] {
            assert!(!changed.matches(&pepper, &input, &stored));
        }
        let other = CodeInput::parse("482914", CodeLength::Six).unwrap();
        assert!(!issued().matches(&pepper, &other, &stored));
        let rotated = Pepper::new(Secret::new(vec![9; 32])).unwrap();
        assert!(!issued().matches(&rotated, &input, &stored));
        let rotated = rotated.with_previous(Secret::new(vec![1; 32])).unwrap();
        assert!(issued().matches(&rotated, &input, &stored));
    }
}
