//! Under which name a budget is kept.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The name of a budget in a store: 17 bytes, printed as `failures:` and 32 hexadecimal digits.
///
/// Addresses appear only as a keyed hash, so a copy of the store lists nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BudgetKey {
    kind: Kind,
    who: [u8; 16],
}

impl BudgetKey {
    /// What is counted: `failures`, `mails`, `starts` and so on.
    pub fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Failures => "failures",
            Kind::DeviceFailures => "device-failures",
            Kind::ShortCodes => "short-codes",
            Kind::Mails => "mails",
            Kind::DeviceMails => "device-mails",
            Kind::Starts => "starts",
            Kind::DeviceStarts => "device-starts",
        }
    }

    /// Whose budget it is: a keyed hash, a network, or zeros for all strangers together.
    pub const fn who(&self) -> &[u8; 16] {
        &self.who
    }

    /// Failed tries of an address, or of a device that has signed in to it before.
    pub(crate) fn failures(tag: [u8; 16], is_known_device: bool) -> Self {
        let kind = if is_known_device { Kind::DeviceFailures } else { Kind::Failures };
        Self { kind, who: tag }
    }

    /// Strangers' failed tries of an address at codes of ordinary length.
    pub(crate) fn short_codes(address_tag: [u8; 16]) -> Self {
        Self { kind: Kind::ShortCodes, who: address_tag }
    }

    /// The same of all addresses together.
    pub(crate) fn short_codes_of_all() -> Self {
        Self { kind: Kind::ShortCodes, who: [0; 16] }
    }

    /// Mails to an address that strangers asked for, or that its own devices did.
    pub(crate) fn mails(address_tag: [u8; 16], is_known_device: bool) -> Self {
        let kind = if is_known_device { Kind::DeviceMails } else { Kind::Mails };
        Self { kind, who: address_tag }
    }

    pub(crate) fn starts(network: Network, is_known_device: bool) -> Self {
        let kind = if is_known_device { Kind::DeviceStarts } else { Kind::Starts };
        let who = match network.first {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        Self { kind, who: who.octets() }
    }

    /// Of no login: for trying out a store.
    #[cfg(feature = "conformance")]
    pub(crate) fn of_nobody(number: u128) -> Self {
        Self { kind: Kind::Failures, who: number.to_be_bytes() }
    }
}

impl fmt::Display for BudgetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:032x}", self.kind(), u128::from_be_bytes(self.who))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Failures,
    DeviceFailures,
    ShortCodes,
    Mails,
    DeviceMails,
    Starts,
    DeviceStarts,
}

/// The part of an IP address that one subscriber commonly holds: /24 of IPv4, /56 of IPv6.
///
/// ```
/// use otp_auth::throttle::Network;
///
/// let network = |ip: &str| Network::of(ip.parse().unwrap()).to_string();
/// assert_eq!(network("203.0.113.77"), "203.0.113.0/24");
/// assert_eq!(network("::ffff:203.0.113.77"), "203.0.113.0/24");
/// assert_eq!(network("2001:db8:1:2ff:3::4"), "2001:db8:1:200::/56");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    first: IpAddr,
}

impl Network {
    /// The network that holds `ip`. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn of(ip: IpAddr) -> Self {
        let first = match ip.to_canonical() {
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & !0xff).into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 72)).into(),
        };
        Self { first }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, if self.first.is_ipv4() { 24 } else { 56 })
    }
}
