//! BIND and Knot, with a zone that a key may change.

#![allow(dead_code, reason = "each test uses another part")]

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use cert_manager::dns::{Rfc2136, TsigKey};
use tempfile::TempDir;

/// A running name server on 127.0.0.1. It holds `zone.test`, with an address for every name in it, and
/// `alias.test`, which the key may not change.
#[derive(Debug)]
pub(crate) struct DnsServer {
    process: Child,
    folder: TempDir,
    pub(crate) port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bind,
    Knot,
}

pub(crate) const KINDS: [Kind; 2] = [Kind::Bind, Kind::Knot];

/// What the key may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Anything,
    TextsOnly,
}

impl DnsServer {
    pub(crate) fn start(kind: Kind, policy: Policy) -> Self {
        Self::start_with(kind, policy, &[])
    }

    /// Behind a program such as `faketime`.
    pub(crate) fn start_with(kind: Kind, policy: Policy, wrapper: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        // Knot does not make it.
        fs::create_dir(folder.path().join("db")).unwrap();
        for zone in ["zone.test", "alias.test"] {
            fs::write(folder.path().join(zone), zone_file(zone)).unwrap();
        }
        let config = folder.path().join("conf");
        let text = match kind {
            Kind::Bind => bind(folder.path(), port, policy),
            Kind::Knot => knot(folder.path(), port, policy),
        };
        fs::write(&config, text).unwrap();
        let config = config.to_str().unwrap();
        let own: &[&str] = match kind {
            Kind::Bind => &["named", "-g", "-c", config],
            Kind::Knot => &["knotd", "-c", config],
        };
        let line = [wrapper, own].concat();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let process = Command::new(line[0])
            .args(&line[1..])
            .process_group(0)
            .env("PATH", format!("/usr/sbin:{}", std::env::var("PATH").unwrap_or_default()))
            .stdout(log.try_clone().unwrap())
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap_or_else(|error| panic!("`{}` is installed: {error}", line[0]));
        let this = Self { process, folder, port };
        this.wait();
        this
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub(crate) fn provider(&self) -> Rfc2136 {
        Rfc2136::new(self.address(), key())
    }

    /// What `dig` says, one value a line.
    pub(crate) fn dig(&self, name: &str, record_type: &str) -> Vec<String> {
        let output = Command::new("dig")
            .args([
                "@127.0.0.1",
                "-p",
                &self.port.to_string(),
                "+short",
                "+tcp",
                "+norec",
                "+tries=1",
            ])
            .args([name, record_type])
            .output()
            .expect("`dig` is installed");
        let text = String::from_utf8(output.stdout).unwrap();
        let said = text.lines().filter(|line| !line.starts_with(";;"));
        let mut lines: Vec<String> = said.map(str::to_owned).collect();
        lines.sort();
        lines
    }

    fn wait(&self) {
        for _ in 0..600 {
            if !self.dig("zone.test", "SOA").is_empty() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let log = fs::read_to_string(self.folder.path().join("log"));
        panic!("the name server did not start: {}", log.unwrap_or_default());
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        // A wrapper may have the server as its child.
        let group = format!("-{}", self.process.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.process.wait();
    }
}

/// One that nobody used a moment ago.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

pub(crate) fn key() -> TsigKey {
    TsigKey::new("acme-update", "hmac-sha256", SECRET).unwrap()
}

fn zone_file(zone: &str) -> String {
    let alias = match zone {
        "alias.test" => "_acme-challenge.a IN CNAME a.validation.zone.test.\nloop IN CNAME loop\n",
        _ => {
            "* IN A 127.0.0.1\nmailed IN A 192.0.2.9\nmailed IN MX 10 mail\n\
             _sekimori.mailed IN TXT \"heritage=sekimori,owner=edge-1\"\n"
        }
    };
    format!(
        "$ORIGIN {zone}.\n$TTL 1\n@ IN SOA ns host 1 60 60 60 1\n@ IN NS ns\nns IN A 127.0.0.1\nns IN AAAA 2001:db8::53\n@ IN A 127.0.0.1\n{alias}"
    )
}

/// It resolves as well, so that aliases from one zone into another are followed for whoever asks.
fn bind(folder: &Path, port: u16, policy: Policy) -> String {
    let folder = folder.to_str().unwrap();
    let types = match policy {
        Policy::Anything => "ANY",
        Policy::TextsOnly => "TXT",
    };
    format!(
        r#"key "acme-update" {{ algorithm hmac-sha256; secret "{SECRET}"; }};
options {{ directory "{folder}"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  pid-file "{folder}/pid"; session-keyfile "{folder}/session.key"; recursion yes;
  allow-query {{ 127.0.0.1; }}; dnssec-validation no; }};
controls {{ }};
zone "zone.test" {{ type primary; file "zone.test"; update-policy {{ grant acme-update zonesub {types}; }}; }};
zone "alias.test" {{ type primary; file "alias.test"; }};
"#
    )
}

fn knot(folder: &Path, port: u16, policy: Policy) -> String {
    let folder = folder.to_str().unwrap();
    let types = match policy {
        Policy::Anything => "",
        Policy::TextsOnly => "\n    update-type: [TXT]",
    };
    format!(
        r"server:
    listen: 127.0.0.1@{port}
    rundir: {folder}
control:
    listen: {folder}/knot.sock
database:
    storage: {folder}/db
log:
  - target: stderr
    any: info
key:
  - id: acme-update
    algorithm: hmac-sha256
    secret: {SECRET}
acl:
  - id: update
    key: acme-update
    action: update{types}
zone:
  - domain: zone.test
    storage: {folder}
    file: zone.test
    acl: update
  - domain: alias.test
    storage: {folder}
    file: alias.test
"
    )
}

const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
