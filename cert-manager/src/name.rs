use std::{fmt, net::IpAddr, str::FromStr};

use crate::{
    error::{Error, Kind, NameError},
    text::Text,
};

/// A name that a certificate can carry: a host name, a wildcard or an IP address.
///
/// Parsed once, then always in one canonical form: lower case, no trailing dot, internationalized
/// labels as A-labels (`xn--`), addresses as [`IpAddr`] prints them. Equality and hashing are
/// those of the canonical text.
///
/// With the feature `idna`, `bücher.example` becomes `xn--bcher-kva.example`, and A-labels that decode to no valid name are
/// refused. Without it, names come in ASCII, A-labels are taken as they are, and all else is [`NameError::NotAscii`].
///
/// Cheap to clone.
///
/// - At most 253 bytes, labels of 1 to 63 bytes of letters, digits and hyphens.
/// - A wildcard is `*.` in front of at least two labels and stands for exactly one label
///   (RFC 6125 section 6.4.3).
/// - No underscores: authorities under the baseline requirements refuse them.
///
/// ```
/// use cert_manager::{Name, NameError};
///
/// # fn main() -> Result<(), cert_manager::Error> {
/// assert_eq!("XN--Bcher-KVA.Example.".parse::<Name>()?.as_str(), "xn--bcher-kva.example");
/// assert!("*.example.jp".parse::<Name>()?.is_wildcard());
/// assert_eq!("2001:DB8:0::1".parse::<Name>()?.as_str(), "2001:db8::1");
///
/// let refused = "a.*.example.jp".parse::<Name>().unwrap_err();
/// assert_eq!(refused.name_error(), Some(NameError::WildcardPlacement));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Text);

impl Name {
    /// Returns the canonical text, wildcard star included.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Says whether this is `*.` and a parent name.
    pub fn is_wildcard(&self) -> bool {
        self.0.as_bytes().starts_with(WILDCARD.as_bytes())
    }

    /// Returns the address if this is one.
    pub fn ip(&self) -> Option<IpAddr> {
        // No host name reads as an address: its last label is no number.
        self.as_str().parse().ok()
    }

    /// Says whether a certificate with this name is good for `other`: the same name, or one more
    /// label in front of a wildcard's parent.
    pub fn covers(&self, other: &Self) -> bool {
        if self == other {
            return true;
        }
        let Some(parent) = self.as_str().strip_prefix(WILDCARD) else { return false };
        let rest = other.as_str().split_once('.').map(|(_, rest)| rest);
        rest == Some(parent) && !other.is_wildcard() && other.ip().is_none()
    }
}

impl FromStr for Name {
    type Err = Error;

    /// Parses and normalizes a name.
    fn from_str(input: &str) -> Result<Self, Error> {
        parse(input).map_err(|source| {
            // A hostile input may be megabytes long; the message need not be.
            let input = input.chars().take(MAX_NAME_BYTES).collect();
            Kind::Name { input, source }.into()
        })
    }
}

impl TryFrom<&str> for Name {
    type Error = Error;

    fn try_from(input: &str) -> Result<Self, Error> {
        input.parse()
    }
}

impl From<IpAddr> for Name {
    fn from(address: IpAddr) -> Self {
        Self(address.to_string().as_str().into())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

fn parse(input: &str) -> Result<Name, NameError> {
    if let Ok(address) = input.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let name = input.strip_suffix('.').unwrap_or(input);
    let parent = name.strip_prefix(WILDCARD);
    let host = parent.unwrap_or(name);
    check_characters(host)?;
    let host = to_a_labels(host)?;
    check_labels(&host)?;
    if parent.is_some() && !host.contains('.') {
        return Err(NameError::WildcardTooWide);
    }
    let text = if parent.is_some() { format!("{WILDCARD}{host}") } else { host };
    if text.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong);
    }
    Ok(Name(text.as_str().into()))
}

fn check_characters(host: &str) -> Result<(), NameError> {
    for character in host.chars() {
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' => {}
            '*' => return Err(NameError::WildcardPlacement),
            '_' => return Err(NameError::Underscore),
            other if other.is_ascii() => return Err(NameError::Character(other)),
            _ => {} // Left to UTS #46.
        }
    }
    Ok(())
}

fn to_a_labels(host: &str) -> Result<String, NameError> {
    // The mapping costs time linear in the input, so a long one is refused before it.
    if host.len() > MAX_UNICODE_BYTES {
        return Err(NameError::TooLong);
    }
    let lower = host.to_ascii_lowercase();
    if lower.is_ascii() && !lower.split('.').any(has_reserved_hyphens) {
        return Ok(lower);
    }
    map_by_uts46(&lower)
}

#[cfg(feature = "idna")]
fn map_by_uts46(lower: &str) -> Result<String, NameError> {
    use idna::{
        AsciiDenyList,
        uts46::{DnsLength, Hyphens, Uts46},
    };

    let ascii = Uts46::new()
        .to_ascii(lower.as_bytes(), AsciiDenyList::STD3, Hyphens::Check, DnsLength::Ignore)
        .map_err(|_| NameError::Idna)?;
    Ok(ascii.into_owned())
}

/// Takes A-labels as they are; whether they decode to a name is for the authority to say.
#[cfg(not(feature = "idna"))]
fn map_by_uts46(lower: &str) -> Result<String, NameError> {
    if !lower.is_ascii() {
        return Err(NameError::NotAscii);
    }
    let is_reserved =
        |label| has_reserved_hyphens(label) && label.strip_prefix("xn--").is_none_or(str::is_empty);
    if lower.split('.').any(is_reserved) { Err(NameError::Idna) } else { Ok(lower.to_owned()) }
}

/// Says whether hyphens stand third and fourth: `xn--`, or a form that is reserved.
fn has_reserved_hyphens(label: &str) -> bool {
    label.as_bytes().get(2..4) == Some(b"--")
}

fn check_labels(host: &str) -> Result<(), NameError> {
    if host.is_empty() {
        return Err(NameError::Empty);
    }
    for label in host.split('.') {
        if label.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        if label.len() > MAX_LABEL_BYTES {
            return Err(NameError::LabelTooLong);
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(NameError::Hyphen);
        }
    }
    let last = host.rsplit('.').next().unwrap_or(host);
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NameError::NumericEnd);
    }
    Ok(())
}

/// RFC 1035 section 2.3.4 allows 255 bytes on the wire, which are 253 in text.
pub(crate) const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;
/// A character takes at most four bytes, and A-labels are rarely shorter than what they encode.
const MAX_UNICODE_BYTES: usize = 4 * MAX_NAME_BYTES;
const WILDCARD: &str = "*.";
