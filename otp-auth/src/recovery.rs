//! Recovery codes: for the day the telephone is lost.

#[cfg(feature = "redis")]
mod redis;
mod store;

use std::fmt;

use ring::digest;
use subtle::ConstantTimeEq;
use thiserror::Error as ThisError;
use zeroize::Zeroizing;

pub use self::store::{MemoryRecovery, RecoveryStore};
use crate::error::Error;
use crate::random::Random;

/// A recovery code as drawn: 120 random bits in 24 characters of Crockford's base32, four groups of six.
/// Redacted in every output; zeroed on drop.
///
/// From 112 bits a plain hash suffices for keeping it (NIST SP 800-63B section 3.1.2.2, ASVS 6.5.2), so no
/// slow password hash is needed, nor a limit on guesses.
#[derive(Clone)]
pub struct RecoveryCode {
    text: Zeroizing<String>,
}

impl RecoveryCode {
    /// Draws a set of codes: show them once, keep [`digest`](Self::digest) of each.
    ///
    /// # Errors
    ///
    /// Fails when the generator does.
    pub fn draw_set(random: &dyn Random) -> Result<[Self; SET_SIZE], Error> {
        let mut codes = [const { None }; SET_SIZE];
        for code in &mut codes {
            *code = Some(Self::draw(random)?);
        }
        Ok(codes.map(|code| code.unwrap_or_else(|| unreachable!("each was drawn"))))
    }

    /// Draws one code.
    ///
    /// # Errors
    ///
    /// Fails when the generator does.
    pub fn draw(random: &dyn Random) -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; CODE_BYTES]);
        random.fill(&mut *bytes)?;
        let mut text = Zeroizing::new(String::with_capacity(TEXT_BYTES));
        for (index, group) in bytes.chunks(5).enumerate() {
            // Five bytes are eight characters exactly.
            let group = group.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            for place in 0..8 {
                if (index * 8 + place) % 6 == 0 && !text.is_empty() {
                    text.push('-');
                }
                let value = (group >> (35 - 5 * place) & 31) as usize;
                text.push(char::from(ALPHABET[value]));
            }
        }
        Ok(Self { text })
    }

    /// The code in the clear: `7ZK3QD-…`. Only for the page that shows it once.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What to keep.
    pub fn digest(&self) -> RecoveryDigest {
        // INVARIANT: what was drawn is in the normal form, but for its hyphens.
        let normal: Zeroizing<String> =
            Zeroizing::new(self.text.chars().filter(|c| *c != '-').collect());
        RecoveryDigest::of(&normal)
    }
}

impl fmt::Debug for RecoveryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryCode(..)")
    }
}

/// The SHA-256 of a code in its normal form. Who reads it cannot find the code.
#[derive(Clone, Copy)]
pub struct RecoveryDigest([u8; 32]);

impl RecoveryDigest {
    /// Reads what a person typed: upper or lower case, `I` and `L` for `1`, `O` for `0`, hyphens and spaces
    /// anywhere, full-width characters as well.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the form.
    ///
    /// ```
    /// use otp_auth::{random::SystemRandom, recovery::{RecoveryCode, RecoveryDigest}};
    ///
    /// let code = RecoveryCode::draw(&SystemRandom::new())?;
    /// let typed = format!(" {} ", code.expose().to_lowercase().replace('0', "o"));
    /// assert_eq!(RecoveryDigest::parse(&typed), Ok(code.digest()));
    /// assert!(RecoveryDigest::parse("7ZK3QD").is_err());
    /// # Ok::<(), otp_auth::error::Error>(())
    /// ```
    pub fn parse(typed: &str) -> Result<Self, RecoveryInputError> {
        if typed.len() > INPUT_BYTES {
            return Err(RecoveryInputError::WrongLength);
        }
        let mut normal = Zeroizing::new(String::with_capacity(INPUT_BYTES));
        for c in typed.chars() {
            let c = match c {
                // The full-width forms of ASCII, which Japanese keyboards give.
                '\u{ff01}'..='\u{ff5e}' => {
                    char::from_u32(c as u32 - 0xfee0).ok_or(RecoveryInputError::WrongCharacter)?
                }
                _ => c,
            };
            match c.to_ascii_uppercase() {
                ' ' | '\u{3000}' | '-' | '\u{2010}'..='\u{2015}' => {}
                'I' | 'L' => normal.push('1'),
                'O' => normal.push('0'),
                c if c.is_ascii() && ALPHABET.contains(&(c as u8)) => normal.push(c),
                _ => return Err(RecoveryInputError::WrongCharacter),
            }
        }
        if normal.len() != CODE_CHARS {
            return Err(RecoveryInputError::WrongLength);
        }
        Ok(Self::of(&normal))
    }

    /// The 32 bytes, for a store.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From a store.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn of(normal: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"otp-auth/recovery/v1\0");
        context.update(normal.as_bytes());
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Self(digest)
    }
}

impl PartialEq for RecoveryDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for RecoveryDigest {}

impl fmt::Debug for RecoveryDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryDigest(..)")
    }
}

/// Why an input cannot be a recovery code. Depends on the input alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum RecoveryInputError {
    /// Not 24 characters.
    #[error("a recovery code has 24 letters and digits")]
    WrongLength,
    /// A character that no code has.
    #[error("a recovery code has letters and digits only")]
    WrongCharacter,
}

/// How many codes a person gets at once.
pub const SET_SIZE: usize = 10;

/// Without I, L, O and U: <https://www.crockford.com/base32.html>.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// 120 bits: above the 112 from which a plain hash is enough, and a whole number of characters.
const CODE_BYTES: usize = 15;
const CODE_CHARS: usize = 24;
const TEXT_BYTES: usize = CODE_CHARS + 3;

/// Full-width characters have three bytes; the rest is blanks.
const INPUT_BYTES: usize = 160;
