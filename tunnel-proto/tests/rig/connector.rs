//! A connector of either kind, started and stopped in the same way.

use std::{
    net::SocketAddr,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use tunnel_proto::{
    Credentials, Error,
    connector::{Connector, HttpService, TlsDialer},
    origin::{HttpOrigin, PrivateNetwork},
};

use super::{PATIENCE, edge::TlsEdge};
use crate::harness;

/// Ours, in this process.
pub struct Ours {
    pub task: JoinHandle<Result<(), Error>>,
    shutdown: Option<oneshot::Sender<()>>,
}

impl Ours {
    pub fn start(edge: &TlsEdge, origin: SocketAddr, connections: u8) -> Self {
        Self::serve(edge, connections, HttpOrigin::new(&format!("http://{origin}")).unwrap())
    }

    /// With a service of one's own.
    pub fn serve(edge: &TlsEdge, connections: u8, service: impl HttpService) -> Self {
        let dialer = TlsDialer::new([edge.address.to_string()], edge.trust()).unwrap();
        let network = PrivateNetwork::new().allow("127.0.0.1", 1..=u16::MAX).unwrap();
        let connector = Connector::builder(harness::credentials(), dialer)
            .connections(connections)
            .private_network(network)
            .service(service)
            .unwrap();
        let (shutdown, stopped) = oneshot::channel();
        let task = tokio::spawn(connector.run(async { drop(stopped.await) }));
        Self { task, shutdown: Some(shutdown) }
    }

    pub fn shut_down(&mut self) {
        drop(self.shutdown.take());
    }
}

/// The unmodified cloudflared that `CLOUDFLARED` names, and what it has logged.
pub struct Cloudflared {
    pub child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Cloudflared {
    /// Whether there is one.
    pub fn is_given() -> bool {
        std::env::var_os("CLOUDFLARED").is_some()
    }

    pub fn start(edge: &TlsEdge, origin: SocketAddr, connections: u8) -> Self {
        Self::start_with(
            edge,
            &harness::credentials(),
            connections,
            &["--url", &format!("http://{origin}")],
        )
    }

    /// With arguments of one's own behind `run`.
    pub fn start_with(
        edge: &TlsEdge,
        credentials: &Credentials,
        connections: u8,
        run: &[&str],
    ) -> Self {
        let binary =
            std::env::var_os("CLOUDFLARED").expect("CLOUDFLARED names a cloudflared binary");
        let mut command = Command::new(binary);
        command.arg("tunnel");
        // cloudflared opens no more connections than it knows addresses, and with a single address it
        // dials without a pause.
        for _ in 0..connections.max(2) {
            command.args(["--edge", &edge.address.to_string()]);
        }
        let mut child = command
            .args(["--ha-connections", &connections.to_string()])
            .args(["--protocol", "http2", "--no-autoupdate", "--no-prechecks"])
            .args(["--metrics", "127.0.0.1:0", "--cacert"])
            .arg(edge.ca.path())
            .arg("run")
            .args(run)
            .env("TUNNEL_TOKEN", credentials.to_token())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("cloudflared starts");
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let keep = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                keep.lock().unwrap().push(line);
            }
        });
        Self { child, log }
    }

    /// Sends a signal, such as `TERM`.
    pub async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().await.unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub async fn exit(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.expect("cloudflared exits").unwrap()
    }

    /// Waits until it has logged this.
    pub async fn logs(&self, text: &str) {
        let logged = async {
            while !self.log.lock().unwrap().iter().any(|line| line.contains(text)) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let logged = timeout(PATIENCE, logged).await.is_ok();
        assert!(logged, "cloudflared did not log `{text}`: {:#?}", self.log.lock().unwrap());
    }
}
