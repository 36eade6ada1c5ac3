//! Blocks of IP addresses.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

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
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads an address or a CIDR block, IPv4 or IPv6.
    ///
    /// # Errors
    ///
    /// When the address has leading zeros or a zone, when the prefix is longer than the address,
    /// or when a block of IPv4-mapped addresses is wider than IPv4 itself (below `/96`).
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::try_parse(text)
            .map_err(|problem| Kind::Network { text: limits::excerpt(text), problem }.into())
    }

    /// Reports whether `address` lies in this block.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && mask(address, self.prefix) == self.first
    }

    /// Returns the first address of the block.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// Returns the last address of the block.
    pub fn last(&self) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => {
                IpAddr::V4(Ipv4Addr::from_bits(first.to_bits() | !mask_v4(self.prefix)))
            }
            IpAddr::V6(first) => {
                IpAddr::V6(Ipv6Addr::from_bits(first.to_bits() | !mask_v6(self.prefix)))
            }
        }
    }

    /// Returns how many leading bits all addresses of the block share.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Reports whether every address of `other` lies in this block.
    pub fn covers(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.first)
    }

    /// Whether a text from which this block was read names its first address.
    pub(crate) fn is_written_as(&self, text: &str) -> bool {
        let address = text.split_once('/').map_or(text, |(address, _)| address);
        address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical() == self.first)
    }

    fn try_parse(text: &str) -> Result<Self, &'static str> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| "the address is malformed")?;
        let prefix = match prefix {
            Some(prefix) => parse_prefix(prefix).ok_or("the prefix length is malformed")?,
            None => bits(address),
        };
        if prefix > bits(address) {
            return Err("the prefix is longer than the address");
        }
        let canonical = address.to_canonical();
        let prefix = if canonical == address {
            prefix
        } else {
            let problem = "a block of IPv4-mapped addresses needs a prefix of at least 96";
            prefix.checked_sub(96).ok_or(problem)?
        };
        Ok(Self { first: mask(canonical, prefix), prefix })
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        let first = address.to_canonical();
        Self { first, prefix: bits(first) }
    }
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

/// A block of one address is written without its prefix length.
impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == bits(self.first) {
            self.first.fmt(formatter)
        } else {
            write!(formatter, "{}/{}", self.first, self.prefix)
        }
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn mask(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask_v4(prefix))),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask_v6(prefix))),
    }
}

fn mask_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

fn mask_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0)
}

/// Digits only, without leading zeros.
fn parse_prefix(text: &str) -> Option<u8> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_short = text == "0" || !text.starts_with('0');
    if is_number && is_short { text.parse().ok() } else { None }
}
