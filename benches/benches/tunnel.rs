//! One request through a tunnel: edge and connector in one process, a real TCP connection on
//! loopback between them, without TLS and with it. The connector answers 1 KiB by itself.

use std::{
    convert::Infallible,
    future, io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use cert_manager::{PrivateCa, Profile, Resolver, presets};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use rustls::{ClientConfig, RootCertStore};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tunnel_proto::{
    ConnectionId, Credentials, TunnelId, TunnelSecret,
    connector::{Connector, Dial, TlsDialer},
    edge::{Acceptor, Connection, Registered, Registration, Router, Tunnel},
};

/// A response body: 1 KiB.
static BODY: [u8; 1024] = [b'x'; 1024];

/// Requests in flight in the concurrent cases.
const CONCURRENT: u64 = 64;

fn requests(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("tunnel");
    group.throughput(Throughput::Elements(1));
    // Fewer samples of more requests each: starting and ending 64 visitors shall not count.
    group.sample_size(20);
    for (transport, tunnel) in
        [("tcp", runtime.block_on(over_tcp())), ("tls", runtime.block_on(over_tls()))]
    {
        group.bench_function(format!("{transport}, one at a time"), |bencher| {
            // In a task of its own: the thread that blocks is none of the runtime's.
            bencher.iter_custom(|iterations| {
                runtime.block_on(async {
                    let started = Instant::now();
                    let asked = tokio::spawn(ask_often(Arc::clone(&tunnel), iterations));
                    asked.await.expect("the requests succeed");
                    started.elapsed()
                })
            });
        });
        group.bench_function(format!("{transport}, {CONCURRENT} at a time"), |bencher| {
            bencher.iter_custom(|iterations| runtime.block_on(ask_together(&tunnel, iterations)));
        });
    }
    group.finish();
}

async fn ask_often(tunnel: Arc<Tunnel>, times: u64) {
    for _ in 0..times {
        let request = Request::get("https://app.example.jp/1k").body(Empty::<Bytes>::new());
        let response = tunnel.send(request.expect("a good request")).await.expect("an answer");
        let body = response.into_body().collect().await.expect("a whole body");
        assert_eq!(body.to_bytes().len(), BODY.len());
    }
}

/// Each of the visitors sends its next request when it has its answer. Rounds up to a whole number
/// of requests each, and takes the time in proportion.
async fn ask_together(tunnel: &Arc<Tunnel>, requests: u64) -> Duration {
    let each = requests.div_ceil(CONCURRENT);
    let started = Instant::now();
    let mut visitors = JoinSet::new();
    for _ in 0..CONCURRENT {
        visitors.spawn(ask_often(Arc::clone(tunnel), each));
    }
    while let Some(visitor) = visitors.join_next().await {
        visitor.expect("the requests succeed");
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of requests is far below 2^52")]
    let share = requests as f64 / (each * CONCURRENT) as f64;
    started.elapsed().mul_f64(share)
}

async fn over_tcp() -> Arc<Tunnel> {
    let (listener, address) = listen().await;
    connect(move |_| dial(address));
    let (tcp, _) = listener.accept().await.expect("the connector dials");
    tcp.set_nodelay(true).expect("a socket");
    attach(acceptor().accept(tcp).await.expect("the connector registers"))
}

async fn over_tls() -> Arc<Tunnel> {
    let now = SystemTime::now();
    let ca = PrivateCa::generate("Bench CA", now).expect("randomness");
    let resolver = Resolver::new();
    let certificate = ca.issue(&presets::tunnel_names(), Profile::server(), now);
    resolver.insert(certificate.expect("a good authority")).expect("it has names");
    let config = presets::tunnel_config(presets::provider(), resolver).expect("ring knows TLS");
    let tls = TlsAcceptor::from(Arc::new(config));

    let mut roots = RootCertStore::empty();
    roots.add(ca.root_der().clone()).expect("a good root");
    let client = ClientConfig::builder_with_provider(presets::provider())
        .with_safe_default_protocol_versions()
        .expect("ring knows TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (listener, address) = listen().await;
    let dialer = TlsDialer::new([address.to_string()], Arc::new(client));
    connect(dialer.expect("a good address"));
    let (tcp, _) = listener.accept().await.expect("the connector dials");
    tcp.set_nodelay(true).expect("a socket");
    let io = tls.accept(tcp).await.expect("a good handshake");
    attach(acceptor().accept(io).await.expect("the connector registers"))
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// Runs a connector with one connection for as long as the runtime lives.
fn connect(dial: impl Dial) {
    let credentials = Credentials::new("bench", tunnel_id(), TunnelSecret::new([7; 32]));
    let answer =
        tower::service_fn(async |_| Ok::<_, Infallible>(Response::new(Full::from(&BODY[..]))));
    let connector = Connector::builder(credentials, dial).connections(1).service(answer);
    tokio::spawn(connector.expect("good settings").run(future::pending()));
}

fn acceptor() -> Acceptor<impl tunnel_proto::edge::Authenticate> {
    Acceptor::new(|_: &Registration| {
        Ok(Registered::new(ConnectionId::from_bytes([9; 16]), "bench"))
    })
}

fn attach(connection: Connection) -> Arc<Tunnel> {
    Router::new().attach(connection)
}

fn tunnel_id() -> TunnelId {
    TunnelId::from_bytes([1; 16])
}

/// Look-ups and changes among 100,000 host names.
fn routes(criterion: &mut Criterion) {
    let router = Router::new();
    let name = |number: u32| format!("app-{number}.customers.example.com");
    for number in 0..NAMES {
        router.set_route(&name(number), tunnel_id()).expect("a host name");
    }
    router.set_route("*.wild.example.com", tunnel_id()).expect("a wildcard");
    // A prime step, so that the caches do not know the next name.
    let asked: Vec<String> = (0..NAMES).map(|at| name(at * 7_919 % NAMES)).collect();
    let mut group = criterion.benchmark_group("router");
    let mut at = asked.iter().cycle();
    group.bench_function("look up one of 100,000", |bencher| {
        bencher.iter(|| router.route(at.next()?).ok_or("every name is there").ok());
    });
    group.bench_function("look up by wildcard", |bencher| {
        bencher.iter(|| router.route("any.wild.example.com"));
    });
    group.bench_function("look up an unknown name", |bencher| {
        bencher.iter(|| router.route("nobody.elsewhere.example.com"));
    });
    group.bench_function("change one of 100,000", |bencher| {
        bencher.iter(|| router.set_route(at.next()?, tunnel_id()).ok());
    });
    group.bench_function("add and remove a name", |bencher| {
        bencher.iter(|| {
            let added = router.set_route("new.customers.example.com", tunnel_id());
            added.is_ok() && router.remove_route("new.customers.example.com")
        });
    });
    group.finish();
}

/// Host names in the router.
const NAMES: u32 = 100_000;

criterion_group!(benches, requests, routes);
criterion_main!(benches);
