//! One-time codes: drawing, reading what a person typed, and the keyed digest that is stored.

use std::fmt;

use thiserror::Error as ThisError;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::random::Random;

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
    /// Twelve digits, for mailed codes alone: more than HOTP has.
    Twelve,
}

impl CodeLength {
    /// The number of digits.
    pub const fn digits(self) -> usize {
        match self {
            Self::Six => 6,
            Self::Eight => 8,
            Self::Nine => 9,
            Self::Twelve => 12,
        }
    }

    /// How many values one draw gives. Twelve digits are two draws of six.
    const fn modulus(self) -> u32 {
        match self {
            Self::Six | Self::Twelve => 1_000_000,
            Self::Eight => 100_000_000,
            Self::Nine => 1_000_000_000,
        }
    }

    /// The least 32-bit draw that is refused: the greatest multiple of the modulus within 32 bits.
    const fn bound(self) -> u32 {
        match self {
            Self::Six | Self::Twelve => 4_294_000_000,
            Self::Eight => 4_200_000_000,
            Self::Nine => 4_000_000_000,
        }
    }
}

/// A code as drawn. Redacted in every output; zeroed on drop.
#[derive(Clone)]
pub struct Code {
    digits: Digits,
}

impl Code {
    /// Draws a code, each value equally likely.
    ///
    /// # Errors
    ///
    /// Fails when the generator does, or delivers 64 refused draws in a row (chance below 2^-240 at nine
    /// digits): a stuck generator is an error, never a weak code.
    pub fn draw(random: &dyn Random, length: CodeLength) -> Result<Self, Error> {
        for _ in 0..DRAW_ROUNDS {
            let mut bytes = Zeroizing::new([0; DRAW_BYTES]);
            random.fill(&mut *bytes)?;
            if let Some(code) = Self::from_draws(&bytes, length) {
                return Ok(code);
            }
        }
        Err(Error::randomness())
    }

    /// The first of the 32-bit draws that are not refused, one or two; `None` if too few are left.
    pub(crate) fn from_draws(draws: &[u8; DRAW_BYTES], length: CodeLength) -> Option<Self> {
        let draws = draws
            .chunks_exact(4)
            .map(|draw| draw.iter().fold(0u32, |value, byte| value << 8 | u32::from(*byte)));
        let mut values = draws.filter_map(|draw| reduce(draw, length)).map(u64::from);
        let mut value = values.next()?;
        if length == CodeLength::Twelve {
            value = value * u64::from(length.modulus()) + values.next()?;
        }
        Some(Self { digits: Digits::of_number(value, length) })
    }

    /// A drawn code that was kept; `None` if the text is none.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let lengths = [CodeLength::Six, CodeLength::Eight, CodeLength::Nine, CodeLength::Twelve];
        let length = lengths.into_iter().find(|length| length.digits() == text.len())?;
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let value = text.parse().ok().filter(|_| is_plain)?;
        Some(Self { digits: Digits::of_number(value, length) })
    }

    /// The digits in the clear. Only for the message to the person, and for tests.
    pub fn expose(&self) -> &str {
        // INVARIANT: the bytes are ASCII digits.
        std::str::from_utf8(self.digits.as_bytes()).unwrap_or_default()
    }

    pub(crate) fn digits(&self) -> &[u8] {
        self.digits.as_bytes()
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(..)")
    }
}

/// What a person typed, in its one normal form.
///
/// Accepts ASCII digits and full-width digits (U+FF10 to U+FF19). Spaces (U+0020, and U+3000 of input
/// methods) and hyphens (U+002D) are dropped wherever they stand. Everything else is refused, other
/// scripts' digits included. The normal form is what is hashed and compared, so no spelling gets a
/// second chance.
#[derive(Clone)]
pub struct CodeInput {
    digits: Digits,
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
        let mut digits = Digits::default();
        let mut push = |digit: u8| digits.push(digit).ok_or(wrong_length);
        // A character that does not belong in a code is named even where there are too many digits.
        let mut result = Ok(());
        for c in text.chars() {
            match c {
                '0'..='9' => result = result.and(push(c as u8 - b'0')),
                '\u{ff10}'..='\u{ff19}' => result = result.and(push(((c as u32) & 0xf) as u8)),
                ' ' | '\u{3000}' | '-' => {}
                _ => return Err(CodeInputError::NotADigit { expected: length.digits() }),
            }
        }
        result?;
        if digits.as_bytes().len() == length.digits() {
            Ok(Self { digits })
        } else {
            Err(wrong_length)
        }
    }

    pub(crate) fn digits(&self) -> &[u8] {
        self.digits.as_bytes()
    }

    /// The digits as a number, for codes that are computed and not kept; what is longer than any of those is
    /// equal to none.
    #[cfg(feature = "totp")]
    pub(crate) fn value(&self) -> u32 {
        let digits = self.digits.as_bytes().iter();
        let value = digits.fold(0u64, |value, digit| value * 10 + u64::from(digit - b'0'));
        u32::try_from(value).unwrap_or(u32::MAX)
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

/// Up to twelve ASCII digits, zeroed on drop.
#[derive(Clone, Default)]
struct Digits {
    bytes: Zeroizing<[u8; MAX_DIGITS]>,
    length: usize,
}

impl Digits {
    /// The number with leading zeros.
    fn of_number(mut number: u64, length: CodeLength) -> Self {
        let mut bytes = Zeroizing::new([0; MAX_DIGITS]);
        for byte in bytes[..length.digits()].iter_mut().rev() {
            *byte = b'0' + (number % 10) as u8;
            number /= 10;
        }
        Self { bytes, length: length.digits() }
    }

    fn push(&mut self, digit: u8) -> Option<()> {
        *self.bytes.get_mut(self.length)? = b'0' + digit;
        self.length += 1;
        Some(())
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Maps a 32-bit draw to a code value, or refuses it so that no value is favoured.
fn reduce(draw: u32, length: CodeLength) -> Option<u32> {
    (draw < length.bound()).then(|| draw % length.modulus())
}

/// Twelve full-width digits with a separator between any two take 69 bytes.
const INPUT_BYTES: usize = 96;

const MAX_DIGITS: usize = 12;

/// Four draws at once: at nine digits all are refused once in 46,000 times, at six never.
pub(crate) const DRAW_BYTES: usize = 16;

const DRAW_ROUNDS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: [CodeLength; 3] = [CodeLength::Six, CodeLength::Eight, CodeLength::Nine];

    /// What one draw gives is six digits; see [`twelve_digits_are_two_draws_of_six`].
    const HALF: CodeLength = CodeLength::Twelve;

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
        assert_eq!((HALF.bound(), HALF.modulus()), (CodeLength::Six.bound(), 1_000_000));
        for run in [0, 1, 2_146, 4_293] {
            let mut seen = vec![0u8; 1_000_000];
            for draw in run * 1_000_000..(run + 1) * 1_000_000 {
                seen[reduce(draw, CodeLength::Six).unwrap() as usize] += 1;
            }
            assert!(seen.iter().all(|count| *count == 1));
        }
    }

    /// Each pair of halves is one code and each code one pair, so independent even halves make even codes.
    #[test]
    fn twelve_digits_are_two_draws_of_six() {
        let drawn = |draws: [u32; 4]| {
            let mut bytes = [0; DRAW_BYTES];
            for (chunk, draw) in bytes.chunks_exact_mut(4).zip(draws) {
                chunk.copy_from_slice(&draw.to_be_bytes());
            }
            Code::from_draws(&bytes, HALF).map(|code| code.expose().to_owned())
        };
        for (draws, code) in [
            ([0, 0, 9, 9], Some("000000000000")),
            ([1, 2, 9, 9], Some("000001000002")),
            ([999_999, 4_293_999_999, 9, 9], Some("999999999999")),
            ([u32::MAX, 12_000_345, 4_294_000_000, 6], Some("000345000006")),
            ([u32::MAX, 5, 4_294_000_000, u32::MAX], None),
        ] {
            assert_eq!(drawn(draws).as_deref(), code, "{draws:?}");
        }
    }

    #[derive(Debug)]
    struct Scripted(std::sync::Mutex<Vec<u32>>);

    impl Random for Scripted {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), Error> {
            for chunk in bytes.chunks_exact_mut(4) {
                let draw = self.0.lock().unwrap().pop().ok_or_else(Error::randomness)?;
                chunk.copy_from_slice(&draw.to_be_bytes());
            }
            Ok(())
        }
    }

    #[test]
    fn refused_draws_are_drawn_again() {
        let random = Scripted(
            vec![9, 7, u32::MAX, 4_294_000_000, u32::MAX, u32::MAX, u32::MAX, u32::MAX].into(),
        );
        assert_eq!(Code::draw(&random, CodeLength::Six).unwrap().expose(), "000007");
        assert!(Code::draw(&random, CodeLength::Six).unwrap_err().is_randomness());
        let stuck = Scripted(vec![u32::MAX; 100].into());
        assert!(Code::draw(&stuck, CodeLength::Six).unwrap_err().is_randomness());
    }
}
