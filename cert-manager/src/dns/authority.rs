//! What the name servers of a zone show.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_proto::rr::{RData, RecordType as WireType};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};
use tracing::warn;

use super::{
    error::DnsError,
    exchange::{look_up, record},
    record::{RecordData, RecordName},
};

/// Asks the authoritative servers of a name, each by itself, over TCP and without recursion: no cache between, so
/// no answer "there is none" that lasts.
#[derive(Clone, Debug)]
pub struct Authority {
    resolvers: Vec<SocketAddr>,
    servers: ServerList,
    port: u16,
}

/// A name server, as it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NameServer {
    /// As the zone names it; none for those of [`ServerList::These`].
    pub name: Option<RecordName>,
    /// Where it is reached.
    pub addresses: Vec<SocketAddr>,
}

/// Which servers are asked.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum ServerList {
    /// Those that the zone names, found with the help of a resolver.
    #[default]
    Named,
    /// These, each a server of its own: for split DNS and hidden primaries.
    These(Vec<SocketAddr>),
}

impl Authority {
    /// With the resolvers of the system (`/etc/resolv.conf`).
    ///
    /// # Errors
    ///
    /// The file cannot be read, or names no resolver.
    pub fn of_system() -> io::Result<Self> {
        let resolvers = resolvers_in(&fs::read_to_string("/etc/resolv.conf")?);
        if resolvers.is_empty() {
            return Err(io::Error::other("/etc/resolv.conf names no resolver"));
        }
        Ok(Self::with_resolvers(resolvers))
    }

    /// With these resolvers, asked in turn until one answers.
    pub fn with_resolvers(resolvers: Vec<SocketAddr>) -> Self {
        Self { resolvers, servers: ServerList::Named, port: DNS_PORT }
    }

    /// Which servers are asked. Default those that the zone names.
    #[must_use]
    pub fn servers(mut self, servers: ServerList) -> Self {
        self.servers = servers;
        self
    }

    /// The port of the servers that the zone names. Default 53; a laboratory may have another.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Where the name's aliases (CNAME) end: that is where a record for it has to be written. Without resolvers, or
    /// where none answers, the name itself.
    ///
    /// # Errors
    ///
    /// More than eight aliases in a row.
    pub async fn follow(&self, name: &RecordName) -> Result<RecordName, DnsError> {
        let mut name = name.clone();
        for _ in 0..MAX_ALIASES {
            let Ok(answer) = self.ask(&name, WireType::CNAME).await else { return Ok(name) };
            let alias = answer.iter().filter(|it| it.name == name).find_map(|it| match &it.data {
                RecordData::Cname(to) => Some(to.clone()),
                _ => None,
            });
            match alias {
                Some(to) => name = to,
                None => return Ok(name),
            }
        }
        Err(DnsError::Name { text: name.to_string(), reason: "more than eight aliases lead to it" })
    }

    /// The servers of the zone that holds the name: at most 16, with at most 2 addresses of each family.
    ///
    /// # Errors
    ///
    /// None can be found, or no resolver answers.
    pub async fn servers_of(&self, name: &RecordName) -> Result<Vec<NameServer>, DnsError> {
        if let ServerList::These(servers) = &self.servers {
            let alone = |address: &SocketAddr| NameServer { name: None, addresses: vec![*address] };
            return Ok(servers.iter().map(alone).collect());
        }
        let mut zone = Some(name.clone());
        while let Some(candidate) = zone {
            let mut searches = JoinSet::new();
            for server in self.name_servers(&candidate).await? {
                let this = self.clone();
                searches.spawn(async move { this.addresses_of(server).await });
            }
            let mut servers = searches.join_all().await;
            servers.retain(|server| !server.addresses.is_empty());
            if !servers.is_empty() {
                return Ok(servers);
            }
            zone = candidate.parent();
        }
        Err(DnsError::NoServers { name: name.clone() })
    }

    /// Waits until the servers show the value, asking each second, and once at least.
    ///
    /// A server counts as showing it when one of its addresses does. Servers that do not answer at all, or only with
    /// errors, are left out after 5 seconds, or when `patience` ends, if another one shows it; a line in the log names
    /// them. One that answers without the value is always waited for. `patience` below 1 second counts as 1 second.
    ///
    /// # Errors
    ///
    /// [`DnsError::NotSeen`] with the servers that did not show it within `patience`; no servers could be found.
    ///
    /// # Cancel safety
    ///
    /// It only looks.
    #[expect(clippy::disallowed_methods, reason = "this is the shell around the network")]
    pub async fn wait_for(
        &self,
        name: &RecordName,
        data: &RecordData,
        patience: Duration,
    ) -> Result<(), DnsError> {
        let start = Instant::now();
        let deadline = start + patience.max(LEAST_PATIENCE);
        let Ok(servers) = timeout_at(deadline, self.servers_of(name)).await else {
            return Err(DnsError::NoServers { name: name.clone() });
        };
        let servers = servers?;
        if servers.is_empty() {
            return Err(DnsError::NoServers { name: name.clone() });
        }
        let (_tasks, mut answers) = watch(&servers, name, data);
        let mut seen = vec![Seen::Nothing; servers.len()];
        while seen.iter().any(|it| *it != Seen::Value) {
            let only_silence_is_left = is_enough(&seen);
            let until = if only_silence_is_left { deadline.min(start + SILENCE) } else { deadline };
            let Ok(Some((at, shows))) = timeout_at(until, answers.recv()).await else { break };
            match (seen[at], shows) {
                (_, true) => seen[at] = Seen::Value,
                (Seen::Nothing, false) => seen[at] = Seen::NoValue,
                _ => {}
            }
        }
        let missing = servers.into_iter().zip(&seen).filter(|(_, seen)| **seen != Seen::Value);
        let missing: Vec<NameServer> = missing.map(|(server, _)| server).collect();
        if !is_enough(&seen) {
            let missing = missing.into_iter().flat_map(|server| server.addresses).collect();
            return Err(DnsError::NotSeen { name: name.clone(), missing });
        }
        if !missing.is_empty() {
            warn!(%name, servers = ?missing, "name servers that do not answer are left out");
        }
        Ok(())
    }

    async fn name_servers(&self, zone: &RecordName) -> Result<Vec<RecordName>, DnsError> {
        let answer = self.ask_wire(zone, WireType::NS).await?;
        let servers = answer.answers.iter().filter_map(|it| match &it.data {
            RData::NS(name) => name.0.to_ascii().parse().ok(),
            _ => None,
        });
        Ok(servers.take(MAX_SERVERS).collect())
    }

    /// What can be found: one family of addresses is enough.
    async fn addresses_of(&self, server: RecordName) -> NameServer {
        let (v4, v6) =
            tokio::join!(self.ask(&server, WireType::A), self.ask(&server, WireType::AAAA));
        let mut addresses = Vec::new();
        for family in [v4, v6] {
            let found = family.unwrap_or_default().into_iter().filter_map(|it| match it.data {
                RecordData::A(ip) => Some(SocketAddr::from((ip, self.port))),
                RecordData::Aaaa(ip) => Some(SocketAddr::from((ip, self.port))),
                _ => None,
            });
            addresses.extend(found.take(MAX_ADDRESSES / 2));
        }
        NameServer { name: Some(server), addresses }
    }

    async fn ask(
        &self,
        name: &RecordName,
        wire_type: WireType,
    ) -> Result<Vec<super::record::Record>, DnsError> {
        let answer = self.ask_wire(name, wire_type).await?;
        Ok(answer.answers.iter().filter_map(record).collect())
    }

    async fn ask_wire(
        &self,
        name: &RecordName,
        wire_type: WireType,
    ) -> Result<hickory_proto::op::Message, DnsError> {
        let mut last = DnsError::NoServers { name: name.clone() };
        for resolver in &self.resolvers {
            match look_up(*resolver, name, wire_type, true, None).await {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// What was seen at a server so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    NoValue,
    Value,
}

/// Whether the value stands at all servers that answer, and one does.
fn is_enough(seen: &[Seen]) -> bool {
    seen.contains(&Seen::Value) && !seen.contains(&Seen::NoValue)
}

/// Asks each address by itself, so that none waits for another: which server answered, and whether with the value.
fn watch(
    servers: &[NameServer],
    name: &RecordName,
    data: &RecordData,
) -> (JoinSet<()>, mpsc::Receiver<(usize, bool)>) {
    let mut tasks = JoinSet::new();
    let (sender, answers) = mpsc::channel(1);
    for (at, server) in servers.iter().enumerate() {
        for address in server.addresses.iter().copied() {
            let (name, data, sender) = (name.clone(), data.clone(), sender.clone());
            tasks.spawn(async move {
                loop {
                    let shows = shows(address, &name, &data).await;
                    if let Some(shows) = shows
                        && (sender.send((at, shows)).await.is_err() || shows)
                    {
                        return;
                    }
                    sleep(PAUSE).await;
                }
            });
        }
    }
    (tasks, answers)
}

/// None where it gives no answer, or an error: nobody learns from it then that there is no such value.
async fn shows(server: SocketAddr, name: &RecordName, data: &RecordData) -> Option<bool> {
    let wire_type = super::exchange::wire_type(data.record_type());
    let answer = look_up(server, name, wire_type, false, None).await.ok()?;
    let mut records = answer.answers.iter().filter_map(record);
    Some(records.any(|record| record.name == *name && record.data == *data))
}

fn resolvers_in(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let addresses = lines.filter_map(|rest| rest.split_whitespace().next()?.parse::<IpAddr>().ok());
    addresses.map(|ip| SocketAddr::new(ip, DNS_PORT)).collect()
}

const DNS_PORT: u16 = 53;

/// As resolvers do.
const MAX_ALIASES: usize = 8;

const PAUSE: Duration = Duration::from_secs(1);

/// Time for one question.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// A server that has not answered by then may be away for good.
const SILENCE: Duration = Duration::from_secs(5);

/// The root has 13.
const MAX_SERVERS: usize = 16;

/// Of one server: two of each family.
const MAX_ADDRESSES: usize = 4;

#[cfg(test)]
mod tests;
