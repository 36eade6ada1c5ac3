//! A public authority: Pebble (Debian package pebble), which asks a name server that the edge writes into.
//! `PEBBLE` names another binary.

use std::{fs, net::SocketAddr, path::PathBuf, time::SystemTime};

use cert_manager::{PrivateCa, Profile};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::{PATIENCE, loopback, process::Program, visitor::trusting};

/// Where an authority will be, and what is trusted there.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
    address: SocketAddr,
    management: SocketAddr,
}

/// An authority at work.
#[derive(Debug)]
pub struct Running {
    program: Program,
    authority: Authority,
    inside: reqwest::Client,
}

impl Authority {
    /// Chooses addresses.
    pub fn choose() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (address, management) = (loopback::free_address(), loopback::free_address());
        let now = SystemTime::now();
        let ca = PrivateCa::generate("Lab root", now).unwrap();
        let name = address.ip().to_string().parse().unwrap();
        let server = ca.issue(&[name], Profile::server(), now).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("server.pem", &server.chain_pem());
        write("server.key", server.key_pem().expose());
        write("lab.pem", &ca.root_pem());
        Self { folder, address, management }
    }

    /// For `acme.directory`.
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    /// For `acme.ca_file`: what its own HTTPS is trusted by, which is not what it issues from.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("lab.pem")
    }

    /// Starts it. It validates at these ports of the address that `dns` tells.
    pub async fn start(self, http: u16, https: u16, dns: SocketAddr) -> Running {
        let path = |name: &str| self.folder.path().join(name);
        let config = serde_json::json!({"pebble": {
            "listenAddress": self.address.to_string(),
            "managementListenAddress": self.management.to_string(),
            "certificate": path("server.pem"), "privateKey": path("server.key"),
            "httpPort": http, "tlsPort": https, "ocspResponderURL": "",
            "externalAccountBindingRequired": false, "certificateValidityPeriod": 7_776_000,
        }});
        fs::write(path("pebble.json"), config.to_string()).unwrap();
        let mut command = Command::new(std::env::var("PEBBLE").as_deref().unwrap_or("pebble"));
        command.arg("-config").arg(path("pebble.json")).arg("-strict");
        command.args(["-dnsserver", &dns.to_string()]);
        command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_AUTHZREUSE", "0");
        let program = Program::start("pebble", command);
        let inside = trusting(&self.ca_file()).timeout(PATIENCE).build().unwrap();
        let running = Running { program, authority: self, inside };
        let start = std::time::Instant::now();
        while running.inside.get(running.authority.directory()).send().await.is_err() {
            assert!(start.elapsed() < PATIENCE, "{}", running.program.everything());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        running
    }
}

impl Running {
    /// What its certificates lead to, as PEM.
    pub async fn root(&self) -> String {
        self.manage("/roots/0").await
    }

    /// `Valid` or `Revoked`, with a reason.
    pub async fn status(&self, serial: &str) -> Value {
        let text = self.manage(&format!("/cert-status-by-serial/{serial}")).await;
        serde_json::from_str(&text).unwrap()
    }

    async fn manage(&self, path: &str) -> String {
        let url = format!("https://{}{path}", self.authority.management);
        self.inside.get(url).send().await.unwrap().text().await.unwrap()
    }
}
