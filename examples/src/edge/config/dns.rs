//! `[dns]`: a zone that the edge may change.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use cert_manager::dns::{
    Authority, Dns01, DnsProvider, ExecHook, HostNames, Propagation, RecordData, RecordName,
    Rfc2136, ServerList, TsigKey,
};
use serde::Deserialize;

use super::Config;

/// Who changes the zone, and what the edge writes into it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    /// The zone's primary server, which takes dynamic updates: an address, with a port unless it is 53.
    pub server: Option<String>,
    /// The zone. The server is asked for it unless set.
    pub zone: Option<String>,
    /// The file of the key that signs updates, relative to this file: as `tsig-keygen` writes it, or
    /// `hmac-sha256:NAME:SECRET`; with `key_name`, the secret alone.
    pub key_file: Option<PathBuf>,
    /// The key's name, if its file has the secret alone.
    pub key_name: Option<String>,
    /// Its algorithm then. `hmac-sha256` unless set.
    pub key_algorithm: Option<String>,
    /// A program that changes the zone, in place of a server; relative to this file.
    pub hook: Option<PathBuf>,
    /// Where hosts of applications shall lead: this edge's address, or a name that leads to it. Without it, no host is
    /// registered.
    pub target: Option<String>,
    /// Who registers, as it stands in the mark beside each record. The team host unless set. Edges that share a
    /// configuration share it.
    pub owner: Option<String>,
    /// For how many seconds resolvers keep the records of hosts. 300 unless set.
    pub ttl: Option<u32>,
    /// Whom to ask for name servers and aliases. Those of `/etc/resolv.conf` unless set.
    pub resolvers: Option<Vec<SocketAddr>>,
    /// The servers that must show an answer before an authority is told to look. Those that the zone names unless set.
    pub propagation_servers: Option<Vec<SocketAddr>>,
    /// Wait for so long instead of asking.
    pub propagation_seconds: Option<u64>,
}

impl Dns {
    /// What changes the zone.
    ///
    /// # Errors
    ///
    /// A key that can't be read or used.
    pub fn provider(&self) -> anyhow::Result<Arc<dyn DnsProvider>> {
        if let Some(program) = &self.hook {
            return Ok(Arc::new(ExecHook::new(program)));
        }
        let (server, key) = (self.server_address()?, self.key()?);
        let mut provider = Rfc2136::new(server, key);
        if let Some(zone) = &self.zone {
            provider = provider.zone(zone.parse().context("`dns.zone`")?);
        }
        Ok(Arc::new(provider))
    }

    /// What answers dns-01.
    ///
    /// # Errors
    ///
    /// As [`Dns::provider`]; no resolver in `/etc/resolv.conf`.
    pub fn solver(&self) -> anyhow::Result<Dns01> {
        let propagation = match self.propagation_seconds {
            Some(seconds) => Propagation::After(Duration::from_secs(seconds)),
            None => Propagation::Seen(self.authority()?),
        };
        Ok(Dns01::new(self.provider()?, propagation))
    }

    fn authority(&self) -> anyhow::Result<Authority> {
        let authority = match &self.resolvers {
            Some(resolvers) => Authority::with_resolvers(resolvers.clone()),
            None => Authority::of_system().context(
                "can't tell whom to ask for the zone's name servers; say `resolvers` in `[dns]`",
            )?,
        };
        Ok(match &self.propagation_servers {
            Some(servers) => authority.servers(ServerList::These(servers.clone())),
            None => authority,
        })
    }

    /// Where hosts shall lead, if they are registered.
    ///
    /// # Errors
    ///
    /// Neither an address nor a name.
    pub fn target(&self) -> anyhow::Result<Option<RecordData>> {
        let Some(text) = &self.target else { return Ok(None) };
        Ok(Some(match text.parse() {
            Ok(IpAddr::V4(address)) => RecordData::A(address),
            Ok(IpAddr::V6(address)) => RecordData::Aaaa(address),
            Err(_) => RecordData::Cname(text.parse().with_context(|| {
                let text = text.escape_debug();
                format!("`dns.target` is `{text}`; an address or a host name is meant")
            })?),
        }))
    }

    fn server_address(&self) -> anyhow::Result<SocketAddr> {
        let text = self.server.as_deref().unwrap_or_default();
        let address = text.parse::<IpAddr>().map(|ip| (ip, 53).into());
        address.or_else(|_| text.parse()).map_err(|_| {
            let text = text.escape_debug();
            anyhow::anyhow!("`dns.server` is `{text}`; an address such as `192.0.2.53` is meant")
        })
    }

    fn key(&self) -> anyhow::Result<TsigKey> {
        let file = self.key_file.as_ref().context(
            "`dns.key_file` names the key that signs updates; `tsig-keygen edge > tsig.key` draws one",
        )?;
        let text =
            fs::read_to_string(file).with_context(|| format!("can't read `{}`", file.display()))?;
        let key = match &self.key_name {
            None => TsigKey::parse(&text),
            Some(name) => {
                let algorithm = self.key_algorithm.as_deref().unwrap_or("hmac-sha256");
                TsigKey::new(name, algorithm, &text)
            }
        };
        key.with_context(|| format!("the key in `{}`", file.display()))
    }

    /// Finds what can be found without reading files.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        match (&self.server, &self.hook) {
            (None, None) => bail!(
                "`dns`: say who changes the zone: `server = \"192.0.2.53\"` with `key_file`, or `hook`"
            ),
            (Some(_), Some(_)) => bail!("`dns`: either `server` or `hook` changes the zone"),
            (Some(_), None) => {
                self.server_address()?;
                if self.key_file.is_none() {
                    self.key()?;
                }
            }
            (None, Some(_)) => {
                let has_key = self.key_file.is_some() || self.key_name.is_some();
                if has_key || self.zone.is_some() {
                    bail!("`dns`: `zone` and keys go with `server`; the hook knows its own");
                }
            }
        }
        if self.key_algorithm.is_some() && self.key_name.is_none() {
            bail!("`dns`: `key_algorithm` goes with `key_name`; without it the file says both");
        }
        if self.propagation_seconds.is_some()
            && (self.propagation_servers.is_some() || self.resolvers.is_some())
        {
            bail!("`dns`: either wait for `propagation_seconds` or ask servers");
        }
        if self.target.is_none() && (self.owner.is_some() || self.ttl.is_some()) {
            bail!("`dns`: `owner` and `ttl` are about records of hosts; say their `target`");
        }
        self.target().map(drop)
    }
}

impl Config {
    /// Registers hosts, if they are to be registered.
    ///
    /// # Errors
    ///
    /// As [`Dns::provider`]; an owner that can't be one.
    pub fn host_names(&self) -> anyhow::Result<Option<(HostNames, RecordData)>> {
        let Some(dns) = &self.dns else { return Ok(None) };
        let Some(target) = dns.target()? else { return Ok(None) };
        let owner = dns.owner.clone().unwrap_or_else(|| self.team_host());
        let mut names = HostNames::new(dns.provider()?, &owner).with_context(|| {
            format!("`dns.owner` is `{}`; it marks this edge's records", owner.escape_debug())
        })?;
        if let Some(seconds) = dns.ttl {
            names = names.ttl(seconds);
        }
        Ok(Some((names, target)))
    }

    /// The hosts that are to be registered: those in `dns.zone`, or all.
    ///
    /// # Errors
    ///
    /// A zone that is no name.
    pub fn registered_hosts(&self) -> anyhow::Result<Vec<RecordName>> {
        let zone = self.dns.as_ref().and_then(|dns| dns.zone.as_ref());
        let zone = zone.map(|zone| zone.parse::<RecordName>()).transpose().context("`dns.zone`")?;
        let mut hosts = Vec::new();
        for host in self.hosts() {
            let host: RecordName = host.parse()?;
            if zone.as_ref().is_none_or(|zone| host.is_within(zone)) {
                hosts.push(host);
            }
        }
        Ok(hosts)
    }
}
