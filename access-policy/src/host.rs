//! The host of a request, as routing and policy must both see it.

use std::{borrow::Cow, fmt, net::Ipv6Addr};

use crate::{
    domain::{Letters, is_in_normal_form, to_a_labels},
    error::{Error, Kind},
};

/// A host name in its one form: A-labels, lower case, no port, no trailing dot.
///
/// Underscores are legal, because names with them exist in the DNS. An IPv6 literal keeps its
/// brackets and no pattern covers it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Host<'a>(Cow<'a, str>);

impl<'a> Host<'a> {
    /// Reads an authority: `name`, `name:port`, or `[v6]:port`.
    #[inline]
    pub(crate) fn parse(authority: &'a str) -> Result<Self, Error> {
        // What browsers send nearly always.
        if is_in_normal_form(authority, Letters::OfHosts) {
            return Ok(Self(Cow::Borrowed(authority)));
        }
        Self::parse_unusual(authority)
    }

    #[cold]
    fn parse_unusual(authority: &'a str) -> Result<Self, Error> {
        if authority.contains('@') {
            return Err(Kind::Host("it carries user information").into());
        }
        if let Some(rest) = authority.strip_prefix('[') {
            return Self::parse_v6(rest);
        }
        let name = match authority.split_once(':') {
            Some((name, port)) if is_port(port) => name,
            Some(_) => return Err(Kind::Host("its port is malformed").into()),
            None => authority,
        };
        normalise(name).map(Self).ok_or_else(|| Kind::Host("it is not a legal host name").into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn parse_v6(rest: &str) -> Result<Self, Error> {
        let malformed = || Error::from(Kind::Host("its IPv6 address is malformed"));
        let (address, after) = rest.split_once(']').ok_or_else(malformed)?;
        let address: Ipv6Addr = address.parse().map_err(|_| malformed())?;
        match after.strip_prefix(':') {
            Some(port) if is_port(port) => {}
            None if after.is_empty() => {}
            _ => return Err(Kind::Host("its port is malformed").into()),
        }
        Ok(Self(Cow::Owned(format!("[{address}]"))))
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Brings a host name, or one label of it, to its one form.
pub(crate) fn normalise(name: &str) -> Option<Cow<'_, str>> {
    to_a_labels(name, Letters::OfHosts)
}

/// Letters, digits, hyphen, and underscore.
pub(crate) fn is_label_byte(byte: u8) -> bool {
    Letters::OfHosts.contain(byte)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
}
