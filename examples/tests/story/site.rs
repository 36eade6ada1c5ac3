//! A site of its own: a configuration, an edge, a connector, as processes.

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc};

use rustls::time_provider::DefaultTimeProvider;
use tempfile::TempDir;
use tokio::process::Command;

use super::{
    loopback,
    process::{CONNECTOR, EDGE, Program, command},
    raw::Raw,
    visitor::{Habits, Visitor, tls},
};

pub const APP_HOST: &str = "saito.t.example.jp";
pub const OTHER_HOST: &str = "tanaka.t.example.jp";
pub const TEAM_HOST: &str = "auth.t.example.jp";
pub const UNKNOWN_HOST: &str = "nobody.t.example.jp";

/// The configuration and state of an edge, and where it listens.
#[derive(Debug)]
pub struct Site {
    directory: TempDir,
    pub https: SocketAddr,
    pub http: SocketAddr,
    /// Where the edge looks for a mail server.
    pub smtp: SocketAddr,
}

/// Anyone with an address at example.jp, after a login; a second application for one person.
pub const WITH_LOGIN: &str = r#"
[[app]]
host = "saito"
tunnel = "home"
allow = ["*@example.jp"]

[[app]]
host = "tanaka"
tunnel = "home"
allow = ["tanaka@example.jp"]
"#;

/// Open to everybody, for tests of what lies behind the gate.
pub const WITHOUT_LOGIN: &str = r#"
[[app]]
host = "saito"
tunnel = "home"
policies = "open.json"
"#;

const OPEN: &str = r#"[{"id": "open", "name": "open", "decision": "bypass",
    "include": [{"everyone": {}}], "exclude": [], "require": []}]"#;

impl Site {
    /// Writes a configuration with these applications and this mail server.
    pub fn new(applications: &str, smtp: SocketAddr) -> Self {
        Self::with("", applications, smtp)
    }

    /// The same, with lines that stand before all tables.
    pub fn with(keys: &str, applications: &str, smtp: SocketAddr) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (https, http) = (loopback::free_address(), loopback::free_address());
        let configuration = format!(
            "zone = \"t.example.jp\"\nlocation = \"test\"\n{keys}\
             [listen]\nhttps = \"{https}\"\nhttp = \"{http}\"\n\
             [mail]\nsmtp = \"smtp://{smtp}\"\nfrom = \"access@example.jp\"\n{applications}"
        );
        let site = Self { directory, https, http, smtp };
        fs::write(site.configuration(), configuration).expect("a configuration");
        site.write("open.json", OPEN);
        site
    }

    /// Writes a file beside the configuration.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).expect("a file");
    }

    /// A file beside the configuration.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn configuration(&self) -> PathBuf {
        self.directory.path().join("edge.toml")
    }

    /// The authority that visitors and connectors trust.
    pub fn ca(&self) -> PathBuf {
        self.directory.path().join("state/ca.pem")
    }

    /// `https://HOST:PORT` and this path.
    pub fn url(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.https.port())
    }

    /// `edge ...` with this site's configuration.
    pub fn edge_command(&self, arguments: &[&str]) -> Command {
        let mut command = command(EDGE, arguments);
        command.arg("--config").arg(self.configuration());
        command
    }

    /// Creates the tunnel that the applications name. Gives its token.
    pub async fn create_tunnel(&self) -> String {
        let created = Program::run(self.edge_command(&["tunnel", "create", "home"])).await;
        assert!(created.status.success(), "{created:?}");
        created.stdout.trim().to_owned()
    }

    /// Starts the edge and waits until it is ready.
    pub async fn start_edge(&self) -> Program {
        let mut edge = Program::start("edge", self.edge_command(&["run", "--output", "json"]));
        edge.next_event("ready").await;
        edge
    }

    /// `connector tunnel ... run` for this site.
    pub fn connector_command(&self, token: &str, url: &str) -> Command {
        let mut command = command(CONNECTOR, &["tunnel", "--edge"]);
        command.arg(self.https.to_string()).arg("--cacert").arg(self.ca());
        command.args(["run", "--url", url, "--output", "json"]).env("TUNNEL_TOKEN", token);
        command
    }

    /// Starts a connector and waits until it is connected.
    pub async fn start_connector(&self, token: &str, url: &str) -> Program {
        let mut connector = Program::start("connector", self.connector_command(token, url));
        connector.next_event("connected").await;
        connector
    }

    /// Starts edge and connector in front of this origin.
    pub async fn start(&self, origin: &str) -> (Program, Program) {
        let token = self.create_tunnel().await;
        let mut edge = self.start_edge().await;
        let connector = self.start_connector(&token, origin).await;
        // The connector hears of its registration a moment before the edge routes to it.
        edge.next_event("connector_connected").await;
        (edge, connector)
    }

    /// A browser that has never been here.
    pub fn visitor(&self) -> Visitor {
        self.visitor_with(&Habits::default())
    }

    pub fn visitor_with(&self, habits: &Habits) -> Visitor {
        let hosts = [APP_HOST, OTHER_HOST, TEAM_HOST, UNKNOWN_HOST];
        Visitor::new(&self.ca(), &hosts, self.https, habits)
    }

    /// A visitor to the application that sends what it is told to.
    pub async fn raw_visitor(&self) -> Raw {
        let tls = tls(&self.ca(), Arc::new(DefaultTimeProvider));
        Raw::connect(self.https, APP_HOST, tls).await
    }
}
