//! Countries, by their two letters.

use std::{fmt, str::FromStr};

use crate::{
    error::{Error, Kind},
    limits,
};

/// A country by its two letters (ISO 3166-1), upper case; also `T1` for Tor and `XX` for unknown.
///
/// ```
/// use access_policy::CountryCode;
///
/// assert_eq!(CountryCode::parse("jp")?.as_str(), "JP");
/// assert!(CountryCode::parse("JPN").is_err());
/// # Ok::<(), access_policy::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CountryCode([u8; 2]);

impl CountryCode {
    /// Reads two letters in either case, or `T1`.
    ///
    /// # Errors
    ///
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let &[first, second] = text.as_bytes() else {
            return Err(Kind::Country(limits::excerpt(text)).into());
        };
        let code = [first.to_ascii_uppercase(), second.to_ascii_uppercase()];
        if code == *b"T1" || code.iter().all(u8::is_ascii_uppercase) {
            Ok(Self(code))
        } else {
            Err(Kind::Country(limits::excerpt(text)).into())
        }
    }

    /// Returns the two letters.
    pub fn as_str(&self) -> &str {
        // INVARIANT: both bytes are ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for CountryCode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl fmt::Display for CountryCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
