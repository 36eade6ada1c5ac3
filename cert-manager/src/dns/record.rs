//! Records and their names.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use super::error::DnsError;

/// The name of a record: lower case, without the final dot, at most 253 bytes (RFC 1035 section 2.3.4).
///
/// Labels are of letters, digits, hyphens and underscores; the first may be a star. Internationalized names are
/// given in their ASCII form.
///
/// ```
/// use cert_manager::dns::RecordName;
///
/// let name: RecordName = "_acme-challenge.Example.JP.".parse()?;
/// assert_eq!(name.to_string(), "_acme-challenge.example.jp");
/// assert!("a..b".parse::<RecordName>().is_err());
/// # Ok::<(), cert_manager::dns::DnsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordName(Box<str>);

impl RecordName {
    /// The text, without the final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name below this one.
    ///
    /// # Errors
    ///
    /// A label that is none, or a name that would be too long.
    pub fn child(&self, label: &str) -> Result<Self, DnsError> {
        format!("{label}.{self}").parse()
    }

    /// The name above this one; none above a single label.
    pub fn parent(&self) -> Option<Self> {
        self.0.split_once('.').map(|(_, parent)| Self(parent.into()))
    }

    /// Whether this is `zone`, or lies in it.
    pub fn is_within(&self, zone: &Self) -> bool {
        let rest = self.0.strip_suffix(zone.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

impl FromStr for RecordName {
    type Err = DnsError;

    fn from_str(text: &str) -> Result<Self, DnsError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        match problem(name) {
            None => Ok(Self(name.to_ascii_lowercase().into())),
            Some(reason) => Err(DnsError::Name { text: text.chars().take(300).collect(), reason }),
        }
    }
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    if name.len() > MAX_NAME_BYTES {
        return Some("it is longer than 253 bytes");
    }
    for (at, label) in name.split('.').enumerate() {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        match label.len() {
            0 => return Some("a label is empty"),
            64.. => return Some("a label is longer than 63 bytes"),
            _ if at == 0 && label == "*" => {}
            _ if label.bytes().all(is_plain) => {}
            _ => return Some("only letters, digits, hyphens and underscores may stand in it"),
        }
    }
    None
}

/// One record: a name, what it says, and for how many seconds resolvers may keep it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Whose.
    pub name: RecordName,
    /// Seconds.
    pub ttl: u32,
    /// What it says.
    pub data: RecordData,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecordData {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Another name for the same.
    Cname(RecordName),
    /// A text of 1 to 255 bytes of printable ASCII.
    Txt(String),
}

impl RecordData {
    /// Its type.
    pub fn record_type(&self) -> RecordType {
        match self {
            Self::A(_) => RecordType::A,
            Self::Aaaa(_) => RecordType::Aaaa,
            Self::Cname(_) => RecordType::Cname,
            Self::Txt(_) => RecordType::Txt,
        }
    }

    /// Reads what [`Display`](fmt::Display) writes.
    ///
    /// # Errors
    ///
    /// A value that records of this type do not hold.
    pub fn parse(record_type: RecordType, text: &str) -> Result<Self, DnsError> {
        match record_type {
            RecordType::A => text.parse().map(Self::A).map_err(|_| "no IPv4 address"),
            RecordType::Aaaa => text.parse().map(Self::Aaaa).map_err(|_| "no IPv6 address"),
            RecordType::Cname => return text.parse().map(Self::Cname),
            RecordType::Txt if is_text(text) => Ok(Self::Txt(text.to_owned())),
            RecordType::Txt => Err("a text is 1 to 255 bytes of printable ASCII"),
        }
        .map_err(DnsError::Value)
    }
}

impl fmt::Display for RecordData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::A(address) => address.fmt(f),
            Self::Aaaa(address) => address.fmt(f),
            Self::Cname(name) => name.fmt(f),
            Self::Txt(text) => f.write_str(text),
        }
    }
}

/// The types that this crate reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecordType {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Another name for the same.
    Cname,
    /// Texts.
    Txt,
}

impl RecordType {
    pub(super) const ALL: [Self; 4] = [Self::A, Self::Aaaa, Self::Cname, Self::Txt];

    /// `A`, `AAAA`, `CNAME` or `TXT`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Txt => "TXT",
        }
    }
}

impl FromStr for RecordType {
    type Err = DnsError;

    fn from_str(text: &str) -> Result<Self, DnsError> {
        let found = Self::ALL.into_iter().find(|it| it.as_str() == text);
        found.ok_or(DnsError::Value("its type is none of A, AAAA, CNAME and TXT"))
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

pub(super) fn is_text(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|b| (0x20..0x7f).contains(&b))
}

const MAX_NAME_BYTES: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_in_one_form_or_refused() {
        let name = |text: &str| text.parse::<RecordName>().map(|name| name.to_string());
        assert_eq!(name("A.Example.").unwrap(), "a.example");
        assert_eq!(name("*.example.jp").unwrap(), "*.example.jp");
        let long = format!("{}.example", "a".repeat(64));
        let longer = ["a123456789"; 24].join(".");
        for (text, reason) in [
            ("", "empty"),
            (".", "empty"),
            ("a..b", "label is empty"),
            (".a", "label is empty"),
            ("a.*.b", "only letters"),
            ("a b", "only letters"),
            ("例.jp", "only letters"),
            ("a;b", "only letters"),
            ("a\n.b", "only letters"),
            (&long, "63 bytes"),
            (&longer, "253 bytes"),
        ] {
            let error = name(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_name_lies_within_its_zone_and_no_other() {
        let name: RecordName = "a.example.jp".parse().unwrap();
        for (zone, is_within) in [
            ("example.jp", true),
            ("a.example.jp", true),
            ("xample.jp", false),
            ("b.a.example.jp", false),
        ] {
            assert_eq!(name.is_within(&zone.parse().unwrap()), is_within, "{zone}");
        }
        assert_eq!(name.parent().unwrap().as_str(), "example.jp");
        assert_eq!(name.child("_x").unwrap().as_str(), "_x.a.example.jp");
        assert!(name.child("").is_err());
    }

    #[test]
    fn values_are_checked() {
        for (record_type, text, is_good) in [
            (RecordType::A, "192.0.2.1", true),
            (RecordType::A, "::1", false),
            (RecordType::Aaaa, "2001:db8::1", true),
            (RecordType::Cname, "a.example", true),
            (RecordType::Cname, "a b", false),
            (RecordType::Txt, "a b", true),
            (RecordType::Txt, "", false),
            (RecordType::Txt, "a\nb", false),
        ] {
            let parsed = RecordData::parse(record_type, text);
            assert_eq!(parsed.is_ok(), is_good, "{record_type} {text}");
            if let Ok(data) = parsed {
                assert_eq!((data.record_type(), data.to_string().as_str()), (record_type, text));
            }
        }
        assert!("MX".parse::<RecordType>().is_err());
    }
}
