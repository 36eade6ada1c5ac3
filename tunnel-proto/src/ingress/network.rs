//! `ipRules`: where a bastion may lead.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value as Json, json};

use super::{
    problem::Report,
    reader::{Map, Place},
};

/// One rule: a network, ports of it, and whether they may be reached. The first that fits decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IpRule {
    network: IpNet,
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
            let network = at.text(report)?.parse::<IpNet>().ok();
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
        Some(Self { network: network?, ports: ports?, allow })
    }

    fn covers(&self, address: IpAddr, port: u16) -> bool {
        let is_inside = self.network.contains(&address.to_canonical());
        is_inside && (self.ports.is_empty() || self.ports.contains(&port))
    }

    pub(super) fn to_json(&self) -> Json {
        json!({ "prefix": self.network.to_string(), "ports": self.ports, "allow": self.allow })
    }
}

/// Whether a bastion may lead there. Without rules everything may be reached, as in cloudflared;
/// with rules nothing but what they allow.
pub(super) fn allows(rules: &[IpRule], address: IpAddr, port: u16) -> bool {
    let decisive = rules.iter().find(|rule| rule.covers(address, port));
    rules.is_empty() || decisive.is_some_and(|rule| rule.allow)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(network: &str, ports: &[u16], allow: bool) -> IpRule {
        IpRule { network: network.parse().unwrap(), ports: ports.to_vec(), allow }
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
    }
}
