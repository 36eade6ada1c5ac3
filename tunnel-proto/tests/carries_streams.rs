//! WebSocket and TCP streams: bytes in both directions, and how they end.

#![expect(clippy::unwrap_used, reason = "a test")]

mod exchange;
mod harness;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use exchange::{
    Direct, PATIENCE,
    streams::{self, accepted, agree, handshake, switching},
};
use harness::{Edge, credentials, start, tunnel};
use http::Request;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
    time::timeout,
};
use tunnel_proto::{
    connector::{Connector, Incoming, OnUpgrade},
    edge::Phase,
    origin::PrivateNetwork,
    relay,
};

const VISITOR: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

#[tokio::test]
async fn a_websocket_opens_carries_and_ends_one_direction_at_a_time() {
    streams::a_websocket_opens_carries_and_ends_one_direction_at_a_time::<Direct>().await;
}

#[tokio::test]
async fn a_side_that_vanishes_is_an_error_and_not_an_end() {
    streams::a_side_that_vanishes_is_an_error_and_not_an_end::<Direct>().await;
}

#[tokio::test]
async fn an_origin_may_decline_and_a_plain_200_is_no_upgrade() {
    streams::an_origin_may_decline_and_a_plain_200_is_no_upgrade::<Direct>().await;
}

#[tokio::test]
async fn only_a_handshake_becomes_a_websocket() {
    streams::only_a_handshake_becomes_a_websocket::<Direct>().await;
}

#[tokio::test]
async fn an_echo_of_a_megabyte_in_small_writes_loses_nothing() {
    let echo = |mut request: Request<Incoming>| {
        let on_upgrade = request.extensions_mut().remove::<OnUpgrade>().unwrap();
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(on_upgrade.await.unwrap());
            tokio::io::copy(&mut read, &mut write).await.unwrap();
            write.shutdown().await.unwrap();
        });
        std::future::ready(switching())
    };
    let (tunnel, _running) = tunnel(echo).await;
    let (_, io) = accepted(tunnel.upgrade(handshake()).await.unwrap());
    let (mut read, mut write) = tokio::io::split(io);
    let sent: Vec<u8> = (0..1 << 20).map(|at: u32| at.to_le_bytes()[at as usize % 3]).collect();
    let expected = sent.clone();
    let sender = tokio::spawn(async move {
        for piece in sent.chunks(777) {
            write.write_all(piece).await.unwrap();
        }
        write.shutdown().await.unwrap();
    });
    let mut seen = Vec::new();
    timeout(PATIENCE, read.read_to_end(&mut seen)).await.unwrap().unwrap();
    sender.await.unwrap();
    assert!(seen == expected);
}

#[tokio::test]
async fn a_connector_that_leaves_waits_for_its_websockets() {
    let (taken, mut origins) = mpsc::unbounded_channel();
    let (tunnel, mut running) = tunnel(agree(taken)).await;
    let (_, mut visitor) = accepted(tunnel.upgrade(handshake()).await.unwrap());
    let mut origin = origins.recv().await.unwrap();
    running.shut_down();
    let connection = tunnel.connections().pop().unwrap();
    connection.reached(Phase::Draining).await;
    origin.write_all(b"still here").await.unwrap();
    let mut seen = [0; 10];
    visitor.read_exact(&mut seen).await.unwrap();
    assert!(!running.task.is_finished());
    drop((visitor, origin));
    timeout(PATIENCE, running.task).await.unwrap().unwrap().unwrap();
}

/// Answers each connection with what it was sent, once the other side is done.
async fn reversing_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut seen = Vec::new();
                tcp.read_to_end(&mut seen).await.unwrap();
                seen.reverse();
                tcp.write_all(&seen).await.unwrap();
            });
        }
    });
    address
}

#[tokio::test]
async fn a_tcp_flow_reaches_what_is_allowed_and_nothing_else() {
    let server = reversing_server().await;
    let edge = Edge::start();
    let network = PrivateNetwork::new().allow("127.0.0.1", server.port()..=server.port()).unwrap();
    let builder = Connector::builder(credentials(), edge.dial())
        .connections(1)
        .private_network(network.max_active_flows(2));
    let _running = start(builder, |_| async { panic!("no HTTP here") });
    let tunnel = edge.wait_for(1).await;

    let (visitor, mut far) = tokio::io::duplex(1 << 20);
    let flow = tunnel.tcp(server, VISITOR).await.unwrap();
    let joined = tokio::spawn(relay(visitor, flow));
    far.write_all(b"abc").await.unwrap();
    far.shutdown().await.unwrap();
    let mut seen = String::new();
    timeout(PATIENCE, far.read_to_string(&mut seen)).await.unwrap().unwrap();
    assert_eq!(seen, "cba", "the answer to a half-closed flow arrives");
    assert_eq!(joined.await.unwrap().unwrap(), (3, 3));

    let other = SocketAddr::new(server.ip(), server.port() ^ 1);
    let error = tunnel.tcp(other, VISITOR).await.unwrap_err();
    assert!(error.is_unreachable(), "{error}");

    // The connector notices the end of a flow on its own time.
    let first = tunnel.tcp(server, VISITOR).await.unwrap();
    let second = loop {
        match tunnel.tcp(server, VISITOR).await {
            Ok(flow) => break flow,
            Err(error) => assert!(error.is_busy(), "{error}"),
        }
    };
    let error = tunnel.tcp(server, VISITOR).await.unwrap_err();
    assert!(error.is_busy(), "{error}");
    drop((first, second));
}

#[tokio::test(start_paused = true)]
async fn a_flow_whose_other_half_stays_quiet_is_ended() {
    let (mut near, a) = tokio::io::duplex(64);
    let (mut far, b) = tokio::io::duplex(64);
    let joined = tokio::spawn(relay(a, b));
    near.write_all(b"request").await.unwrap();
    near.shutdown().await.unwrap();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(9)).await;
        far.write_all(b".").await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(!joined.is_finished(), "it moved nine seconds ago");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(joined.await.unwrap().unwrap(), (7, 3));
}
