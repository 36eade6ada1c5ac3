//! Blocks of IP addresses.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnet::IpNet;

use crate::{
    error::{Error, Kind},
    limits,
};

/// A block of IP addresses: a CIDR block, or one address.
///
/// Host bits are masked, `192.0.2.1` equals `192.0.2.1/32`, and IPv4 addresses in IPv6 clothing
/// (`::ffff:192.0.2.1`) count as IPv4 on both sides. Therefore `0.0.0.0/0` holds every IPv4 address
/// and `::/0` every IPv6 address, never one another's.
///
/// ```
/// use access_policy::Network;
///
/// let office = Network::parse("192.0.2.77/24")?;
/// assert_eq!(office.to_string(), "192.0.2.0/24");
/// assert!(office.contains("::ffff:192.0.2.9".parse().unwrap()));
/// # Ok::<(), access_policy::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network(IpNet);

impl Network {
    /// Reads an address or a CIDR block, IPv4 or IPv6.
    ///
    /// # Errors
    ///
    /// When the address has leading zeros or a zone, when the prefix is longer than the address,
    /// or when a block of IPv4-mapped addresses is wider than IPv4 itself (below `/96`).
    pub fn parse(text: &str) -> Result<Self, Error> {
        let problem = |problem| Error::from(Kind::Network { text: limits::excerpt(text), problem });
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| problem("the address is malformed"))?;
        let prefix = match prefix {
            Some(prefix) => {
                parse_prefix(prefix).ok_or_else(|| problem("the prefix length is malformed"))?
            }
            None => bits(address),
        };
        let (address, prefix) = match mapped(address) {
            Some(inner) if prefix <= 128 => {
                let prefix = prefix.checked_sub(96).ok_or_else(|| {
                    problem("a block of IPv4-mapped addresses needs a prefix of at least 96")
                })?;
                (IpAddr::V4(inner), prefix)
            }
            _ => (address, prefix),
        };
        IpNet::new(address, prefix)
            .map(|network| Self(network.trunc()))
            .map_err(|_| problem("the prefix is longer than the address"))
    }

    /// Reports whether `address` lies in this block.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(address.to_canonical().into())
    }
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(formatter)
        } else {
            self.0.fmt(formatter)
        }
    }
}

fn parse_prefix(text: &str) -> Option<u8> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (canonical && digits).then(|| text.parse().ok()).flatten()
}

fn mapped(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Ipv6Addr::to_ipv4_mapped(&address),
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}
