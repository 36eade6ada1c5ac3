//! The part of an e-mail address after the `@`, compared as a whole.

use std::{borrow::Cow, fmt, str::FromStr};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use crate::error::{Error, Kind};

/// A mail domain in its one form: A-labels, lower case, no trailing dot.
///
/// ```
/// use access_policy::Domain;
///
/// let domain = Domain::parse("@BÜCHER.example.")?;
/// assert_eq!(domain.as_str(), "xn--bcher-kva.example");
/// assert_ne!(domain, Domain::parse("sub.bücher.example")?);
/// # Ok::<(), access_policy::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(String);

impl Domain {
    /// Reads a domain, with or without one leading `@`.
    ///
    /// UTS 46 non-transitional processing with the STD3 rules; letter case and one trailing dot do
    /// not count.
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
        to_a_labels(text, AsciiDenyList::STD3, Hyphens::Check)
            .map(|domain| Self(domain.into_owned()))
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

/// Brings a name to lower-case A-labels without a trailing dot; `None` if that is impossible.
pub(crate) fn to_a_labels(
    text: &str,
    deny: AsciiDenyList,
    hyphens: Hyphens,
) -> Option<Cow<'_, str>> {
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
    (!name.is_empty()).then_some(name)
}
