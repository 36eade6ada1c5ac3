//! caddy twice: TLS to the visitor, TLS between the hops.

use std::{path::Path, process::Command};

use crate::{
    certificates::Certificates,
    pair::{Hop, Pair},
    process::free_ports,
    programs::Programs,
    systems::{Processes, System},
};

const HOST: &str = "caddy.bench.example";
const BACK_HOST: &str = "caddy-back.bench.example";

/// Starts both hops, if caddy is there.
pub(crate) fn start(
    programs: &Programs,
    certificates: &Certificates,
    directory: &Path,
    (origin, sink): (u16, u16),
    processes: &mut Processes,
) -> anyhow::Result<Option<System>> {
    let Some(caddy) = programs.optional("CADDY", "caddy", "apt-get install caddy") else {
        return Ok(None);
    };
    let [port, back_port] = free_ports()?;
    let (certificate, key, _) = certificates.issue("caddy-front", HOST)?;
    let front = format!(
        "{GLOBAL}https://{HOST}:{port} {{\n bind 127.0.0.1\n tls {certificate} {key}\n \
         log {{\n output file {}\n }}\n \
         reverse_proxy https://127.0.0.1:{back_port} {{\n header_up Host {BACK_HOST}\n \
         transport http {{\n tls_server_name {BACK_HOST}\n tls_trusted_ca_certs {}\n versions 1.1\n \
         {KEEP_ALIVE} }}\n }}\n}}\n",
        directory.join("caddy.access").display(),
        certificates.root().display(),
    );
    let (certificate, key, _) = certificates.issue("caddy-back", BACK_HOST)?;
    let back = format!(
        "{GLOBAL}https://{BACK_HOST}:{back_port} {{\n bind 127.0.0.1\n tls {certificate} {key}\n \
         reverse_proxy /upload 127.0.0.1:{sink}\n \
         reverse_proxy 127.0.0.1:{origin} {{\n transport http {{\n {KEEP_ALIVE} }}\n }}\n}}\n"
    );
    let pair = Pair {
        name: "caddy → caddy",
        host: HOST,
        front: Hop { name: "caddy-front", port, configuration: front },
        back: Hop { name: "caddy-back", port: back_port, configuration: back },
    };
    let run = |file: &Path| {
        let mut command = Command::new(&caddy);
        command
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(file)
            .env("HOME", directory)
            .env("XDG_DATA_HOME", directory)
            .env("XDG_CONFIG_HOME", directory);
        command
    };
    pair.start(certificates, directory, processes, run).map(Some)
}

const GLOBAL: &str = "{\n admin off\n auto_https off\n}\n";

const KEEP_ALIVE: &str =
    "keepalive 75s\n keepalive_idle_conns 2048\n keepalive_idle_conns_per_host 1024\n";
