//! What is compared: two hops each, from a visitor's TLS to the same origin.

use std::path::PathBuf;

use crate::process::Server;

/// Two hops that run, and how a visitor reaches them.
#[derive(Debug, Clone)]
pub(crate) struct System {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    pub(crate) port: u16,
    /// Name in SNI and `Host`.
    pub(crate) host: &'static str,
    /// A `Cookie` value.
    pub(crate) cookie: Option<String>,
    /// The authority that signed the certificate (PEM).
    pub(crate) root: PathBuf,
    /// The processes, by name, the hop beside the origin last. Systems may share them.
    pub(crate) servers: Vec<&'static str>,
    /// What takes `POST /upload`, if anything does: a host, and the hop beside the sink.
    pub(crate) upload: Option<(&'static str, &'static str)>,
}

/// Which rows and bars a system has a part in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// What the others are compared with.
    Reference,
    /// Ours, on the whole path: session, policy and log.
    Ours,
    /// Ours without a session: an application that is open to everybody.
    Open,
    /// Another pair of hops.
    Peer,
    /// cloudflared on our edge.
    Cloudflared,
}

/// Every process that was started. Ends with this value.
#[derive(Debug, Default)]
pub(crate) struct Processes(Vec<Server>);

impl Processes {
    pub(crate) fn add(&mut self, servers: impl IntoIterator<Item = Server>) -> Vec<&'static str> {
        let first = self.0.len();
        self.0.extend(servers);
        self.0[first..].iter().map(|server| server.name).collect()
    }

    pub(crate) fn of(&self, system: &System) -> Vec<&Server> {
        self.0.iter().filter(|server| system.servers.contains(&server.name)).collect()
    }
}

impl System {
    /// The same front with the hop that takes uploads.
    pub(crate) fn taking_uploads(&self) -> Option<Self> {
        let (host, inner) = self.upload?;
        let mut system = Self { host, ..self.clone() };
        if let Some(last) = system.servers.last_mut() {
            *last = inner;
        }
        Some(system)
    }

    /// The process beside the origin.
    pub(crate) fn inner(&self) -> &'static str {
        self.servers.last().copied().unwrap_or_default()
    }
}
