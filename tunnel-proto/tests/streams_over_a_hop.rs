//! WebSockets, TCP flows and interim responses between a node and a connector of another one.

#![cfg(feature = "cluster")]
#![expect(clippy::unwrap_used, reason = "a test")]

mod harness;
mod nodes;

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use harness::{collect, full};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use nodes::{Authority, PATIENCE, TestNode, announced, tunnel};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
    time::timeout,
};
use tunnel_proto::{
    TunnelIo,
    cluster::{Directory as _, MemoryDirectory},
    connector::{Interim, OnUpgrade},
    edge::{Incoming, OnInterim, Upgrade},
};

const VISITOR: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

async fn two_nodes<F, Fut>(handler: F) -> (TestNode, TestNode)
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<harness::AnyBody>> + Send + 'static,
{
    let (authority, directory) = (Authority::new(), Arc::new(MemoryDirectory::new()));
    let a = TestNode::start(&authority, "a", Arc::clone(&directory)).await;
    let mut b = TestNode::start(&authority, "b", Arc::clone(&directory)).await;
    b.connect(tunnel(), handler).await;
    announced(&directory, tunnel(), 1).await;
    (a, b)
}

fn handshake() -> Request<()> {
    Request::get("https://app.example.com/socket?x=1")
        .header("connection", "keep-alive, Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat")
        .body(())
        .unwrap()
}

/// Agrees, and hands the bytes to the test.
fn agree(
    taken: mpsc::UnboundedSender<TunnelIo>,
) -> impl Fn(Request<Incoming>) -> std::future::Ready<Response<harness::AnyBody>> + Clone {
    move |mut request| {
        let seen = request.headers();
        assert_eq!(seen["connection"], "Upgrade");
        assert_eq!(seen["upgrade"], "websocket");
        assert_eq!(seen["sec-websocket-key"], "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(seen["sec-websocket-version"], "13");
        assert_eq!(seen["sec-websocket-protocol"], "chat");
        assert_eq!(seen.len(), 6, "{seen:?}");
        let on_upgrade = request.extensions_mut().remove::<OnUpgrade>().unwrap();
        let taken = taken.clone();
        tokio::spawn(async move { drop(taken.send(on_upgrade.await.unwrap())) });
        let response = Response::builder()
            .status(101)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
            .header("sec-websocket-protocol", "chat");
        std::future::ready(response.body(full("")).unwrap())
    }
}

async fn open(node: &TestNode) -> (Response<()>, TunnelIo) {
    match timeout(PATIENCE, node.cluster.upgrade(tunnel(), handshake())).await.unwrap().unwrap() {
        Upgrade::Accepted(response, io) => (response, io),
        Upgrade::Declined(response) => panic!("{response:?}"),
    }
}

#[tokio::test]
async fn a_websocket_opens_carries_and_ends_one_direction_at_a_time() {
    let (taken, mut origins) = mpsc::unbounded_channel();
    let (a, _b) = two_nodes(agree(taken)).await;
    let (response, mut visitor) = open(&a).await;
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("sec-websocket-protocol", "chat"),
    ] {
        assert_eq!(response.headers()[name], value);
    }
    assert_eq!(response.headers().len(), 4);

    let mut origin = timeout(PATIENCE, origins.recv()).await.unwrap().unwrap();
    visitor.write_all(b"ping").await.unwrap();
    let mut seen = [0; 4];
    origin.read_exact(&mut seen).await.unwrap();
    assert_eq!(&seen, b"ping");

    // The visitor is done; the origin is not.
    visitor.shutdown().await.unwrap();
    assert_eq!(timeout(PATIENCE, origin.read(&mut seen)).await.unwrap().unwrap(), 0);
    let answer = tokio::spawn(async move {
        origin.write_all(&vec![b'o'; 3 << 20]).await.unwrap();
        origin.shutdown().await.unwrap();
    });
    let mut rest = Vec::new();
    timeout(PATIENCE, visitor.read_to_end(&mut rest)).await.unwrap().unwrap();
    answer.await.unwrap();
    assert_eq!(rest.len(), 3 << 20);
}

#[tokio::test]
async fn a_side_that_vanishes_is_an_error_and_not_an_end() {
    let (taken, mut origins) = mpsc::unbounded_channel();
    let (a, _b) = two_nodes(agree(taken)).await;
    let mut byte = [0];
    let (_, visitor) = open(&a).await;
    let mut origin = timeout(PATIENCE, origins.recv()).await.unwrap().unwrap();
    drop(visitor);
    let error = timeout(PATIENCE, origin.read(&mut byte)).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    let (_, mut visitor) = open(&a).await;
    drop(timeout(PATIENCE, origins.recv()).await.unwrap().unwrap());
    let error = timeout(PATIENCE, visitor.read(&mut byte)).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_origin_may_decline_and_what_is_no_handshake_does_not_travel() {
    let (a, b) =
        two_nodes(|_| async { Response::builder().status(403).body(full("not here")).unwrap() })
            .await;
    let declined = timeout(PATIENCE, a.cluster.upgrade(tunnel(), handshake())).await.unwrap();
    let Upgrade::Declined(response) = declined.unwrap() else { panic!("nobody agreed") };
    assert_eq!(response.status(), 403);
    assert_eq!(collect(response.into_body()).await.unwrap(), "not here");
    let mut plain = handshake();
    plain.headers_mut().remove("upgrade");
    assert!(a.cluster.upgrade(tunnel(), plain).await.unwrap_err().is_caller_fault());
    assert_eq!(b.router.tunnel(tunnel()).unwrap().connections()[0].sent(), 1);
}

#[tokio::test]
async fn streams_go_past_a_dead_node_and_prefer_this_one() {
    let (taken, mut origins) = mpsc::unbounded_channel();
    let (authority, directory) = (Authority::new(), Arc::new(MemoryDirectory::new()));
    let mut a = TestNode::start(&authority, "a", Arc::clone(&directory)).await;
    let dead = TestNode::start(&authority, "dead", Arc::clone(&directory)).await;
    let node = dead.node.clone();
    dead.kill().await;
    directory.announce(&node, &[(tunnel(), 100)], PATIENCE).await.unwrap();
    let mut b = TestNode::start(&authority, "b", Arc::clone(&directory)).await;
    b.connect(tunnel(), agree(taken.clone())).await;
    announced(&directory, tunnel(), 2).await;
    let _over_the_hop = (open(&a).await, origins.recv().await.unwrap());
    a.connect(tunnel(), agree(taken)).await;
    let _here = (open(&a).await, origins.recv().await.unwrap());
    assert_eq!(b.router.tunnel(tunnel()).unwrap().connections()[0].sent(), 1);
    assert_eq!(a.router.tunnel(tunnel()).unwrap().connections()[0].sent(), 1);
}

#[tokio::test]
async fn a_tcp_flow_hops_and_says_why_it_cannot() {
    let (a, _b) = two_nodes(|_| async { panic!("no HTTP here") }).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        tcp.read_to_end(&mut seen).await.unwrap();
        seen.reverse();
        tcp.write_all(&seen).await.unwrap();
    });
    let flow = a.cluster.tcp(tunnel(), server, VISITOR);
    let mut flow = timeout(PATIENCE, flow).await.unwrap().unwrap();
    flow.write_all(b"abc").await.unwrap();
    flow.shutdown().await.unwrap();
    let mut seen = String::new();
    timeout(PATIENCE, flow.read_to_string(&mut seen)).await.unwrap().unwrap();
    assert_eq!(seen, "cba", "the answer to a half-closed flow arrives");
    serving.await.unwrap();

    let elsewhere = SocketAddr::new("127.0.0.2".parse().unwrap(), server.port());
    let refused = timeout(PATIENCE, a.cluster.tcp(tunnel(), elsewhere, VISITOR)).await.unwrap();
    let error = refused.unwrap_err();
    assert!(error.is_unreachable(), "{error}");
}

#[tokio::test]
async fn early_hints_arrive_before_the_answer_with_and_without_a_body() {
    let (a, _b) = two_nodes(|request: Request<Incoming>| async move {
        let interim = request.extensions().get::<Interim>().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("link", HeaderValue::from_static("</style.css>; rel=preload"));
        assert!(interim.send(StatusCode::EARLY_HINTS, headers));
        let body = collect(request.into_body()).await.unwrap();
        Response::new(full(body))
    })
    .await;
    for body in ["", "something"] {
        let (hear, mut heard) = mpsc::unbounded_channel();
        let request = Request::post("https://app.example.com/")
            .extension(OnInterim::new(move |interim| drop(hear.send(interim))))
            .body(full(body))
            .unwrap();
        let response = timeout(PATIENCE, a.cluster.send(tunnel(), request)).await.unwrap().unwrap();
        let interim = heard.try_recv().expect("heard before the answer");
        assert_eq!(interim.status(), StatusCode::EARLY_HINTS);
        assert_eq!(interim.headers()["link"], "</style.css>; rel=preload");
        assert_eq!(collect(response.into_body()).await.unwrap(), body);
        assert!(heard.try_recv().is_err(), "once");
    }
}
