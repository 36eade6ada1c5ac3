//! Addresses in the connector's own network, for TCP flows.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    error::{Error, ErrorKind},
    limits,
};

/// Which addresses an edge may reach through a connector as raw TCP (cloudflared's `warp-routing`).
///
/// Nothing is allowed unless said: an edge, or whoever took it over, could otherwise reach
/// everything that the connector's machine can.
///
/// ```
/// use tunnel_proto::origin::PrivateNetwork;
///
/// let network = PrivateNetwork::new().allow("10.0.0.0/8", 22..=22)?.allow("10.0.0.9", 5432..=5432)?;
/// # let _ = network;
/// # Ok::<(), tunnel_proto::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct PrivateNetwork {
    allowed: Vec<(IpNet, RangeInclusive<u16>)>,
    connect_timeout: Duration,
    flows: Arc<Semaphore>,
}

/// Why a flow was not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Declined {
    #[error("`{0}` is not an address with a port")]
    NoAddress(String),
    #[error("{0} is not among the addresses allowed")]
    NotAllowed(SocketAddr),
    #[error("as many flows are open as are allowed (ACTIVE_FLOWS)")]
    TooMany,
    #[error("{0} can't be reached")]
    Unreachable(SocketAddr, #[source] io::Error),
}

impl PrivateNetwork {
    /// Allows nothing; at most 1,000 flows at once; 5 seconds for a TCP connection.
    pub fn new() -> Self {
        Self {
            allowed: Vec::new(),
            connect_timeout: limits::FLOW_CONNECT_TIMEOUT,
            flows: Arc::new(Semaphore::new(limits::ACTIVE_FLOWS)),
        }
    }

    /// Allows a network or one address, and ports of it. An IPv4-mapped IPv6 address counts as
    /// IPv4.
    ///
    /// # Errors
    ///
    /// What is no network in CIDR notation (RFC 4632) and no address is the caller's fault.
    pub fn allow(mut self, network: &str, ports: RangeInclusive<u16>) -> Result<Self, Error> {
        let one = |_| network.parse::<IpAddr>().map(IpNet::from);
        let Ok(network) = network.parse::<IpNet>().or_else(one).map(|network| network.trunc())
        else {
            let network = network.escape_debug();
            let what = format!("`{network}` is not a network; write it as 10.0.0.0/8 or 10.0.0.9");
            return Err(ErrorKind::Caller(what).into());
        };
        self.allowed.push((network, ports));
        Ok(self)
    }

    /// Carries this many flows at once at most.
    #[must_use]
    pub fn max_active_flows(mut self, flows: usize) -> Self {
        self.flows = Arc::new(Semaphore::new(flows.min(Semaphore::MAX_PERMITS)));
        self
    }

    /// Waits this long for a TCP connection.
    #[must_use]
    pub fn connect_timeout(mut self, wait: Duration) -> Self {
        self.connect_timeout = wait;
        self
    }

    /// Whether an edge may reach an address.
    pub fn is_allowed(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.allowed
            .iter()
            .any(|(network, ports)| network.contains(&ip) && ports.contains(&address.port()))
    }

    pub(crate) async fn connect(
        &self,
        authority: &str,
    ) -> Result<(TcpStream, OwnedSemaphorePermit), Declined> {
        let address: SocketAddr =
            authority.parse().map_err(|_| Declined::NoAddress(authority.into()))?;
        if !self.is_allowed(address) {
            return Err(Declined::NotAllowed(address));
        }
        let permit = Arc::clone(&self.flows).try_acquire_owned().map_err(|_| Declined::TooMany)?;
        let tcp = timeout(self.connect_timeout, TcpStream::connect(address))
            .await
            .unwrap_or_else(|_| {
                let what =
                    format!("no answer in {:?} (FLOW_CONNECT_TIMEOUT)", self.connect_timeout);
                Err(io::Error::new(io::ErrorKind::TimedOut, what))
            })
            .and_then(|tcp| tcp.set_nodelay(true).map(|()| tcp))
            .map_err(|error| Declined::Unreachable(address, error))?;
        Ok((tcp, permit))
    }
}

impl Default for PrivateNetwork {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_allowed_unless_said() {
        let address = |text: &str| text.parse().unwrap();
        let none = PrivateNetwork::new();
        assert!(!none.is_allowed(address("127.0.0.1:22")));
        let some = none
            .allow("10.1.2.3/8", 22..=23)
            .unwrap()
            .allow("fd00::/8", 1..=9)
            .unwrap()
            .allow("192.0.2.7", 80..=80)
            .unwrap();
        for (text, expected) in [
            ("10.9.9.9:22", true),
            ("10.9.9.9:24", false),
            ("11.0.0.1:22", false),
            ("[::ffff:10.0.0.1]:22", true),
            ("[fd00::1]:9", true),
            ("[fe80::1]:9", false),
            ("192.0.2.7:80", true),
            ("192.0.2.8:80", false),
        ] {
            assert_eq!(some.is_allowed(address(text)), expected, "{text}");
        }
        for bad in ["", "example.com", "10.0.0.0/33", "10.0.0.0/8:22"] {
            let error = PrivateNetwork::new().allow(bad, 1..=2).unwrap_err();
            assert!(error.is_caller_fault() && error.to_string().contains("10.0.0.0/8"), "{error}");
        }
    }
}
