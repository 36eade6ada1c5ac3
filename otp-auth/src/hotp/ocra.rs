//! Challenge-response with the key of an authenticator (RFC 6287).

use std::fmt;

use zeroize::Zeroizing;

use super::{HotpKey, OtpHash, modulus};
use crate::code::CodeLength;
use crate::error::Error;
use crate::secret::Secret;

/// One-way challenge-response over a numeric question: the suites `OCRA-1:HOTP-SHA1-6:QN08` and its
/// relatives with other hashes, 6 or 8 digits, and questions of 4 to 64 digits.
///
/// ```
/// use otp_auth::{code::CodeLength, hotp::{Ocra, OtpHash}, secret::Secret};
///
/// let secret = Secret::new(b"12345678901234567890".to_vec());
/// let ocra = Ocra::new(&secret, OtpHash::Sha1, CodeLength::Six, 8)?;
/// assert_eq!(ocra.suite(), "OCRA-1:HOTP-SHA1-6:QN08");
/// assert_eq!(ocra.value("11111111"), Some(243_178)); // RFC 6287 appendix C.1
/// # Ok::<(), otp_auth::error::Error>(())
/// ```
#[derive(Clone)]
pub struct Ocra {
    key: HotpKey,
    suite: String,
    length: CodeLength,
    question_digits: usize,
}

impl Ocra {
    /// Takes a secret as [`HotpKey::new`] does, and the greatest length of a question.
    ///
    /// # Errors
    ///
    /// Refuses questions under 4 or over 64 digits, and answers of twelve, as the caller's fault.
    pub fn new(
        secret: &Secret,
        hash: OtpHash,
        length: CodeLength,
        question_digits: usize,
    ) -> Result<Self, Error> {
        // RFC 6287 section 5.1: 04 to 64.
        if !(4..=64).contains(&question_digits) {
            return Err(Error::setting("question digits", "it must be 4 to 64"));
        }
        // The same: a truncation to 4 to 10 digits.
        if length == CodeLength::Twelve {
            return Err(Error::setting("code length", "it must be six, eight or nine digits"));
        }
        let (hash_name, digits) = (hash.as_str(), length.digits());
        let suite = format!("OCRA-1:HOTP-{hash_name}-{digits}:QN{question_digits:02}");
        Ok(Self { key: HotpKey::new(secret, hash)?, suite, length, question_digits })
    }

    /// The name of what it computes.
    pub fn suite(&self) -> &str {
        &self.suite
    }

    /// The answer to a question of ASCII digits, as a number; `None` for a question of another form.
    pub fn value(&self, question: &str) -> Option<u32> {
        let is_question = (1..=self.question_digits).contains(&question.len())
            && question.bytes().all(|byte| byte.is_ascii_digit());
        if !is_question {
            return None;
        }
        // RFC 6287 section 5.1: suite, a zero byte, then the question's number in hexadecimal, filled up
        // with zeros on the right to 128 bytes.
        let hex = hexadecimal_of_decimal(question);
        let mut message = Zeroizing::new([self.suite.as_bytes(), &[0], &hex].concat());
        message.resize(self.suite.len() + 1 + QUESTION_BYTES, 0);
        Some(self.key.truncated(&message) % modulus(self.length))
    }
}

impl fmt::Debug for Ocra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ocra").field("suite", &self.suite).finish_non_exhaustive()
    }
}

/// The hexadecimal digits of a decimal number, packed from the left, an odd last one followed by zero.
fn hexadecimal_of_decimal(decimal: &str) -> Vec<u8> {
    // Least significant first; 64 decimal digits are fewer hexadecimal ones.
    let mut nibbles: Vec<u8> = Vec::with_capacity(64);
    for digit in decimal.bytes() {
        let mut carry = u32::from(digit - b'0');
        for nibble in &mut nibbles {
            let value = u32::from(*nibble) * 10 + carry;
            *nibble = value.to_le_bytes()[0] & 15;
            carry = value >> 4;
        }
        while carry > 0 {
            nibbles.push(carry.to_le_bytes()[0] & 15);
            carry >>= 4;
        }
    }
    nibbles.reverse();
    nibbles.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).copied().unwrap_or(0)).collect()
}

const QUESTION_BYTES: usize = 128;
