//! The part of an e-mail address after the `@`, compared as a whole.

use std::{borrow::Cow, fmt, str::FromStr};

use crate::{
    error::{Error, Kind},
    word::{Bytes, each},
};

/// A mail domain in its one form: A-labels, lower case, no trailing dot.
///
/// ```
/// use access_policy::Domain;
///
/// let domain = Domain::parse("@Example.COM.")?;
/// assert_eq!(domain.as_str(), "example.com");
/// assert_ne!(domain, Domain::parse("sub.example.com")?);
/// # Ok::<(), access_policy::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(Box<str>);

impl Domain {
    /// Reads a domain, with or without one leading `@`.
    ///
    /// UTS 46 non-transitional processing with the STD3 rules; letter case and one trailing dot do
    /// not count. Letters beyond ASCII need the feature `idna`; without it they are refused.
    ///
    /// # Errors
    ///
    /// When the text is empty, has a wildcard or another `@`, or is not a legal domain.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.strip_prefix('@').unwrap_or(text);
        if text.is_empty() {
            return Err(Kind::Domain("it is empty").into());
        }
        if text.contains('@') {
            return Err(Kind::Domain("it has an `@` inside").into());
        }
        if text.contains('*') {
            return Err(Kind::Domain("wildcards are not possible here").into());
        }
        to_a_labels(text, Letters::OfMailDomains)
            .map(|domain| Self(domain.into()))
            .ok_or_else(|| Kind::Domain("it is not a legal domain name").into())
    }

    /// Returns the normalised domain.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Domain {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Which characters of ASCII a name may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Letters {
    /// Letters, digits and hyphens (STD3).
    OfMailDomains,
    /// The underscore too, because host names with it exist in the DNS.
    OfHosts,
}

impl Letters {
    pub(crate) fn contain(self, byte: u8) -> bool {
        byte.is_ascii_alphanumeric() || byte == b'-' || (byte == b'_' && self == Self::OfHosts)
    }
}

/// Reports whether a name needs no further look; `false` says nothing about it. Names with two hyphens
/// in a row do need one, because labels in the encoding of international names have those.
#[inline]
pub(crate) fn is_in_normal_form(text: &str, letters: Letters) -> bool {
    let bytes = text.as_bytes();
    // Then no label is too long either.
    if bytes.len() > MAX_LABEL_BYTES {
        return false;
    }
    let underscore = if letters == Letters::OfHosts { b'_' } else { b'a' };
    let (mut is_legal, mut after_mark) = (true, Bytes::FIRST);
    each(bytes, |word, before| {
        let marks = word.are(b'.') | word.are(b'-');
        let plain = word.are_in(b'a', b'z') | word.are_in(b'0', b'9') | word.are(underscore);
        // Neither the first nor the last character is a mark, and no two in a row are.
        is_legal &= (plain | marks) == Bytes::ALL
            && marks & (marks << 8 | before.unwrap_or(after_mark)) == 0;
        after_mark = marks >> 56;
    });
    is_legal && !matches!(bytes.last(), None | Some(b'.' | b'-'))
}

/// Brings a name to lower-case A-labels without a trailing dot; `None` if that is impossible.
pub(crate) fn to_a_labels(text: &str, letters: Letters) -> Option<Cow<'_, str>> {
    if is_in_normal_form(text, letters) {
        return Some(Cow::Borrowed(text));
    }
    if !text.is_ascii() || has_a_label(text) {
        return international(text, letters);
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() > MAX_NAME_BYTES || !name.split('.').all(|label| is_label(label, letters)) {
        return None;
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Some(Cow::Owned(name.to_ascii_lowercase()))
    } else {
        Some(Cow::Borrowed(name))
    }
}

/// Reports whether some label claims to be an encoded international one.
fn has_a_label(text: &str) -> bool {
    text.as_bytes().windows(4).any(|window| window.eq_ignore_ascii_case(b"xn--"))
}

fn is_label(label: &str, letters: Letters) -> bool {
    let bytes = label.as_bytes();
    let has_hyphens_of_a_label =
        letters == Letters::OfMailDomains && bytes.get(2..4).is_some_and(|middle| middle == b"--");
    !label.is_empty()
        && label.len() <= MAX_LABEL_BYTES
        && bytes.iter().all(|&byte| letters.contain(byte))
        && !label.starts_with('-')
        && !label.ends_with('-')
        && !has_hyphens_of_a_label
}

#[cold]
#[cfg(feature = "idna")]
fn international(text: &str, letters: Letters) -> Option<Cow<'_, str>> {
    use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

    // STD3 would refuse the underscore of hosts, so its rule is applied by hand.
    let (deny, hyphens) = match letters {
        Letters::OfMailDomains => (AsciiDenyList::STD3, Hyphens::Check),
        Letters::OfHosts => (AsciiDenyList::EMPTY, Hyphens::CheckFirstLast),
    };
    let name = Uts46::new()
        .to_ascii(text.as_bytes(), deny, hyphens, DnsLength::VerifyAllowRootDot)
        .ok()?;
    let name = match name {
        Cow::Borrowed(name) => Cow::Borrowed(name.strip_suffix('.').unwrap_or(name)),
        Cow::Owned(mut name) => {
            if name.ends_with('.') {
                name.pop();
            }
            Cow::Owned(name)
        }
    };
    let is_legal = name.bytes().all(|byte| byte == b'.' || letters.contain(byte));
    (!name.is_empty() && is_legal).then_some(name)
}

/// Without the tables of UTS 46, what is encoded already is compared as it stands, and what is not
/// is refused.
#[cfg(not(feature = "idna"))]
fn international(text: &str, letters: Letters) -> Option<Cow<'_, str>> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_plain = |label: &str| {
        let bytes = label.as_bytes();
        let has_prefix = bytes.get(..4).is_some_and(|head| head.eq_ignore_ascii_case(b"xn--"));
        let tail = if has_prefix { label.get(4..).unwrap_or_default() } else { label };
        is_label(tail, letters) && label.len() <= MAX_LABEL_BYTES
    };
    let is_legal = text.is_ascii() && name.len() <= MAX_NAME_BYTES && name.split('.').all(is_plain);
    is_legal.then(|| Cow::Owned(name.to_ascii_lowercase()))
}

/// RFC 1035 section 2.3.4.
const MAX_LABEL_BYTES: usize = 63;
/// RFC 1035 section 2.3.4: 255 on the wire.
const MAX_NAME_BYTES: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_looked_at_together_are_like_bytes_looked_at_one_by_one() {
        let is_plain = |text: &str, letters: Letters| {
            let is_label = |label: &str| {
                let bytes = label.as_bytes();
                !label.is_empty()
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && !label.contains("--")
                    && bytes.iter().all(|&b| letters.contain(b) && !b.is_ascii_uppercase())
            };
            text.len() <= MAX_LABEL_BYTES && text.split('.').all(is_label)
        };
        let pieces =
            ["a", "z", "0", "9", "-", ".", "_", "A", "`", "{", "/", ":", "é", "abcdefgh", ""];
        // An interpreter that looks for undefined behaviour is a thousand times slower.
        let pieces = if cfg!(miri) { &pieces[2..6] } else { &pieces[..] };
        for &a in pieces {
            for &b in pieces {
                for &c in pieces {
                    for &d in pieces {
                        let text = [a, b, c, d, "mn", b, "o"].concat();
                        for text in [text.as_str(), &text[..text.len() - 1]] {
                            for letters in [Letters::OfHosts, Letters::OfMailDomains] {
                                let found = is_in_normal_form(text, letters);
                                assert_eq!(found, is_plain(text, letters), "{text}");
                            }
                        }
                    }
                }
            }
        }
    }
}
