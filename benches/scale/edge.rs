//! The edge that is weighed.

use std::{
    fs,
    net::SocketAddr,
    ops::Range,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, bail, ensure};
use cert_manager::{PrivateCa, Profile, Resolver, presets};
use http::Request;
use tokio::{net::TcpListener, time::sleep};
use tokio_rustls::TlsAcceptor;
use tunnel_proto::{
    ConnectionId,
    edge::{Acceptor, Refusal, Registered, Registration, Router, Upgrade},
};

use crate::connectors::{secret, tunnel_id};

/// Connections before the scales are set to zero, so that what every edge needs once is not counted.
const WARM_UP: u32 = 20;

/// Registers `connections`, opens `websockets` through one of the tunnels, and prints both weights.
pub(crate) async fn weigh(connections: u32, websockets: u32) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let root = directory.path().join("ca.pem");
    let tls = certificate(&root)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = Arc::new(Router::new());
    tokio::spawn(accept(listener, tls, Arc::clone(&router)));

    let warm = Connectors::start(address, &root, 0..WARM_UP, 1)?;
    wait_for(&router, WARM_UP).await?;
    drop(warm);
    wait_for(&router, 0).await?;

    let before = resident_bytes()?;
    let started = Instant::now();
    let _connectors = Connectors::start(address, &root, 0..connections, 1)?;
    wait_for(&router, connections).await?;
    let took = started.elapsed();
    // Handshakes' buffers are freed, the connectors' rules are heard.
    sleep(Duration::from_secs(2)).await;
    let registered = resident_bytes()?;
    println!(
        "{connections} registered connections: {} bytes each, all after {:.1} s ({:.0} a second, both ends)",
        registered.saturating_sub(before) / u64::from(connections),
        took.as_secs_f64(),
        f64::from(connections) / took.as_secs_f64()
    );

    // As many connections as a connector keeps unless told otherwise.
    let _one = Connectors::start(address, &root, connections..connections + 1, 4)?;
    wait_for(&router, connections + 4).await?;
    let registered = resident_bytes()?;
    let tunnel = router.tunnel(tunnel_id(connections)).context("a tunnel without a connection")?;
    let mut open = Vec::new();
    let started = Instant::now();
    for number in 0..websockets {
        let request = Request::get("https://app.example.com/socket")
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(())?;
        // One more than there is room for would wait for ten seconds and fail.
        match tunnel.upgrade(request).await {
            Ok(Upgrade::Accepted(_, io)) => open.push(io),
            Ok(Upgrade::Declined(response)) => bail!("status {}", response.status()),
            Err(error) if error.is_busy() => {
                println!("the tunnel was full with {number} WebSockets");
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let count = open.len().max(1) as u64;
    println!(
        "{} idle WebSockets through one tunnel: {} bytes each, all after {:.2} s",
        open.len(),
        resident_bytes()?.saturating_sub(registered) / count,
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, router: Arc<Router>) {
    let acceptor = Acceptor::new(|registration: &Registration| {
        if *registration.credentials.secret() != secret() {
            return Err(Refusal::unauthorized());
        }
        Ok(Registered::new(ConnectionId::from_bytes([9; 16]), "scale"))
    });
    while let Ok((tcp, source)) = listener.accept().await {
        let (tls, router, acceptor) = (tls.clone(), Arc::clone(&router), acceptor.clone());
        tokio::spawn(async move {
            let _ = tcp.set_nodelay(true);
            match tls.accept(tcp).await {
                Ok(io) => {
                    if let Err(error) = router.accept(&acceptor, io, Some(source)).await {
                        eprintln!("not registered: {error}");
                    }
                }
                Err(error) => eprintln!("no handshake: {error}"),
            }
        });
    }
}

fn certificate(root: &Path) -> anyhow::Result<TlsAcceptor> {
    let now = SystemTime::now();
    let ca = PrivateCa::generate("Scale CA", now)?;
    fs::write(root, ca.root_pem())?;
    let resolver = Resolver::new();
    resolver.insert(ca.issue(&presets::tunnel_names(), Profile::server(), now)?)?;
    Ok(TlsAcceptor::from(Arc::new(presets::tunnel_config(presets::provider(), resolver)?)))
}

async fn wait_for(router: &Router, connections: u32) -> anyhow::Result<()> {
    let give_up = Instant::now() + Duration::from_secs(600);
    loop {
        let there = router.connections().len();
        if there == connections as usize {
            return Ok(());
        }
        ensure!(Instant::now() < give_up, "{there} of {connections} connections after ten minutes");
        sleep(Duration::from_millis(100)).await;
    }
}

/// The other process. Ends with this value.
struct Connectors(Child);

impl Connectors {
    fn start(edge: SocketAddr, root: &Path, numbers: Range<u32>, each: u8) -> anyhow::Result<Self> {
        let child = Command::new(std::env::current_exe()?)
            .args(["connect", &edge.to_string()])
            .arg(root)
            .args(
                [numbers.start, numbers.end - numbers.start, u32::from(each)]
                    .map(|it| it.to_string()),
            )
            .stdin(Stdio::null())
            .spawn()
            .context("can't start the connectors")?;
        Ok(Self(child))
    }
}

impl Drop for Connectors {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn resident_bytes() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
    Ok(kib.parse::<u64>()? * 1024)
}
