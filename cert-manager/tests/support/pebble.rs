//! Pebble, a certificate authority for tests, with the servers that it asks.

#![allow(dead_code, reason = "each test uses another part")]

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use cert_manager::{DirectoryStore, PrivateCa, Profile, acme};
use tempfile::TempDir;

/// A running Pebble. Its validation asks 127.0.0.1 for every name.
#[derive(Debug)]
pub(crate) struct Pebble {
    processes: Vec<Child>,
    pub(crate) folder: TempDir,
    pub(crate) roots: String,
    port: u16,
    pub(crate) management: u16,
    /// Where it looks for answers to HTTP-01.
    pub(crate) http: u16,
    /// Where it looks for answers to TLS-ALPN-01.
    pub(crate) tls: u16,
    /// The management of the server that it asks for DNS.
    pub(crate) dns: u16,
}

/// What differs from Pebble's defaults.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How many of a hundred nonces are refused.
    pub(crate) refused_nonces: u32,
    /// Alternate chains.
    pub(crate) alternates: u32,
    /// Seconds that certificates live.
    pub(crate) life: u32,
    /// The port of a DNS server on 127.0.0.1 that it asks instead of its own.
    pub(crate) dns: Option<u16>,
    /// Key identifier and MAC key of the customers.
    pub(crate) external_account: Option<(&'static str, &'static str)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            refused_nonces: 5,
            alternates: 0,
            life: 7_776_000,
            dns: None,
            external_account: None,
        }
    }
}

impl Pebble {
    pub(crate) fn start(settings: &Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [port, management, http, tls, dns, resolver] = free_ports();
        let ca = PrivateCa::generate("Lab root", SystemTime::now()).unwrap();
        let names = ["localhost".parse().unwrap()];
        let server = ca.issue(&names, Profile::server(), SystemTime::now()).unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        fs::write(path("server.pem"), server.chain_pem()).unwrap();
        fs::write(path("server.key"), server.key_pem().expose()).unwrap();
        let external = settings.external_account.map_or_else(String::new, |(id, key)| {
            format!(r#","externalAccountMACKeys":{{"{id}":"{key}"}}"#)
        });
        let config = format!(
            r#"{{"pebble":{{"listenAddress":"127.0.0.1:{port}","managementListenAddress":"127.0.0.1:{management}",
                "certificate":"{}","privateKey":"{}","httpPort":{http},"tlsPort":{tls},"ocspResponderURL":"",
                "externalAccountBindingRequired":{}{external},"domainBlocklist":["blocked.example"],
                "certificateValidityPeriod":{}}}}}"#,
            path("server.pem"),
            path("server.key"),
            settings.external_account.is_some(),
            settings.life,
        );
        fs::write(path("pebble.json"), config).unwrap();
        let pebble = Command::new(std::env::var("PEBBLE").as_deref().unwrap_or("pebble"))
            .args(["-config", &path("pebble.json"), "-strict"])
            .args(["-dnsserver", &format!("127.0.0.1:{}", settings.dns.unwrap_or(resolver))])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .env("PEBBLE_WFE_NONCEREJECT", settings.refused_nonces.to_string())
            .env("PEBBLE_ALTERNATE_ROOTS", settings.alternates.to_string())
            .stdout(log(folder.path(), "pebble.log"))
            .stderr(log(folder.path(), "pebble.err"))
            .spawn()
            .expect("`pebble` is installed");
        let program = std::env::var("CHALLTESTSRV");
        let program = program.as_deref().unwrap_or("pebble-challtestsrv");
        let challenges = Command::new(program)
            .args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""])
            .args(["-defaultIPv4", "127.0.0.1", "-management", &format!("127.0.0.1:{dns}")])
            .args([dns_flag(program), &format!("127.0.0.1:{resolver}")])
            .stdout(log(folder.path(), "dns.log"))
            .stderr(log(folder.path(), "dns.err"))
            .spawn()
            .expect("`pebble-challtestsrv` is installed");
        let processes = vec![pebble, challenges];
        let this =
            Self { processes, folder, roots: ca.root_pem(), port, management, http, tls, dns };
        for port in [port, management, dns] {
            this.wait_for(port);
        }
        this
    }

    pub(crate) fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// An account with a fresh store.
    pub(crate) fn account(&self) -> acme::Builder {
        self.account_in(&self.store("store"))
    }

    pub(crate) fn account_in(&self, store: &Arc<DirectoryStore>) -> acme::Builder {
        acme::Acme::builder(self.directory(), Arc::clone(store))
            .agree_to_terms(true)
            .roots(self.roots.as_str())
    }

    pub(crate) fn store(&self, name: &str) -> Arc<DirectoryStore> {
        Arc::new(DirectoryStore::open(self.folder.path().join(name)).unwrap())
    }

    fn wait_for(&self, port: u16) {
        let start = Instant::now();
        while std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if start.elapsed() > Duration::from_secs(60) {
                let log = fs::read_to_string(self.folder.path().join("pebble.err"));
                panic!("nothing listens at {port}: {}", log.unwrap_or_default());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// It has another name since Pebble 2.10.
fn dns_flag(program: &str) -> &'static str {
    let help = Command::new(program).arg("-help").output();
    let help = help.expect("`pebble-challtestsrv` is installed").stderr;
    if String::from_utf8_lossy(&help).contains("-dnsserver") { "-dnsserver" } else { "-dns01" }
}

/// Ports that nobody used a moment ago.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn log(folder: &Path, name: &str) -> Stdio {
    fs::File::create(folder.join(name)).unwrap().into()
}
