//! What the name servers of a zone show.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_proto::rr::{RData, RecordType as WireType};
use tokio::time::sleep;

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
}

/// Which servers are asked.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum ServerList {
    /// Those that the zone names, found with the help of a resolver.
    #[default]
    Named,
    /// These: for split DNS and hidden primaries.
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
        Self { resolvers, servers: ServerList::Named }
    }

    /// Which servers are asked. Default those that the zone names.
    #[must_use]
    pub fn servers(mut self, servers: ServerList) -> Self {
        self.servers = servers;
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

    /// The addresses of the servers of the zone that holds the name.
    ///
    /// # Errors
    ///
    /// None can be found, or no resolver answers.
    pub async fn servers_of(&self, name: &RecordName) -> Result<Vec<SocketAddr>, DnsError> {
        if let ServerList::These(servers) = &self.servers {
            return Ok(servers.clone());
        }
        let mut zone = Some(name.clone());
        while let Some(candidate) = zone {
            let names = self.name_servers(&candidate).await?;
            let mut servers = Vec::new();
            for server in &names {
                for wire_type in [WireType::A, WireType::AAAA] {
                    let found = self.ask(server, wire_type).await?;
                    servers.extend(found.iter().filter_map(|it| match it.data {
                        RecordData::A(ip) => Some(SocketAddr::from((ip, DNS_PORT))),
                        RecordData::Aaaa(ip) => Some(SocketAddr::from((ip, DNS_PORT))),
                        _ => None,
                    }));
                }
            }
            if !servers.is_empty() {
                return Ok(servers);
            }
            zone = candidate.parent();
        }
        Err(DnsError::NoServers { name: name.clone() })
    }

    /// Waits until every server shows the value, asking each second, and once at least.
    ///
    /// # Errors
    ///
    /// [`DnsError::NotSeen`] with the servers that did not show it within `patience`.
    ///
    /// # Cancel safety
    ///
    /// It only looks.
    pub async fn wait_for(
        &self,
        name: &RecordName,
        data: &RecordData,
        patience: Duration,
    ) -> Result<(), DnsError> {
        let mut missing = self.servers_of(name).await?;
        for round in 0..=patience.as_secs() {
            if round > 0 {
                sleep(PAUSE).await;
            }
            let mut still = Vec::new();
            for server in missing {
                if !shows(server, name, data).await {
                    still.push(server);
                }
            }
            missing = still;
            if missing.is_empty() {
                return Ok(());
            }
        }
        Err(DnsError::NotSeen { name: name.clone(), missing })
    }

    async fn name_servers(&self, zone: &RecordName) -> Result<Vec<RecordName>, DnsError> {
        let answer = self.ask_wire(zone, WireType::NS).await?;
        let servers = answer.answers.iter().filter_map(|it| match &it.data {
            RData::NS(name) => name.0.to_ascii().parse().ok(),
            _ => None,
        });
        Ok(servers.collect())
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

async fn shows(server: SocketAddr, name: &RecordName, data: &RecordData) -> bool {
    let wire_type = super::exchange::wire_type(data.record_type());
    let answer = look_up(server, name, wire_type, false, None).await;
    answer.is_ok_and(|answer| {
        let mut records = answer.answers.iter().filter_map(record);
        records.any(|record| record.name == *name && record.data == *data)
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_from_the_systems_file() {
        let text = "# comment\nsearch example.jp\nnameserver 192.0.2.1\n nameserver 2001:db8::1\nnameserver x\n";
        let found = resolvers_in(text);
        assert_eq!(found, ["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap()]);
    }
}
