//! A name server: BIND (Debian packages bind9 and bind9-dnsutils), with a zone that a key may change.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::process::Command;

use super::{PATIENCE, process::Program};

/// A running name server for `t.example.jp`, in which no host has an address.
#[derive(Debug)]
pub struct NameServer {
    folder: TempDir,
    program: Program,
    pub address: SocketAddr,
}

/// What `tsig-keygen` writes.
pub const KEY: &str = "key \"edge\" {\n\talgorithm hmac-sha256;\n\tsecret \
                       \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\";\n};\n";

const ZONE: &str = "$ORIGIN t.example.jp.\n$TTL 1\n@ IN SOA ns host 1 60 60 60 1\n@ IN NS ns\n\
                    ns IN A 127.0.0.1\nwww IN A 192.0.2.7\n";

/// BIND takes addresses that an interface has, which of 127.0.0.0/8 is one only.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

impl NameServer {
    pub async fn start() -> Self {
        let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
        let (at, ip, port) = (folder.path().display(), address.ip(), address.port());
        let config = format!(
            r#"{KEY}
options {{ directory "{at}"; listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }};
  pid-file "{at}/pid"; session-keyfile "{at}/session.key"; recursion no; allow-query {{ any; }};
  dnssec-validation no; }};
controls {{ }};
zone "t.example.jp" {{ type primary; file "zone"; update-policy {{ grant edge zonesub ANY; }}; }};
"#
        );
        fs::write(folder.path().join("zone"), ZONE).unwrap();
        fs::write(folder.path().join("named.conf"), config).unwrap();
        let mut command = Command::new("named");
        command.arg("-g").arg("-c").arg(folder.path().join("named.conf"));
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("/usr/sbin:{path}"));
        let program = Program::start("named", command);
        let server = Self { folder, program, address };
        let start = Instant::now();
        while server.dig("t.example.jp", "SOA").await.is_empty() {
            assert!(start.elapsed() < PATIENCE, "{}", server.program.everything());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        server
    }

    /// What `dig` says, one value a line.
    pub async fn dig(&self, name: &str, kind: &str) -> Vec<String> {
        let mut command = Command::new("dig");
        command
            .arg(format!("@{}", self.address.ip()))
            .args(["-p", &self.address.port().to_string()]);
        command.args(["+short", "+norec", "+tries=1", name, kind]);
        let said = Program::run(command).await.stdout;
        said.lines().filter(|line| !line.starts_with(";;")).map(str::to_owned).collect()
    }
}
