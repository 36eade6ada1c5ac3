//! nginx in front of a rathole tunnel with TLS: a raw copy of bytes, one leg connection for each.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, ensure};

use crate::{
    certificates::Certificates,
    nginx,
    process::{Server, free_ports, wait_for_port},
    programs::Programs,
    systems::{Processes, Role, System},
};

const HOST: &str = "rathole.bench.example";
const BACK_HOST: &str = "rathole-back.bench.example";

/// Starts front and tunnel, if `RATHOLE` names the program.
pub(crate) fn start(
    programs: &Programs,
    certificates: &Certificates,
    directory: &Path,
    (origin, _): (u16, u16),
    processes: &mut Processes,
) -> anyhow::Result<Option<System>> {
    let Some(rathole) = programs.named("RATHOLE", "cargo install rathole") else {
        return Ok(None);
    };
    let [leg, exit] = free_ports()?;
    let (certificate, key, _) = certificates.issue("rathole-back", BACK_HOST)?;
    let identity = directory.join("rathole.pfx");
    let made = Command::new("openssl")
        .args(["pkcs12", "-export", "-passout", "pass:bench", "-in", &certificate])
        .args(["-inkey", &key, "-out"])
        .arg(&identity)
        .output()
        .context("rathole's key needs the program `openssl`")?;
    ensure!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr).trim());
    let server = format!(
        "[server]\nbind_addr = \"127.0.0.1:{leg}\"\ndefault_token = \"bench\"\n\
         [server.transport]\ntype = \"tls\"\n[server.transport.tls]\n\
         pkcs12 = \"{}\"\npkcs12_password = \"bench\"\n\
         [server.services.web]\nbind_addr = \"127.0.0.1:{exit}\"\n",
        identity.display()
    );
    let client = format!(
        "[client]\nremote_addr = \"127.0.0.1:{leg}\"\ndefault_token = \"bench\"\n\
         [client.transport]\ntype = \"tls\"\n[client.transport.tls]\n\
         trusted_root = \"{}\"\nhostname = \"{BACK_HOST}\"\n\
         [client.services.web]\nlocal_addr = \"127.0.0.1:{origin}\"\n",
        certificates.root().display()
    );
    let mut tunnel = Vec::new();
    for (name, side, text) in
        [("rathole-server", "--server", server), ("rathole-client", "--client", client)]
    {
        let file = directory.join(format!("{name}.toml"));
        fs::write(&file, text)?;
        let mut command = Command::new(&rathole);
        command.arg(side).arg(&file).env("RUST_LOG", "error");
        tunnel.push(Server::start(name, &mut command, directory)?);
    }
    tunnel[1].wait(|| wait_for_port(exit))?;
    let front = nginx::front(
        programs,
        certificates,
        directory,
        ("rathole-front", HOST),
        &format!("upstream rathole {{ server 127.0.0.1:{exit}; {} }}", nginx::KEEP_ALIVE),
        "proxy_pass http://rathole;",
    )?;
    let port = front.port;
    Ok(Some(System {
        name: "nginx + rathole",
        role: Role::Peer,
        port,
        host: HOST,
        cookie: None,
        root: certificates.root().to_owned(),
        servers: processes.add(std::iter::once(front.server).chain(tunnel)),
        upload: None,
    }))
}
