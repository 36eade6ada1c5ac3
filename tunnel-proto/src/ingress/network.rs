//! `ipRules`: where a bastion may lead.

use std::net::IpAddr;

use serde_json::{Value as Json, json};

use super::{
    problem::Report,
    reader::{Map, Place},
};

/// One rule: a network, ports of it, and whether they may be reached. The first that fits decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IpRule {
    address: IpAddr,
    /// Leading bits that count.
    bits: u8,
    /// All, if there are none.
    ports: Vec<u16>,
    allow: bool,
}

impl IpRule {
    pub(super) fn read(at: &Place<'_>, report: &mut Report) -> Option<Self> {
        let mut map = Map::open(at, report)?;
        let prefix = map.take("prefix");
        if prefix.is_none() {
            at.tell(report, "has no `prefix`; write a network such as `10.0.0.0/8`");
        }
        let network = prefix.and_then(|at| {
            let network = parse_network(at.text(report)?);
            if network.is_none() {
                let what =
                    format!("is {}, not a network such as `10.0.0.0/8`", at.value.describe());
                at.tell(report, &what);
            }
            network
        });
        let mut ports = Some(Vec::new());
        if let Some(at) = map.take("ports") {
            let items = at.list(report).unwrap_or_default();
            let port = |at: &Place<'_>, report: &mut Report| {
                let port = at.number(65_535, report).and_then(|port| u16::try_from(port).ok());
                if port == Some(0) {
                    at.tell(report, "is 0, not a port");
                }
                port
            };
            ports = items.iter().map(|item| port(item, report)).collect();
        }
        let allow = map.take("allow").and_then(|at| at.boolean(report)).unwrap_or(false);
        map.finish(report);
        let (address, bits) = network?;
        Some(Self { address, bits, ports: ports?, allow })
    }

    fn covers(&self, address: IpAddr, port: u16) -> bool {
        let same = match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differs = u128::from(own.to_bits() ^ other.to_bits());
                differs & mask(32, self.bits) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()) & mask(128, self.bits) == 0
            }
            _ => false,
        };
        same && (self.ports.is_empty() || self.ports.contains(&port))
    }

    pub(super) fn to_json(&self) -> Json {
        let prefix = format!("{}/{}", self.address, self.bits);
        json!({ "prefix": prefix, "ports": self.ports, "allow": self.allow })
    }
}

/// Whether a bastion may lead there. Without rules everything may be reached, as in cloudflared;
/// with rules nothing but what they allow.
#[cfg_attr(not(test), expect(dead_code, reason = "for the bastion, which follows"))]
pub(super) fn allows(rules: &[IpRule], address: IpAddr, port: u16) -> bool {
    let decisive = rules.iter().find(|rule| rule.covers(address, port));
    rules.is_empty() || decisive.is_some_and(|rule| rule.allow)
}

fn parse_network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let is_number = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
    let bits = bits.parse().ok().filter(|bits| is_number && *bits <= most)?;
    Some((address, bits))
}

/// The leading `bits` of `width`.
fn mask(width: u32, bits: u8) -> u128 {
    let all = u128::MAX >> (128 - width);
    let rest = width - u32::from(bits);
    if rest == 128 { 0 } else { all >> rest << rest }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(network: &str, ports: &[u16], allow: bool) -> IpRule {
        let (address, bits) = parse_network(network).unwrap();
        IpRule { address, bits, ports: ports.to_vec(), allow }
    }

    #[test]
    fn the_first_rule_that_fits_decides_and_none_is_no() {
        let rules = [
            rule("10.0.0.5/32", &[], false),
            rule("10.0.0.0/8", &[22, 3389], true),
            rule("2001:db8::/32", &[], true),
        ];
        for (address, port, expected) in [
            ("10.0.0.5", 22, false),
            ("10.0.0.6", 22, true),
            ("10.255.0.6", 3389, true),
            ("10.0.0.6", 80, false),
            ("11.0.0.6", 22, false),
            ("::ffff:10.0.0.6", 22, true),
            ("::ffff:10.0.0.5", 22, false),
            ("2001:db8:1::1", 80, true),
            ("2001:db9::1", 80, false),
        ] {
            assert_eq!(
                allows(&rules, address.parse().unwrap(), port),
                expected,
                "{address}:{port}"
            );
        }
        assert!(allows(&[], "11.0.0.6".parse().unwrap(), 1));
        assert!(allows(&[rule("0.0.0.0/0", &[], true)], "11.0.0.6".parse().unwrap(), 1));
        assert!(allows(&[rule("::/0", &[], true)], "::1".parse().unwrap(), 1));
        for text in ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8", "x/8", "::/129", "10.0.0.0/"] {
            assert_eq!(parse_network(text), None, "{text}");
        }
    }
}
