//! E-mail addresses: one form to deliver to, one form to compare.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error as ThisError;

/// A validated e-mail address.
///
/// [`as_str`](Self::as_str) is for delivery: local part as typed, domain as A-labels.
/// [`key`](Self::key) is for comparison, budgets and policy: the same with the local part in ASCII lower
/// case. Equality and hash use the key, so two spellings of one mailbox are one value.
///
/// Stricter than RFC 5321: the local part is an ASCII dot-atom of at most 64 bytes without `%` and `!`
/// (source routing), the domain has two labels or more and no numeric last label, and the whole has at
/// most 254 bytes. With the feature `idna` the domain passes strict IDNA (UTS 46) and may be typed in
/// any script; without it, it is plain ASCII, and names in other scripts are refused. Quoted local parts, literals, comments and lists are
/// refused. Plus signs and dots are significant. Nothing outside ASCII is folded except by IDNA inside
/// the domain: `K` (Kelvin sign) never becomes `k` in a mailbox name.
///
/// ```
/// use otp_auth::address::EmailAddress;
///
/// let address: EmailAddress = "Hanako.Saito@Mail.Example".parse()?;
/// assert_eq!(address.as_str(), "Hanako.Saito@mail.example");
/// assert_eq!(address.key(), "hanako.saito@mail.example");
/// assert_eq!(address.domain(), "mail.example");
/// assert!("a@b.example, c@d.example".parse::<EmailAddress>().is_err());
/// # Ok::<(), otp_auth::address::AddressError>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EmailAddress {
    delivery: Box<str>,
    /// Where it differs from the delivery form.
    key: Option<Box<str>>,
}

impl EmailAddress {
    /// Parses a form field: spaces (U+0020, U+3000) around the address are dropped, then the rules of
    /// [`parse`](Self::parse) apply.
    ///
    /// Phones append a space when they complete an address; nothing else is forgiven.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn parse_form_field(text: &str) -> Result<Self, AddressError> {
        Self::parse(text.trim_matches([' ', '\u{3000}']))
    }

    /// Parses an address, strictly.
    ///
    /// # Errors
    ///
    /// Says which rule was broken; safe to show to the visitor, since it depends on the text alone.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        // The bound comes first: nothing below runs on more than this.
        if text.len() > TYPED_BYTES {
            return Err(AddressError::TooLong);
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(AddressError::ControlOrSpace);
        }
        let (local, domain) = text.split_once('@').ok_or(AddressError::NoAt)?;
        if domain.contains('@') {
            return Err(AddressError::SeveralAt);
        }
        check_local_part(local)?;
        let domain = to_ascii_domain(domain)?;
        let delivery = format!("{local}@{domain}");
        // RFC 5321 section 4.5.3.1.3: a path has 256 octets including its two angle brackets.
        if delivery.len() > 254 {
            return Err(AddressError::TooLong);
        }
        let key = delivery.to_ascii_lowercase();
        let key = (key != delivery).then(|| key.into_boxed_str());
        Ok(Self { delivery: delivery.into_boxed_str(), key })
    }

    /// The address to deliver to: local part as typed, domain as A-labels, ASCII only.
    pub fn as_str(&self) -> &str {
        &self.delivery
    }

    /// The form to compare, index and count by: all lower case, ASCII only.
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or(&self.delivery)
    }

    /// The domain as A-labels in lower case.
    pub fn domain(&self) -> &str {
        self.key().split_once('@').map_or("", |(_, domain)| domain)
    }
}

impl PartialEq for EmailAddress {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for EmailAddress {}

impl Hash for EmailAddress {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl FromStr for EmailAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for EmailAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        Self::parse(&text)
    }
}

impl From<EmailAddress> for String {
    fn from(address: EmailAddress) -> Self {
        address.delivery.into()
    }
}

/// Prints the delivery form. Personal data: for mails and the operator's own events.
impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.delivery)
    }
}

/// Shows the domain and the first letter only.
impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.key().get(..1).unwrap_or_default();
        write!(f, "EmailAddress({first}..@{})", self.domain())
    }
}

/// Why a text is not an acceptable e-mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum AddressError {
    /// Over 254 bytes in all, or 64 before the `@`.
    #[error("address is too long")]
    TooLong,
    /// A control character or white space anywhere.
    #[error("address contains a space or control character")]
    ControlOrSpace,
    /// No `@`.
    #[error("address has no `@`")]
    NoAt,
    /// More than one `@`.
    #[error("address has more than one `@`")]
    SeveralAt,
    /// The part before the `@` is not an ASCII dot-atom, or routes with `%` or `!`.
    #[error("part before the `@` is not a plain mailbox name")]
    LocalPart,
    /// The part after the `@` is not a host name of at least two labels.
    #[error("part after the `@` is not a domain name")]
    Domain,
}

fn check_local_part(local: &str) -> Result<(), AddressError> {
    // RFC 5321 section 4.5.3.1.1: 64 octets.
    if local.len() > 64 {
        return Err(AddressError::TooLong);
    }
    // RFC 5322 section 3.2.3: dot-atom = 1*atext *("." 1*atext).
    let is_atom = |atom: &str| !atom.is_empty() && atom.bytes().all(is_mailbox_byte);
    if local.split('.').all(is_atom) { Ok(()) } else { Err(AddressError::LocalPart) }
}

/// atext of RFC 5322 without `%` and `!`, which old relays read as routes to another host.
fn is_mailbox_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"#$&'*+-/=?^_`{|}~".contains(&byte)
}

fn to_ascii_domain(domain: &str) -> Result<String, AddressError> {
    // A trailing dot is legal in DNS and gives one domain two spellings.
    if domain.ends_with(['.', '\u{3002}', '\u{ff0e}', '\u{ff61}']) {
        return Err(AddressError::Domain);
    }
    let ascii = to_a_labels(domain)?;
    let last = ascii.rsplit_once('.').ok_or(AddressError::Domain)?.1;
    // RFC 3696 section 2: no all-numeric top label, so that no address literal passes as a name.
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AddressError::Domain);
    }
    Ok(ascii)
}

#[cfg(feature = "idna")]
fn to_a_labels(domain: &str) -> Result<String, AddressError> {
    idna::domain_to_ascii_strict(domain).map_err(|_| AddressError::Domain)
}

/// Without the tables of IDNA nobody can say whether a label that begins with `xn--` is the one spelling
/// of a name, so none is taken.
#[cfg(not(feature = "idna"))]
fn to_a_labels(domain: &str) -> Result<String, AddressError> {
    let domain = domain.to_ascii_lowercase();
    // RFC 1123 section 2.1 and RFC 1035 section 2.3.4: letters, digits, inner hyphens, 63 and 253 bytes.
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
            // RFC 5891 section 4.2.3.1: `--` in third and fourth place is for A-labels.
            && label.get(2..4) != Some("--")
    };
    if domain.len() <= 253 && domain.split('.').all(is_label) {
        Ok(domain)
    } else {
        Err(AddressError::Domain)
    }
}

/// 64 + `@` + 253 characters of a domain that may shrink to 254 when mapped, at up to 4 bytes each.
const TYPED_BYTES: usize = 64 + 1 + 4 * 253;
