//! Where unpredictable bytes come from.

use std::fmt;

use ring::rand::SecureRandom;

use crate::error::Error;

/// A source of random bytes.
///
/// Implementations for production must be cryptographically secure; [`SystemRandom`] is. Tests inject a
/// script to reach chosen codes.
pub trait Random: fmt::Debug + Send + Sync {
    /// Fills `bytes` entirely.
    ///
    /// # Errors
    ///
    /// [`Error::randomness`] when the generator fails. There is no fallback: the operation that needed
    /// the bytes fails.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Error>;
}

/// The operating system's generator, through ring.
#[derive(Debug, Clone)]
pub struct SystemRandom {
    source: ring::rand::SystemRandom,
}

impl SystemRandom {
    /// Opens the generator.
    #[expect(
        clippy::disallowed_methods,
        reason = "this type is the source of randomness that programs pass in"
    )]
    pub fn new() -> Self {
        Self { source: ring::rand::SystemRandom::new() }
    }

    pub(crate) fn as_ring(&self) -> &dyn SecureRandom {
        &self.source
    }
}

impl Default for SystemRandom {
    fn default() -> Self {
        Self::new()
    }
}

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Error> {
        self.source.fill(bytes).map_err(|_| Error::randomness())
    }
}

/// Draws `length` ASCII letters and digits, each of the 62 equally likely.
pub(crate) fn draw_alphanumerics(random: &dyn Random, length: usize) -> Result<String, Error> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut drawn = String::with_capacity(length);
    for _ in 0..DRAW_ROUNDS {
        let mut bytes = [0u8; 32];
        random.fill(&mut bytes)?;
        // 248 = 4 * 62: bytes above would favour the first letters.
        for byte in bytes.into_iter().filter(|byte| *byte < 248) {
            if drawn.len() == length {
                break;
            }
            drawn.push(char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
        }
        if drawn.len() == length {
            return Ok(drawn);
        }
    }
    Err(Error::randomness())
}

/// A working generator fills 16 letters in the first round; 64 rounds mean that it is stuck.
const DRAW_ROUNDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Stuck(u8);

    impl Random for Stuck {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), Error> {
            bytes.fill(self.0);
            Ok(())
        }
    }

    #[test]
    fn a_stuck_generator_is_an_error() {
        assert!(draw_alphanumerics(&Stuck(255), 16).unwrap_err().is_randomness());
    }

    #[test]
    fn draws_the_asked_length() {
        assert_eq!(draw_alphanumerics(&Stuck(61), 16).unwrap(), "9".repeat(16));
        assert_eq!(draw_alphanumerics(&SystemRandom::new(), 16).unwrap().len(), 16);
    }
}
