//! Where certificates come from: the edge's own authority, public ones by ACME, or both in order.
//!
//! Connectors trust the edge's own authority, so their names are always its own. Two managers share store and
//! resolver: one for what has to be there before anybody can connect, one for public certificates, which can be had
//! only once the sockets answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use cert_manager::{
    DirectoryStore, Manager, PrivateCa, Resolver,
    acme::{Http01, Solver, TlsAlpn01},
    manager::{self, Builder, Events, Issuer, NextStep, PrivateIssuer, Status},
    presets,
};
use tokio::time::timeout;
use tracing::warn;

use super::{
    config::{Challenge, Config},
    state::State,
};
use crate::output::{Event, Reporter, chain, time_text};

/// Which certificates there shall be, and who issues them.
#[derive(Debug)]
pub struct Certificates {
    ca: Arc<PrivateCa>,
    /// Where they are kept over a restart; in memory only if there is none.
    store: Option<DirectoryStore>,
    resolver: Arc<Resolver>,
    /// The names that each certificate for visitors carries.
    wanted: Vec<Vec<String>>,
    public: Option<Public>,
}

/// Public authorities, and what answers their challenges.
#[derive(Debug)]
pub struct Public {
    /// In the order of preference.
    pub issuers: Vec<Arc<dyn Issuer>>,
    http: Option<Arc<Http01>>,
    tls: Option<Arc<TlsAlpn01>>,
}

impl Certificates {
    /// Issues everything by the edge's own authority, and keeps nothing.
    pub fn private<const N: usize>(ca: PrivateCa, hosts: [&str; N]) -> Self {
        let wanted = hosts.map(|host| vec![host.to_owned()]).into();
        let (ca, resolver) = (Arc::new(ca), Resolver::new());
        Self { ca, store: None, resolver, wanted, public: None }
    }

    /// As the configuration says, kept in the state directory.
    ///
    /// # Errors
    ///
    /// A file of `[acme]` or `[dns]` that can't be read or used.
    pub fn configured(config: &Config, state: &State, ca: PrivateCa) -> anyhow::Result<Self> {
        let (ca, resolver) = (Arc::new(ca), Resolver::new());
        let public = if config.acme.is_empty() {
            None
        } else {
            Some(Public::configured(config, state, &ca, &resolver)?)
        };
        let store = Some(state.certificates());
        Ok(Self { ca, store, resolver, wanted: config.certificates(), public })
    }

    /// What listeners ask for certificates.
    pub fn resolver(&self) -> Arc<Resolver> {
        Arc::clone(&self.resolver)
    }

    /// What answers http-01, if that is how it is done.
    pub fn http_challenges(&self) -> Option<Arc<Http01>> {
        self.public.as_ref()?.http.clone()
    }

    /// What answers tls-alpn-01, if that is how it is done.
    pub fn tls_challenges(&self) -> Option<Arc<TlsAlpn01>> {
        self.public.as_ref()?.tls.clone()
    }

    /// Starts to look after what the edge's own authority issues. Those certificates are there when this returns.
    ///
    /// # Errors
    ///
    /// Names that can't have a certificate.
    pub async fn start_own(&self) -> anyhow::Result<Manager> {
        let mut manager = self.builder().private_ca(Arc::clone(&self.ca));
        if self.public.is_none() {
            for names in &self.wanted {
                manager = manager.names(names);
            }
        }
        let tunnel_names = presets::tunnel_names();
        let manager = manager.names(tunnel_names.iter().map(ToString::to_string)).start().await?;
        let mut events = manager.events();
        let missing = |manager: &Manager| {
            manager.snapshot().certificates.into_iter().find(|status| status.serial.is_none())
        };
        while let Some(status) = missing(&manager) {
            if let Some(error) = status.last_error {
                anyhow::bail!("`{:?}`: {}", status.names, error.text);
            }
            look_again(&mut events).await;
        }
        Ok(manager)
    }

    /// Starts to look after public certificates, if there are to be any. The sockets have to answer by now. Returns when
    /// each is there or has failed for the first time, after half a minute at the latest.
    ///
    /// # Errors
    ///
    /// Names that can't have a certificate.
    pub async fn start_public(&self, reporter: Reporter) -> anyhow::Result<Option<Manager>> {
        let Some(public) = &self.public else { return Ok(None) };
        let issuers = public.issuers.iter().cloned();
        let builder = issuers.fold(self.builder(), Builder::shared_issuer);
        // With nothing wanted it starts at once, whatever state the authorities are in.
        let manager = builder.start().await?;
        tokio::spawn(tell(manager.events(), reporter));
        let mut events = manager.events();
        for names in &self.wanted {
            manager.add(names).with_context(|| format!("no certificate for {names:?}"))?;
        }
        let start = Instant::now();
        while manager.snapshot().certificates.iter().any(is_awaited) && start.elapsed() < FIRST_WAIT
        {
            look_again(&mut events).await;
        }
        Ok(Some(manager))
    }

    /// Which certificates there are for visitors.
    pub fn wanted(&self) -> &[Vec<String>] {
        &self.wanted
    }

    /// What looks after them from now on.
    pub fn managers(self, own: Manager, public: Option<Manager>) -> Managers {
        Managers { own, public, wanted: self.wanted }
    }

    fn builder(&self) -> Builder {
        let builder = Manager::builder().resolver(self.resolver()).look_every(LOOK_EVERY);
        match &self.store {
            Some(store) => builder.storage(store.clone()),
            None => builder,
        }
    }
}

impl Public {
    /// Authorities and solvers of a configuration.
    ///
    /// # Errors
    ///
    /// As [`Certificates::configured`].
    pub fn configured(
        config: &Config,
        state: &State,
        ca: &Arc<PrivateCa>,
        resolver: &Arc<Resolver>,
    ) -> anyhow::Result<Self> {
        let store = || state.certificates();
        let (mut http, mut tls, mut dns) = (None, None, None);
        let mut issuers: Vec<Arc<dyn Issuer>> = Vec::new();
        for acme in &config.acme {
            let solver: Arc<dyn Solver> = match (config.challenge_of(acme), &config.dns) {
                (Challenge::Http01, _) => {
                    http.get_or_insert_with(|| Http01::shared(store())).clone()
                }
                (Challenge::TlsAlpn01, _) => tls
                    .get_or_insert_with(|| TlsAlpn01::shared(Arc::clone(resolver), store()))
                    .clone(),
                (Challenge::Dns01, Some(section)) => {
                    let solver = match dns.take() {
                        Some(solver) => solver,
                        None => Arc::new(section.solver()?),
                    };
                    dns.insert(solver).clone()
                }
                (Challenge::Dns01, None) => anyhow::bail!("dns-01 needs a section `[dns]`"),
            };
            issuers.push(Arc::new(acme.account(store(), solver)?));
        }
        if config.has_private_issuer() {
            issuers.push(Arc::new(PrivateIssuer::new(Arc::clone(ca))));
        }
        Ok(Self { issuers, http, tls })
    }
}

/// Both managers at work.
#[derive(Debug)]
pub struct Managers {
    own: Manager,
    public: Option<Manager>,
    wanted: Vec<Vec<String>>,
}

impl Managers {
    /// The one that looks after certificates for visitors.
    fn for_visitors(&self) -> &Manager {
        self.public.as_ref().unwrap_or(&self.own)
    }

    /// Looks after these certificates for visitors from now on, and no others. New ones are ordered in the background.
    pub fn want(&mut self, wanted: &[Vec<String>]) {
        for names in self.wanted.iter().filter(|names| !wanted.contains(names)) {
            // All names of a certificate go with one of them.
            if let Some(Err(error)) = names.first().map(|name| self.for_visitors().remove(name)) {
                warn!(?names, error = chain(&error), "a certificate is still looked after");
            }
        }
        for names in wanted.iter().filter(|names| !self.wanted.contains(names)) {
            if let Err(error) = self.for_visitors().add(names) {
                warn!(?names, error = chain(&error), "a certificate is not looked after");
            }
        }
        self.wanted = wanted.to_vec();
    }

    /// Stops both. What is under way goes on at the next start.
    pub async fn shutdown(self) {
        self.own.shutdown().await;
        if let Some(public) = self.public {
            public.shutdown().await;
        }
    }
}

/// Whether its first attempt is still to come or under way.
fn is_awaited(status: &Status) -> bool {
    status.serial.is_none() && status.last_error.is_none() && status.next_step != NextStep::Order
}

/// Something happens for each certificate; what happened before is in the snapshot.
async fn look_again(events: &mut Events) {
    let _ = timeout(Duration::from_millis(50), events.next()).await;
}

/// Tells of public certificates, until the manager is gone.
async fn tell(mut events: Events, reporter: Reporter) {
    while let Some(event) = events.next().await {
        let event = match event {
            manager::Event::Issued { names, issuer, serial, not_after, .. } => {
                let names = names.iter().map(ToString::to_string).collect();
                Event::CertificateIssued { names, issuer, serial, until: time_text(not_after) }
            }
            manager::Event::Failed { names, error, retry_at } => Event::CertificateFailed {
                names: names.iter().map(ToString::to_string).collect(),
                issuer: error.issuer.unwrap_or_default(),
                error: error.text,
                seconds: retry_at.duration_since(error.at).unwrap_or_default().as_secs_f64(),
            },
            _ => continue,
        };
        reporter.tell(&event);
    }
}

/// How soon a wish of `edge cert` is seen.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// An authority may take minutes; pages that have their certificates need not wait for it.
const FIRST_WAIT: Duration = Duration::from_secs(30);
