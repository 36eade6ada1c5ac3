//! Edge nodes by name and address.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{
    error::{Error, ErrorKind},
    limits,
};

/// The name of an edge node: a DNS name, as it stands in the node's certificate.
///
/// Up to 253 characters, labels of `a`-`z`, `0`-`9` and `-` with dots between; capitals are read as
/// small letters. It need not resolve: nodes are dialed by [`Node::address`].
///
/// ```
/// use tunnel_proto::cluster::NodeName;
///
/// let name: NodeName = "Tokyo-1.node.example.internal".parse()?;
/// assert_eq!(name.as_str(), "tokyo-1.node.example.internal");
/// assert!("*.example.internal".parse::<NodeName>().is_err());
/// # Ok::<(), tunnel_proto::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(Arc<str>);

impl NodeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // All digits and dots would be an address, which certificates name differently.
        let is_address = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        if text.len() > 253 || is_address || !text.split('.').all(is_label) {
            let what = format!("`{}` is not a node name; a DNS name is meant", text.escape_debug());
            return Err(ErrorKind::Caller(what).into());
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An edge node: who it is and where the other nodes reach it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    name: NodeName,
    address: Arc<str>,
}

impl Node {
    /// A node that other nodes reach at `address`, `host:port`; an IPv6 address stands in brackets.
    ///
    /// # Errors
    ///
    /// An address without host or port, or longer than 259 bytes, is the caller's fault.
    pub fn new(name: NodeName, address: &str) -> Result<Self, Error> {
        if address.len() > limits::NODE_ADDRESS_BYTES {
            let most = limits::NODE_ADDRESS_BYTES;
            let what = format!("the address of an edge node with more than {most} bytes");
            return Err(Error::from(ErrorKind::Caller(what)).with_limit("NODE_ADDRESS_BYTES"));
        }
        let is_address = address.bytes().all(|byte| byte.is_ascii_graphic())
            && address.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty() && matches!(port.parse::<u16>(), Ok(1..))
            });
        if !is_address {
            let what = format!(
                "`{}` is not the address of an edge node; write it as HOST:PORT",
                address.escape_debug()
            );
            return Err(ErrorKind::Caller(what).into());
        }
        Ok(Self { name, address: address.into() })
    }

    /// The name that its certificate must carry.
    pub fn name(&self) -> &NodeName {
        &self.name
    }

    /// Where it listens for other nodes, `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// A node that holds connections of a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Holder {
    /// The node.
    pub node: Node,
    /// How many connections of the tunnel take requests there.
    pub connections: u32,
}

impl Holder {
    /// A node with its number of connections.
    pub fn new(node: Node, connections: u32) -> Self {
        Self { node, connections }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_names() {
        for good in ["a", "a.b", "tokyo-1.node.example.internal", "1a", "xn--bcher-kva.test"] {
            assert_eq!(good.parse::<NodeName>().unwrap().as_str(), good);
        }
        let long = format!("{}.test", "a".repeat(64));
        for bad in
            ["", ".", "a.", ".a", "a..b", "*.a", "a b", "a_b", "-a", "a-", "192.0.2.1", &long]
        {
            assert!(bad.parse::<NodeName>().unwrap_err().is_caller_fault(), "{bad}");
        }
    }

    #[test]
    fn addresses_have_a_host_and_a_port() {
        let node = |address: &str| Node::new("a".parse().unwrap(), address);
        for good in ["192.0.2.1:443", "[2001:db8::1]:7443", "edge-a.internal:1"] {
            assert_eq!(node(good).unwrap().address(), good);
        }
        for bad in ["", ":443", "host", "host:", "host:0", "host:65536", "a b:1", "a\n:1"] {
            assert!(node(bad).unwrap_err().is_caller_fault(), "{bad}");
        }
    }
}
