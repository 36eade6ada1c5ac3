//! A TLS client and server in memory, and times.

#![allow(dead_code, reason = "each test uses another part")]

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use cert_manager::{
    PrivateCa, Resolver, presets,
    rustls::{
        AlertDescription, ClientConfig, ClientConnection, Error, RootCertStore, ServerConfig,
        ServerConnection,
        client::Resumption,
        pki_types::{CertificateDer, ServerName, UnixTime},
        time_provider::TimeProvider,
    },
};

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// 2027-01-15 08:00:00 UTC.
pub(crate) fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

pub(crate) fn server(resolver: &Arc<Resolver>) -> Arc<ServerConfig> {
    let config = presets::server_config(presets::provider(), resolver.clone(), [b"h2"]);
    Arc::new(config.unwrap())
}

/// A client that trusts `ca` and believes that it is `now`.
pub(crate) fn client(ca: &PrivateCa, now: SystemTime) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.root_der().clone()).unwrap();
    let time = Arc::new(FixedTime(now));
    let mut config = ClientConfig::builder_with_details(presets::provider(), time)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// Both ends of a connection.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) client: ClientConnection,
    pub(crate) server: ServerConnection,
}

impl Pair {
    pub(crate) fn handshake(
        client: &Arc<ClientConfig>,
        server: &Arc<ServerConfig>,
        name: &str,
    ) -> Result<Self, Failed> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut pair = Self {
            client: ClientConnection::new(client.clone(), name).unwrap(),
            server: ServerConnection::new(server.clone()).unwrap(),
        };
        while pair.client.is_handshaking() || pair.server.is_handshaking() {
            pair.exchange()?;
        }
        pair.exchange()?;
        Ok(pair)
    }

    pub(crate) fn leaf(&self) -> CertificateDer<'static> {
        self.client.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// Moves bytes both ways once.
    pub(crate) fn exchange(&mut self) -> Result<(), Failed> {
        let mut wire = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut wire).unwrap();
        }
        let mut at_server = Ok(());
        let mut rest = wire.as_slice();
        while !rest.is_empty() && at_server.is_ok() {
            self.server.read_tls(&mut rest).unwrap();
            at_server = self.server.process_new_packets().map(drop);
        }
        let mut wire = Vec::new();
        while self.server.wants_write() {
            self.server.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            self.client.read_tls(&mut rest).unwrap();
            if let Err(error) = self.client.process_new_packets() {
                return Err(Failed::Client(error));
            }
        }
        at_server.map_err(Failed::Server)
    }
}

#[derive(Debug)]
pub(crate) enum Failed {
    Client(Error),
    Server(Error),
}

impl Failed {
    /// The alert that the client saw, if that is why it failed.
    pub(crate) fn alert(&self) -> Option<AlertDescription> {
        match self {
            Self::Client(Error::AlertReceived(alert)) => Some(*alert),
            _ => None,
        }
    }
}

#[derive(Debug)]
struct FixedTime(SystemTime);

impl TimeProvider for FixedTime {
    fn current_time(&self) -> Option<UnixTime> {
        let since = self.0.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Some(UnixTime::since_unix_epoch(since))
    }
}
