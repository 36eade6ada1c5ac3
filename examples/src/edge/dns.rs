//! Records of hosts in DNS: written at the start, kept until a host is not configured any more.
//!
//! Beside each record stands a mark of who wrote it (`_sekimori.HOST`). What others wrote is left alone, unless
//! `edge dns register HOST --overwrite` says otherwise.

#![allow(clippy::print_stdout, reason = "a program talks to its terminal")]

use std::{convert::Infallible, path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use cert_manager::dns::{DnsError, HostNames, RecordData, RecordName, Registered};
use clap::{Args, Subcommand};
use tokio::sync::watch;
use tracing::{debug, warn};

use super::{config::Config, reload::Registration, state::State};
use crate::{
    output::{Event, Reporter, chain},
    runtime,
};

/// `edge dns`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write the record of a host now, instead of at the next start.
    Register(Register),
    /// Take the record of a host away: before the edge is taken down for good.
    Remove(Remove),
}

/// `edge dns register`.
#[derive(Debug, Args)]
pub struct Register {
    /// A host of the configuration; all of them unless given.
    host: Option<String>,
    /// Take the host's place from whoever wrote its records: addresses, aliases and marks of others are lost.
    #[arg(long, requires = "host")]
    overwrite: bool,
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "edge.toml", env = "SEKIMORI_CONFIG")]
    config: PathBuf,
}

/// `edge dns remove`.
#[derive(Debug, Args)]
pub struct Remove {
    /// The host.
    host: String,
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "edge.toml", env = "SEKIMORI_CONFIG")]
    config: PathBuf,
}

/// Runs one of them.
///
/// # Errors
///
/// No `dns.target` in the configuration; what the zone's server says.
pub fn run(command: &Command) -> anyhow::Result<()> {
    runtime::build(None)?.block_on(async {
        match command {
            Command::Register(arguments) => register(arguments).await,
            Command::Remove(arguments) => remove(arguments).await,
        }
    })
}

async fn register(arguments: &Register) -> anyhow::Result<()> {
    let config = Config::read(&arguments.config)?;
    let (names, target) = described(&config)?;
    let state = State::open(&config.state)?;
    let mut hosts = config.registered_hosts()?;
    if let Some(host) = &arguments.host {
        let host: RecordName = host.parse()?;
        if !hosts.contains(&host) {
            bail!("`{host}` is no host of the configuration, or lies outside of `dns.zone`");
        }
        hosts = vec![host];
    }
    for host in &hosts {
        state.note_host(host.as_str(), true)?;
        let registered = if arguments.overwrite {
            names.overwrite(host, &target).await?
        } else {
            names.register(host, &target).await?
        };
        let how = match registered {
            Registered::Created => "registered",
            Registered::Changed => "led elsewhere, and was changed",
            Registered::Overwritten => "was somebody else's, and was overwritten",
            Registered::Unchanged => "was registered already",
        };
        println!("{host} {how}: {} {target}", target.record_type().as_str());
    }
    Ok(())
}

async fn remove(arguments: &Remove) -> anyhow::Result<()> {
    let config = Config::read(&arguments.config)?;
    let (names, _) = described(&config)?;
    let host: RecordName = arguments.host.parse()?;
    let was_there = names.remove(&host).await?;
    State::open(&config.state)?.note_host(host.as_str(), false)?;
    if was_there {
        println!("{host} was taken out of DNS");
    } else {
        println!("{host} was not registered");
    }
    if config.registered_hosts()?.contains(&host) {
        println!("it is still configured: an edge that starts writes it again");
    }
    Ok(())
}

fn described(config: &Config) -> anyhow::Result<(HostNames, RecordData)> {
    config.host_names()?.context(
        "nothing says where hosts shall lead; say `target` in `[dns]`: this edge's address, or a name",
    )
}

/// Writes the records that a configuration wants, and takes away those that it does not want any more.
#[derive(Debug)]
pub struct Registrar<'a> {
    names: HostNames,
    target: RecordData,
    state: &'a State,
    reporter: Reporter,
    /// Which hosts are to be registered.
    hosts: watch::Sender<Vec<RecordName>>,
    /// What is left to do.
    wanted: Vec<RecordName>,
    unwanted: Vec<RecordName>,
    /// Of which hosts each was tried.
    tried: watch::Sender<Option<Vec<RecordName>>>,
}

impl<'a> Registrar<'a> {
    /// Of a configuration that has a `dns.target`.
    ///
    /// # Errors
    ///
    /// A key that can't be read, or a state directory.
    pub fn new(
        config: &Config,
        state: &'a State,
        reporter: Reporter,
    ) -> anyhow::Result<Option<Self>> {
        let Some((names, target)) = config.host_names()? else { return Ok(None) };
        let (tried, _) = watch::channel(None);
        let (hosts, _) = watch::channel(config.registered_hosts()?);
        // Told at once if it can't be read.
        state.noted_hosts()?;
        let (wanted, unwanted) = (Vec::new(), Vec::new());
        Ok(Some(Self { names, target, state, reporter, hosts, wanted, unwanted, tried }))
    }

    /// What changes hosts from now on, and tells of which each was tried.
    pub fn ends(&self) -> Registration {
        Registration { hosts: self.hosts.clone(), tried: self.tried.subscribe() }
    }

    /// Tries until everything is as it is wanted, and rests until it is wanted otherwise.
    ///
    /// # Cancel safety
    ///
    /// What is not done is done at the next start.
    pub async fn keep(mut self) -> Infallible {
        // Told once, and again if it is another.
        let mut told = Vec::new();
        let mut changes = self.hosts.subscribe();
        let mut planned = self.plan(&mut changes);
        loop {
            let mut left = Vec::new();
            for host in std::mem::take(&mut self.wanted) {
                if !self.add(&host, &mut told).await {
                    left.push(host);
                }
            }
            self.wanted = left;
            let mut left = Vec::new();
            for host in std::mem::take(&mut self.unwanted) {
                if !self.take_away(&host, &mut told).await {
                    left.push(host);
                }
            }
            self.unwanted = left;
            self.tried.send_replace(Some(planned.clone()));
            let is_done = self.wanted.is_empty() && self.unwanted.is_empty();
            tokio::select! {
                () = tokio::time::sleep(TRY_AGAIN), if !is_done => {}
                // We hold a sender ourselves, so it always says something.
                _ = changes.changed() => {
                    told.clear();
                    planned = self.plan(&mut changes);
                }
            }
        }
    }

    /// What there is to do for the hosts that are wanted now, and which these are.
    fn plan(&mut self, changes: &mut watch::Receiver<Vec<RecordName>>) -> Vec<RecordName> {
        self.wanted.clone_from(&changes.borrow_and_update());
        let noted = match self.state.noted_hosts() {
            Ok(noted) => noted,
            Err(error) => {
                warn!(error = format!("{error:#}"), "records of hosts are left in DNS");
                return self.wanted.clone();
            }
        };
        let noted = noted.into_iter().filter_map(|host| host.parse().ok());
        self.unwanted = noted.filter(|host| !self.wanted.contains(host)).collect();
        self.wanted.clone()
    }

    async fn add(&self, host: &RecordName, told: &mut Vec<String>) -> bool {
        // Noted first: a crash leaves a note of nothing rather than a record that nobody takes away.
        if let Err(error) = self.state.note_host(host.as_str(), true) {
            self.refuse(host, &format!("{error:#}"), told);
            return false;
        }
        match self.names.register(host, &self.target).await {
            Ok(Registered::Unchanged) => debug!(%host, "registered in DNS already"),
            Ok(_) => self.reporter.tell(&Event::HostRegistered {
                host: host.to_string(),
                target: self.target.to_string(),
            }),
            Err(error) => {
                let advice = match &error {
                    DnsError::Foreign { .. } => {
                        format!(" (`edge dns register {host} --overwrite` takes it)")
                    }
                    _ => String::new(),
                };
                self.refuse(host, &(chain(&error) + &advice), told);
                return false;
            }
        }
        true
    }

    async fn take_away(&self, host: &RecordName, told: &mut Vec<String>) -> bool {
        match self.names.remove(host).await {
            Ok(was_there) => {
                if was_there {
                    self.reporter.tell(&Event::HostRemoved { host: host.to_string() });
                }
            }
            // Somebody has taken the name over: it is not ours to take away.
            Err(DnsError::Foreign { .. }) => {}
            Err(error) => {
                self.refuse(host, &chain(&error), told);
                return false;
            }
        }
        if let Err(error) = self.state.note_host(host.as_str(), false) {
            debug!(%host, error = format!("{error:#}"), "a note of a host is left");
        }
        true
    }

    fn refuse(&self, host: &RecordName, error: &str, told: &mut Vec<String>) {
        let line = format!("{host}: {error}");
        if !told.contains(&line) {
            told.push(line);
            let (host, error) = (host.to_string(), error.to_owned());
            self.reporter.tell(&Event::HostRefused { host, error });
        }
    }
}

const TRY_AGAIN: Duration = Duration::from_secs(60);
