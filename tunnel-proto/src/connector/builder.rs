//! Putting a connector together.

use std::{fmt, sync::Arc, time::Duration};

use ring::rand::{SecureRandom as _, SystemRandom};

use super::{
    configuration::Configurable, dial::Dial, event::Event, service::HttpService, supervisor,
};
use crate::{
    credentials::Credentials,
    error::{Error, ErrorKind},
    id::ConnectorId,
    limits,
    origin::PrivateNetwork,
};

/// A connector, ready to [`run`](Connector::run).
pub struct Connector<D, S> {
    pub(super) settings: Arc<Settings<D>>,
    pub(super) id: ConnectorId,
    pub(super) service: S,
}

/// Options of a [`Connector`], each with its default.
pub struct Builder<D> {
    settings: Settings<D>,
    id: Option<ConnectorId>,
}

pub(super) struct Settings<D> {
    pub(super) credentials: Credentials,
    pub(super) dial: D,
    pub(super) connections: u8,
    pub(super) grace_period: Duration,
    pub(super) version: String,
    pub(super) local_configuration: Option<Vec<u8>>,
    pub(super) configurable: Option<Arc<Configurable>>,
    pub(super) network: PrivateNetwork,
    pub(super) on_event: Box<dyn Fn(Event) + Send + Sync>,
}

impl<D: Dial> Builder<D> {
    /// Keeps this many connections, 4 unless set: enough that one lost connection, or one edge
    /// node, is not noticed. From 1 to 64.
    #[must_use]
    pub fn connections(mut self, connections: u8) -> Self {
        self.settings.connections = connections;
        self
    }

    /// Lets requests in flight finish for this long after shutdown began, 30 seconds unless set.
    #[must_use]
    pub fn grace_period(mut self, grace_period: Duration) -> Self {
        self.settings.grace_period = grace_period;
        self
    }

    /// Uses this id for the process instead of a random one.
    #[must_use]
    pub fn connector_id(mut self, id: ConnectorId) -> Self {
        self.id = Some(id);
        self
    }

    /// Tells the edge this version, this crate's unless set.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.settings.version = version.into();
        self
    }

    /// Tells the edge's operator the rules that this connector goes by: JSON in the shape of
    /// cloudflared's configuration, `{"ingress":[{"service":"http://10.0.0.5"}]}`. At most
    /// [`limits::TOLD_CONFIGURATION_BYTES`]; nothing is told unless set.
    #[must_use]
    pub fn local_configuration(mut self, json: impl Into<Vec<u8>>) -> Self {
        self.settings.local_configuration = Some(json.into());
        self
    }

    /// Takes configurations that the edge pushes: JSON in the shape of cloudflared's. `apply` puts one
    /// into force, or says why not; then the former stays. It is called for versions above the
    /// one in force only, for one at a time whatever the number of connections, and on a thread where it
    /// may block. Without this, the edge is told that none is taken.
    #[must_use]
    pub fn remote_configuration(
        mut self,
        apply: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.settings.configurable = Some(Arc::new(Configurable::new(apply)));
        self
    }

    /// Lets the edge open TCP flows to these addresses. None are allowed unless set.
    #[must_use]
    pub fn private_network(mut self, network: PrivateNetwork) -> Self {
        self.settings.network = network;
        self
    }

    /// Hears what happens. Called from the connector's tasks, so it must not block.
    #[must_use]
    pub fn on_event(mut self, hear: impl Fn(Event) + Send + Sync + 'static) -> Self {
        self.settings.on_event = Box::new(hear);
        self
    }

    /// Answers requests with `service`: a [`HttpOrigin`](crate::origin::HttpOrigin), an axum
    /// router, any tower service. It is cloned for each request.
    ///
    /// # Errors
    ///
    /// An option outside its range is the caller's fault. A system without randomness is an
    /// error too.
    pub fn service<S: HttpService>(self, service: S) -> Result<Connector<D, S>, Error> {
        let (asked, most) = (self.settings.connections, limits::CONNECTOR_CONNECTIONS);
        if !(1..=most).contains(&asked) {
            let what = format!("{asked} connections; 1 to {most} are possible");
            return Err(Error::from(ErrorKind::Caller(what)).with_limit("CONNECTOR_CONNECTIONS"));
        }
        let told = self.settings.local_configuration.as_ref().map_or(0, Vec::len);
        if told > limits::TOLD_CONFIGURATION_BYTES {
            let what = format!("a local configuration of {told} bytes");
            return Err(Error::from(ErrorKind::Caller(what)).with_limit("TOLD_CONFIGURATION_BYTES"));
        }
        let id = match self.id {
            Some(id) => id,
            None => ConnectorId::from_random_bytes(random()?),
        };
        Ok(Connector { settings: Arc::new(self.settings), id, service })
    }
}

impl<D: Dial> Connector<D, ()> {
    /// Starts with what every connector needs: credentials, and a way to the edge.
    pub fn builder(credentials: Credentials, dial: D) -> Builder<D> {
        Builder {
            settings: Settings {
                credentials,
                dial,
                connections: 4,
                grace_period: limits::GRACE_PERIOD,
                version: concat!("sekimori-", env!("CARGO_PKG_VERSION")).into(),
                local_configuration: None,
                configurable: None,
                network: PrivateNetwork::new(),
                on_event: Box::new(|_| {}),
            },
            id: None,
        }
    }
}

impl<D: Dial, S: HttpService> Connector<D, S> {
    /// Serves until `shutdown` completes and the requests in flight are done, or the grace period
    /// is over.
    ///
    /// The first connection is made alone; the others follow once it has registered. A lost
    /// connection is made again for ever, with waits that grow with the outage.
    ///
    /// # Errors
    ///
    /// The edge refused the credentials for good before any connection ever registered
    /// ([`Error::refusal`]). Every other trouble is retried.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future hangs up at once; requests in flight fail.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        supervisor::run(self, shutdown).await
    }
}

impl<D, S> fmt::Debug for Connector<D, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("settings", &self.settings)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl<D> fmt::Debug for Builder<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("settings", &self.settings).field("id", &self.id).finish()
    }
}

impl<D> fmt::Debug for Settings<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("credentials", &self.credentials)
            .field("connections", &self.connections)
            .field("grace_period", &self.grace_period)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Random bytes for ids and for spreading reconnects. Cores never see where they come from.
#[expect(clippy::disallowed_methods, reason = "this is the shell that draws for the cores")]
pub(super) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| {
        Error::from(ErrorKind::Caller("the system has no randomness to give".into()))
    })?;
    Ok(bytes)
}
