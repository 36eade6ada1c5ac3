//! DNS-01 through a zone that can be changed.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    authority::Authority,
    error::DnsError,
    record::{Record, RecordData, RecordName},
    update::{Change, DnsProvider, Update},
};
use crate::acme::{Challenge, ChallengeKind, SolveError, Solver, Work};

/// Answers DNS-01 (RFC 8555 section 8.4): the only kind for wildcards, and for machines that nobody reaches.
///
/// Adds one TXT value and takes the same one away, so an order for a name and its wildcard, or two nodes, do not
/// disturb each other. Where `_acme-challenge.NAME` is an alias (CNAME), the record is written where the alias leads:
/// point it at a zone of its own to keep the key out of your main zone.
#[derive(Clone, Debug)]
pub struct Dns01 {
    provider: Arc<dyn DnsProvider>,
    propagation: Propagation,
    patience: Duration,
    ttl: u32,
}

/// When the authority may look.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Propagation {
    /// When all authoritative servers that answer show the value ([`Authority::wait_for`]). Aliases are followed.
    Seen(Authority),
    /// After this time. Aliases are not followed.
    After(Duration),
}

impl Dns01 {
    /// Answers through this provider.
    pub fn new(provider: Arc<dyn DnsProvider>, propagation: Propagation) -> Self {
        Self { provider, propagation, patience: DEFAULT_PATIENCE, ttl: DEFAULT_TTL }
    }

    /// How long to wait for all servers to show the value: at least 1 second. Default 2 minutes.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// For how many seconds resolvers keep an answer. Default 60.
    #[must_use]
    pub fn ttl(mut self, seconds: u32) -> Self {
        self.ttl = seconds;
        self
    }

    async fn name(&self, challenge: &Challenge) -> Result<RecordName, DnsError> {
        let name: RecordName = challenge.txt_name().parse()?;
        match &self.propagation {
            Propagation::Seen(authority) => authority.follow(&name).await,
            Propagation::After(_) => Ok(name),
        }
    }

    async fn add(&self, challenge: &Challenge) -> Result<(), DnsError> {
        let data = RecordData::Txt(challenge.txt_value());
        let record = Record { name: self.name(challenge).await?, ttl: self.ttl, data };
        let _always = self.provider.apply(&Update::new([Change::Add(record.clone())])).await?;
        match &self.propagation {
            Propagation::Seen(authority) => {
                authority.wait_for(&record.name, &record.data, self.patience).await
            }
            Propagation::After(time) => {
                sleep(*time).await;
                Ok(())
            }
        }
    }

    async fn remove(&self, challenge: &Challenge) -> Result<(), DnsError> {
        let name = self.name(challenge).await?;
        let change = Change::Remove(name, RecordData::Txt(challenge.txt_value()));
        self.provider.apply(&Update::new([change])).await.map(|_always| ())
    }
}

impl Solver for Dns01 {
    fn kind(&self) -> ChallengeKind {
        ChallengeKind::Dns01
    }

    fn present<'a>(&'a self, challenge: &'a Challenge) -> Work<'a> {
        Box::pin(async { self.add(challenge).await.map_err(SolveError::new) })
    }

    fn withdraw<'a>(&'a self, challenge: &'a Challenge) -> Work<'a> {
        Box::pin(async { self.remove(challenge).await.map_err(SolveError::new) })
    }
}

const DEFAULT_PATIENCE: Duration = Duration::from_secs(120);

const DEFAULT_TTL: u32 = 60;
