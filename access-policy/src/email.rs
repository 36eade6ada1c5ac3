//! E-mail addresses, in the one form in which they are compared.

use std::{fmt, str::FromStr};

use crate::{
    domain::{Domain, Letters, is_in_normal_form},
    error::{Error, Kind},
    limits,
    word::Bytes,
};

/// An e-mail address: a local part, one `@`, and a [`Domain`].
///
/// Letters `A` to `Z` count as `a` to `z` on both sides. No other letters are folded, so that no
/// foreign address collides with a listed one; a local part with U+212A KELVIN SIGN, which would
/// turn into a `k`, is refused. Letters with accents are equal however they are composed (NFC); they
/// need the feature `idna`, and are refused without it.
/// `a+b@example.jp` and `a@example.jp` are two addresses.
///
/// # Security
///
/// Send codes to [`as_str`](Self::as_str), never to what the visitor typed: it is this form that a
/// policy admits.
///
/// ```
/// use access_policy::EmailAddress;
///
/// let address = EmailAddress::parse("Hanako@Example.JP.")?;
/// assert_eq!(address.as_str(), "hanako@example.jp");
/// assert!(EmailAddress::parse("hanako@evil.test@example.jp").is_err());
/// # Ok::<(), access_policy::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EmailAddress {
    text: Box<str>,
    /// Where the domain begins.
    domain_at: u8,
}

impl EmailAddress {
    /// Reads and normalises an address of at most 254 bytes.
    ///
    /// # Errors
    ///
    /// When there is not exactly one `@`, a side is empty, the domain is not legal, or the local
    /// part holds a blank, a control or invisible character, a quote, or another character that
    /// RFC 5322 allows only inside quotes. Quoted local parts are refused because `"a"@example.jp`
    /// is a second spelling of `a@example.jp`, and would pass by a rule that excludes it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let problem = |problem| Error::from(Kind::EmailAddress(problem));
        if text.len() > limits::MAX_EMAIL_BYTES {
            return Err(problem("it is longer than 254 bytes"));
        }
        let Some((local, domain)) = text.split_once('@') else {
            return Err(problem("it has no `@`"));
        };
        if domain.contains('@') {
            return Err(problem("it has more than one `@`"));
        }
        if local.is_empty() {
            return Err(problem("nothing stands before the `@`"));
        }
        if local.chars().any(is_refused) {
            return Err(problem("a character before the `@` is not allowed there"));
        }
        let domain = Domain::parse(domain).map_err(|_| problem("its domain is not legal"))?;
        let mut text = if local.is_ascii() {
            local.to_ascii_lowercase()
        } else {
            composed(local).ok_or_else(|| problem("a letter before the `@` is beyond ASCII"))?
        };
        text.push('@');
        // INVARIANT: what is before the domain is at most 254 bytes; NFC may add some, no more than
        // `u8` holds are let through.
        let domain_at = u8::try_from(text.len()).map_err(|_| problem("it is too long"))?;
        text.push_str(domain.as_str());
        Ok(Self { text: text.into(), domain_at })
    }

    pub(crate) fn into_parts(self) -> (String, u8) {
        (self.text.into(), self.domain_at)
    }

    /// Returns the normalised address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the part after the `@`, in the form of a [`Domain`].
    pub fn domain(&self) -> &str {
        self.text.get(usize::from(self.domain_at)..).unwrap_or_default()
    }
}

impl FromStr for EmailAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Where the domain begins in an address that is in normal form and has nothing unusual; `None` says
/// nothing about others.
#[inline]
pub(crate) fn domain_of_plain(text: &str) -> Option<u8> {
    if text.len() > limits::MAX_EMAIL_BYTES {
        return None;
    }
    let at = plain_local_part_len(text.as_bytes())?;
    let domain = text.get(at + 1..)?;
    (at > 0 && is_in_normal_form(domain, Letters::OfMailDomains)).then_some(())?;
    u8::try_from(at + 1).ok()
}

/// How many bytes stand before the `@`, if they are those that nearly all addresses consist of.
#[inline]
fn plain_local_part_len(text: &[u8]) -> Option<usize> {
    for (at, word) in text.as_chunks::<8>().0.iter().enumerate() {
        let word = Bytes::new(*word);
        let plain = word.are_in(b'a', b'z')
            | word.are_in(b'0', b'9')
            | word.are_in(b'-', b'.')
            | word.are(b'_')
            | word.are(b'+');
        if plain != Bytes::ALL {
            let len = (!plain & Bytes::ALL).trailing_zeros() as usize / 8;
            let at = at * 8 + len;
            return (text.get(at) == Some(&b'@')).then_some(at);
        }
    }
    // In the last few bytes, if at all: addresses are rarely so short.
    let is_plain =
        |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'+');
    let at = text.iter().position(|byte| !is_plain(byte))?;
    (text.get(at) == Some(&b'@')).then_some(at)
}

/// One form for letters with accents.
#[cfg(feature = "idna")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it is not always possible")]
fn composed(local: &str) -> Option<String> {
    let normalizer = icu_normalizer::ComposingNormalizerBorrowed::new_nfc();
    Some(normalizer.normalize(local).to_ascii_lowercase())
}

#[cfg(not(feature = "idna"))]
fn composed(_local: &str) -> Option<String> {
    None
}

/// Characters that no local part may hold here.
fn is_refused(character: char) -> bool {
    character.is_control()
        || character.is_whitespace()
        // RFC 5322 section 3.2.3: these need quotes.
        || matches!(character, '(' | ')' | '<' | '>' | '[' | ']' | ':' | ';' | ',' | '\\' | '"')
        // Unicode normalisation, even NFC, makes ASCII of these: KELVIN SIGN becomes `K`.
        || matches!(character, '\u{212a}' | '\u{37e}' | '\u{1fef}')
        // Look like `@` once a mail system applies compatibility mappings.
        || matches!(character, '\u{ff20}' | '\u{fe6b}')
        // Invisible: soft hyphen, joiners, direction marks, fillers, variation selectors, tags.
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{ffff}' | '\u{e0000}'..='\u{e0fff}')
}
