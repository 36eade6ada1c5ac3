//! WebSockets, TCP flows and interim responses between a node and a connector of another one.

#![cfg(feature = "cluster")]
#![expect(clippy::unwrap_used, reason = "a test")]

mod exchange;
mod harness;
mod hop;
mod nodes;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use exchange::{
    Way as _,
    streams::{self, accepted, agree, handshake},
};
use harness::{collect, full};
use hop::Hop;
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
    connector::Interim,
    edge::{Incoming, OnInterim},
};

const VISITOR: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

#[tokio::test]
async fn a_websocket_opens_carries_and_ends_one_direction_at_a_time() {
    streams::a_websocket_opens_carries_and_ends_one_direction_at_a_time::<Hop>().await;
}

#[tokio::test]
async fn a_side_that_vanishes_is_an_error_and_not_an_end() {
    streams::a_side_that_vanishes_is_an_error_and_not_an_end::<Hop>().await;
}

#[tokio::test]
async fn an_origin_may_decline_and_a_plain_200_is_no_upgrade() {
    streams::an_origin_may_decline_and_a_plain_200_is_no_upgrade::<Hop>().await;
}

#[tokio::test]
async fn only_a_handshake_becomes_a_websocket() {
    streams::only_a_handshake_becomes_a_websocket::<Hop>().await;
}

async fn open(node: &TestNode) -> (Response<()>, TunnelIo) {
    let upgrade = node.cluster.upgrade(tunnel(), handshake());
    accepted(timeout(PATIENCE, upgrade).await.unwrap().unwrap())
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
    let Hop { a, b: _b } = Hop::to(|_| async { panic!("no HTTP here") }).await;
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
    let Hop { a, b: _b } = Hop::to(|request: Request<Incoming>| async move {
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
