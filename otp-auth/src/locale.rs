//! The language of texts that a visitor reads.

/// The language of mails and messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Locale {
    /// English, the default.
    #[default]
    En,
    /// Japanese.
    Ja,
}

impl Locale {
    /// Chooses by an `Accept-Language` value (RFC 9110 section 12.5.4): the first supported language
    /// in the order written, else English. Weights are not compared.
    ///
    /// ```
    /// use otp_auth::locale::Locale;
    ///
    /// assert_eq!(Locale::from_accept_language("ja,en-US;q=0.7"), Locale::Ja);
    /// assert_eq!(Locale::from_accept_language("fr-CH, en;q=0.9, ja;q=0.1"), Locale::En);
    /// assert_eq!(Locale::from_accept_language(""), Locale::En);
    /// ```
    pub fn from_accept_language(value: &str) -> Self {
        value
            .split(',')
            .find_map(|range| {
                let primary = range.split([';', '-']).next()?.trim();
                if primary.eq_ignore_ascii_case("ja") {
                    Some(Self::Ja)
                } else if primary.eq_ignore_ascii_case("en") {
                    Some(Self::En)
                } else {
                    None
                }
            })
            .unwrap_or_default()
    }
}
