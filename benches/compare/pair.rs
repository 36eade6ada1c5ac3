//! The same proxy twice: one hop where the visitors come, one where the origin is.

use std::{fs, path::Path, process::Command};

use anyhow::Context as _;

use crate::{
    certificates::Certificates,
    process::{Server, wait_for_port},
    systems::{Processes, Role, System},
};

/// Two hops, ready to be started.
pub(crate) struct Pair {
    pub(crate) name: &'static str,
    /// What the front's certificate is for.
    pub(crate) host: &'static str,
    pub(crate) front: Hop,
    pub(crate) back: Hop,
}

/// One of the two.
pub(crate) struct Hop {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    /// The text of its configuration file.
    pub(crate) configuration: String,
}

impl Pair {
    /// Starts both, each with what `run` makes of its configuration file, and waits until they
    /// listen.
    pub(crate) fn start(
        self,
        certificates: &Certificates,
        directory: &Path,
        processes: &mut Processes,
        run: impl Fn(&Path) -> Command,
    ) -> anyhow::Result<System> {
        let Self { name, host, front, back } = self;
        let (port, back_name) = (front.port, back.name);
        let mut servers = Vec::new();
        for hop in [front, back] {
            let file = directory.join(format!("{}.conf", hop.name));
            fs::write(&file, hop.configuration)
                .with_context(|| format!("can't write the configuration of {}", hop.name))?;
            let mut server = Server::start(hop.name, &mut run(&file), directory)?;
            server.wait(|| wait_for_port(hop.port))?;
            servers.push(server);
        }
        Ok(System {
            name,
            role: Role::Peer,
            port,
            host,
            cookie: None,
            root: certificates.root().to_owned(),
            servers: processes.add(servers),
            upload: Some((host, back_name)),
        })
    }
}
