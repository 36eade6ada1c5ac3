//! Under which name a budget is kept.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::code::CodeLength;

/// The name of a budget in a store: 17 bytes, printed as `failures:` and 32 hexadecimal digits.
///
/// Addresses appear only as a keyed hash, so a copy of the store lists nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BudgetKey {
    pub(crate) kind: Kind,
    who: [u8; 16],
}

impl BudgetKey {
    /// What is counted: `failures`, `mails`, `starts` and so on.
    pub fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Failures => "failures",
            Kind::DeviceFailures => "device-failures",
            Kind::ShortCodes => "short-codes",
            Kind::DeviceShortCodes => "device-short-codes",
            Kind::AllFailures => "all-failures",
            Kind::Mails => "mails",
            Kind::MailShares => "mail-shares",
            Kind::NetworkMails => "network-mails",
            Kind::DeviceMails => "device-mails",
            Kind::Starts => "starts",
            Kind::SiteStarts => "site-starts",
            Kind::DeviceStarts => "device-starts",
        }
    }

    /// Whose budget it is: a keyed hash, a network, or for all strangers together the number of digits.
    pub const fn who(&self) -> &[u8; 16] {
        &self.who
    }

    /// Whether only somebody who has signed in before can have it: a store that is full keeps room for these.
    pub const fn is_of_known_device(&self) -> bool {
        matches!(
            self.kind,
            Kind::DeviceFailures | Kind::DeviceShortCodes | Kind::DeviceMails | Kind::DeviceStarts
        )
    }

    /// Failed tries of an address by strangers, or by devices that have signed in to it before.
    pub(crate) fn failures(address_tag: [u8; 16], is_known_device: bool) -> Self {
        let kind = if is_known_device { Kind::DeviceFailures } else { Kind::Failures };
        Self { kind, who: address_tag }
    }

    /// Those at codes of ordinary length.
    pub(crate) fn short_codes(address_tag: [u8; 16], is_known_device: bool) -> Self {
        let kind = if is_known_device { Kind::DeviceShortCodes } else { Kind::ShortCodes };
        Self { kind, who: address_tag }
    }

    /// Strangers' failed tries of all addresses together at codes of this length.
    pub(crate) fn failures_of_all(length: CodeLength) -> Self {
        let digits = length.digits() as u128;
        Self { kind: Kind::AllFailures, who: digits.to_be_bytes() }
    }

    /// Mails to an address that strangers asked for, or that its own devices did.
    pub(crate) fn mails(address_tag: [u8; 16], is_known_device: bool) -> Self {
        let kind = if is_known_device { Kind::DeviceMails } else { Kind::Mails };
        Self { kind, who: address_tag }
    }

    /// Mails to an address that strangers from a network asked for. The tag is a keyed hash, so the sum names
    /// the pair and nobody else.
    pub(crate) fn mail_share(address_tag: [u8; 16], network: Network) -> Self {
        let who = u128::from_be_bytes(address_tag) ^ network.bits();
        Self { kind: Kind::MailShares, who: who.to_be_bytes() }
    }

    /// Mails that strangers from a network asked for.
    pub(crate) fn network_mails(network: Network) -> Self {
        Self { kind: Kind::NetworkMails, who: network.bits().to_be_bytes() }
    }

    pub(crate) fn starts(network: Network) -> Self {
        Self { kind: Kind::Starts, who: network.bits().to_be_bytes() }
    }

    /// Flows for an address that its own devices begin.
    pub(crate) fn device_starts(address_tag: [u8; 16]) -> Self {
        Self { kind: Kind::DeviceStarts, who: address_tag }
    }

    pub(crate) fn site_starts(site: Site) -> Self {
        Self { kind: Kind::SiteStarts, who: site.0.octets() }
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
pub(crate) enum Kind {
    Failures,
    DeviceFailures,
    ShortCodes,
    DeviceShortCodes,
    AllFailures,
    Mails,
    MailShares,
    NetworkMails,
    DeviceMails,
    Starts,
    SiteStarts,
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

    /// The whole of IPv6 addresses that one customer of a provider has at most (RFC 6177): /48. `None` for IPv4,
    /// where providers are not that generous.
    pub(crate) fn site(self) -> Option<Site> {
        match self.first {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => Some(Site(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 80)))),
        }
    }

    fn bits(self) -> u128 {
        match self.first {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        }
    }
}

/// A /48 of IPv6, by its first address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Site(Ipv6Addr);

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, if self.first.is_ipv4() { 24 } else { 56 })
    }
}
