//! A scripted client says the same things to a WebSocket server directly and through a tunnel, and must
//! be told the same: every byte of every frame, and how the connection ended, on both sides.

#![expect(clippy::unwrap_used, reason = "a test")]

mod harness;
mod rig;
mod websocket;

use std::{collections::BTreeMap, net::SocketAddr};

use futures_util::{StreamExt as _, stream};
use harness::{AnyBody, full};
use http::{Request, Response};
use rig::{connector::Ours, edge::TlsEdge, front::Front};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};
use tunnel_proto::connector::{Incoming, OnUpgrade};
use websocket::{
    cases::{self, Case},
    client::{Transcript, play},
    server::{self, Ends},
};

/// Connections at a time.
const AT_ONCE: usize = 4;

async fn play_all(cases: &[Case], address: SocketAddr, ends: &Ends) -> Vec<Transcript> {
    let played = stream::iter(cases).map(|case| play(case, address, ends));
    played.buffered(AT_ONCE).collect().await
}

/// Plays all cases directly and through the tunnel.
async fn compare(front: Front, through: &Ends) {
    let cases = cases::all();
    assert!(cases.len() >= 300, "{} cases", cases.len());
    let ends = Ends::default();
    let direct = play_all(&cases, server::listen(ends.clone()).await, &ends).await;

    // The server says a good deal, so that equal answers mean something.
    let mut codes: BTreeMap<_, usize> = BTreeMap::new();
    for transcript in &direct {
        *codes.entry(transcript.close_code()).or_default() += 1;
        assert!(transcript.handshake.starts_with("HTTP/1.1 101 "), "{}", transcript.words());
    }
    for (code, at_least) in [(1000, 100), (1002, 40), (1007, 30), (1009, 2), (4321, 1)] {
        assert!(codes.get(&Some(code)) >= Some(&at_least), "{codes:?}");
    }

    let tunneled = play_all(&cases, front.address, through).await;
    let different: Vec<String> = cases
        .iter()
        .zip(direct.iter().zip(&tunneled))
        .filter(|(_, (direct, tunneled))| direct != tunneled)
        .map(|(case, (direct, tunneled))| {
            format!(
                "{}\n  directly: {}\n  tunneled: {}",
                case.name,
                direct.words(),
                tunneled.words()
            )
        })
        .collect();
    assert!(
        different.is_empty(),
        "{} of {} cases differ:\n{}",
        different.len(),
        cases.len(),
        different.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_behind_the_connector() {
    let ends = Ends::default();
    let edge = TlsEdge::start().await;
    let _connector = Ours::start(&edge, server::listen(ends.clone()).await, 1);
    compare(Front::start(edge.wait_for(1).await).await, &ends).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_in_the_connectors_process() {
    let ends = Ends::default();
    let told = ends.clone();
    let (tunnel, _running) = harness::tunnel(move |mut request: Request<Incoming>| {
        let ends = told.clone();
        let path = request.uri().path().to_owned();
        let key = derive_accept_key(request.headers()["sec-websocket-key"].as_bytes());
        let on_upgrade = request.extensions_mut().remove::<OnUpgrade>().unwrap();
        tokio::spawn(async move {
            let io = on_upgrade.await.unwrap();
            let config = Some(server::config());
            let socket = WebSocketStream::from_raw_socket(io, Role::Server, config).await;
            server::echo(socket, &path, &ends).await;
        });
        std::future::ready(switching(&key))
    })
    .await;
    compare(Front::start(tunnel).await, &ends).await;
}

fn switching(key: &str) -> Response<AnyBody> {
    Response::builder()
        .status(101)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-accept", key)
        .body(full(""))
        .unwrap()
}
