//! Reading the configuration again while everything runs: rules, people, countries, and which hosts there are.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use cert_manager::{Name, dns::RecordName};
use tokio::{sync::watch, task::AbortHandle, time::timeout};
use tracing::warn;
use tunnel_proto::{TunnelId, edge::Router};

use super::config::Config;
use crate::{
    gate::Gate,
    output::{Event, chain},
    rules::Rules,
};

/// What can change under a running edge.
#[derive(Debug)]
pub struct Reload {
    /// The configuration's file.
    pub file: PathBuf,
    /// What holds now.
    pub config: Config,
    /// Judges by the rules.
    pub gate: Arc<Gate>,
    /// Leads hosts to tunnels.
    pub router: Arc<Router>,
    /// Tunnels that may register, by name.
    pub tunnels: BTreeMap<String, TunnelId>,
    /// Takes which certificates there shall be for visitors.
    pub certificates: watch::Sender<Vec<Vec<String>>>,
    /// Registers hosts in DNS, if that is to be done.
    pub dns: Option<Registration>,
    /// Waits for DNS before certificates are changed.
    pub waiting: Option<AbortHandle>,
}

/// The ends of a [`Registrar`](super::dns::Registrar) at work.
#[derive(Debug)]
pub struct Registration {
    /// Takes which hosts are to be registered.
    pub hosts: watch::Sender<Vec<RecordName>>,
    /// Tells of which hosts each was tried.
    pub tried: watch::Receiver<Option<Vec<RecordName>>>,
}

impl Registration {
    /// Waits until each of these hosts was tried, but not for ever.
    pub async fn wait_for(&mut self, hosts: &[RecordName]) {
        let tried = self.tried.wait_for(|tried| tried.as_deref() == Some(hosts));
        if timeout(DNS_PATIENCE, tried).await.is_err() {
            warn!("DNS takes its time; going on without waiting for it");
        }
    }
}

impl Reload {
    /// Reads the configuration and puts its rules and hosts in force, all or nothing. Sockets, mail, authorities, tunnels
    /// and where people sign in stay as they were at the start.
    pub fn now(&mut self) -> Event {
        match self.try_now() {
            Ok(rules) => Event::RulesReplaced { rules },
            Err(error) => Event::RulesRefused { error: chain(&*error) },
        }
    }

    fn try_now(&mut self) -> anyhow::Result<Vec<String>> {
        let read = Config::read(&self.file)?;
        let (acme, dns) = (self.config.acme.clone(), self.config.dns.clone());
        let config = Config { acme, dns, ..read };
        if config.team_host() != self.config.team_host() {
            bail!("people would sign in at another host; restart the edge to change that");
        }
        let routes = routes(&config, &self.tunnels)?;
        let certificates = config.certificates();
        for name in certificates.iter().flatten() {
            name.parse::<Name>()?;
        }
        let hosts = config.registered_hosts()?;
        let rules = config.rules()?;
        rules.warn_of_missing_facts();
        let in_words = words_of(&rules);

        let gone = self.config.app.iter().map(|app| self.config.host_of(app));
        let gone: Vec<String> = gone.filter(|host| !routes.contains_key(host)).collect();
        // A host without rules admits nobody: it does not matter that this is more than one step.
        self.gate.replace_rules(rules);
        for host in gone {
            self.router.remove_route(&host);
        }
        for (host, tunnel) in &routes {
            self.router.set_route(host, *tunnel)?;
        }
        self.change_certificates(certificates, hosts);
        self.config = config;
        Ok(in_words)
    }

    /// Authorities follow the records of hosts, so these are written first.
    fn change_certificates(&mut self, certificates: Vec<Vec<String>>, hosts: Vec<RecordName>) {
        // What an earlier change still waits for does not matter any more.
        self.waiting.take().inspect(AbortHandle::abort);
        let Some(Registration { hosts: sender, tried }) = &self.dns else {
            self.certificates.send_replace(certificates);
            return;
        };
        sender.send_replace(hosts.clone());
        let mut dns = Registration { hosts: sender.clone(), tried: tried.clone() };
        let changed = self.certificates.clone();
        let waiting = tokio::spawn(async move {
            dns.wait_for(&hosts).await;
            changed.send_replace(certificates);
        });
        self.waiting = Some(waiting.abort_handle());
    }
}

/// For how long certificates wait for records.
const DNS_PATIENCE: Duration = Duration::from_secs(20);

/// Which tunnel each host leads to.
///
/// # Errors
///
/// A tunnel that is not among these, or a host with two.
pub fn routes(
    config: &Config,
    tunnels: &BTreeMap<String, TunnelId>,
) -> anyhow::Result<BTreeMap<String, TunnelId>> {
    let mut routes = BTreeMap::new();
    for app in &config.app {
        let name = app.tunnel.escape_debug();
        let tunnel = tunnels.get(&app.tunnel).with_context(|| {
            format!("tunnel `{name}` was not configured at the start; restart the edge to add it")
        })?;
        let host = config.host_of(app);
        // Several applications may share a host.
        if routes.insert(host.clone(), *tunnel).is_some_and(|other| other != *tunnel) {
            bail!("`{host}` is named with two tunnels; one tunnel serves a whole host");
        }
    }
    Ok(routes)
}

/// Who may pass, one line an application.
pub fn words_of(rules: &Rules) -> Vec<String> {
    rules.engine().policies().applications.iter().map(ToString::to_string).collect()
}
