//! How many connections one edge registers: of one tunnel, and of all.

#![expect(clippy::unwrap_used, reason = "a test")]

mod harness;

use std::{sync::Arc, time::Duration};

use harness::{AnyBody, Edge, connect, credentials, full, secret, tunnel_id};
use http::{Request, Response};
use tokio::time::timeout;
use tunnel_proto::{
    Credentials, Error, TunnelId,
    connector::Connector,
    edge::{Acceptor, Event, Phase, Refusal, Router},
    limits,
};

const PATIENCE: Duration = Duration::from_secs(60);

type Service = fn(Request<tunnel_proto::connector::Incoming>) -> Response<AnyBody>;

/// Lets a connector of `tunnel` dial once and register at `router`; it runs in the background.
async fn register(
    router: &Arc<Router>,
    acceptor: &Acceptor<impl tunnel_proto::edge::Authenticate>,
    tunnel: TunnelId,
) -> Result<tokio::task::JoinHandle<Result<(), Error>>, Error> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let io = std::sync::Mutex::new(Some(near));
    let dial = move |_| {
        let io = io.lock().unwrap().take();
        std::future::ready(io.ok_or_else(|| std::io::ErrorKind::ConnectionRefused.into()))
    };
    let answer: Service = |_| Response::new(full("hello"));
    let service = tower::service_fn(move |request| {
        std::future::ready(Ok::<_, std::convert::Infallible>(answer(request)))
    });
    let credentials = Credentials::new("account", tunnel, secret());
    let connector = Connector::builder(credentials, dial).connections(1).service(service).unwrap();
    let running = tokio::spawn(connector.run(std::future::pending()));
    let source = "192.0.2.9:4000".parse().unwrap();
    router.accept(acceptor, far, Some(source)).await?;
    Ok(running)
}

fn tunnel(number: u8) -> TunnelId {
    TunnelId::from_bytes([number; 16])
}

async fn hello(router: &Router, tunnel: TunnelId) {
    let request = Request::get("https://app.example.test/").body(full("")).unwrap();
    let response = router.tunnel(tunnel).unwrap().send(request).await.unwrap();
    assert_eq!(harness::collect(response.into_body()).await.unwrap(), "hello");
}

#[tokio::test(start_paused = true)]
async fn one_connection_more_than_a_tunnel_or_the_edge_may_have_is_refused_by_name() {
    let (router, acceptor) =
        (Arc::new(Router::new()), Acceptor::new(harness::authenticate).connections(2, 3));
    let mut events = router.events();
    let first = register(&router, &acceptor, tunnel(1)).await.unwrap();
    register(&router, &acceptor.clone(), tunnel(1)).await.unwrap();
    let third = register(&router, &acceptor.clone(), tunnel(1)).await.unwrap_err();
    assert_eq!(third.limit(), Some("TUNNEL_CONNECTIONS"));
    assert!(third.is_retryable() && third.refusal().unwrap().contains("2 connections"), "{third}");

    register(&router, &acceptor, tunnel(2)).await.unwrap();
    let other = register(&router, &acceptor, tunnel(3)).await.unwrap_err();
    assert_eq!(other.limit(), Some("CONNECTIONS"));
    // What sends cloudflared to another edge.
    assert_eq!(other.refusal(), Some(Refusal::DUPLICATE));
    for name in ["TUNNEL_CONNECTIONS", "CONNECTIONS"] {
        let told = async {
            loop {
                if let Some(Event::Refused { source, reason }) = events.next().await {
                    break (source, reason);
                }
            }
        };
        let (source, reason) = timeout(PATIENCE, told).await.unwrap();
        assert!(source.is_some() && reason.contains(&format!("({name})")), "{reason}");
    }
    // Those that are there go on.
    hello(&router, tunnel(1)).await;
    hello(&router, tunnel(2)).await;

    let connection = router.tunnel(tunnel(1)).unwrap().connections().remove(0);
    first.abort();
    timeout(PATIENCE, connection.reached(Phase::Closed)).await.unwrap();
    register(&router, &acceptor, tunnel(3)).await.expect("a seat came free");
    hello(&router, tunnel(3)).await;
}

#[tokio::test(start_paused = true)]
async fn a_connector_of_ours_that_finds_no_seat_comes_again() {
    let edge = Edge::start();
    let full_edge = Acceptor::new(harness::authenticate).connections(0, 0);
    let error = register(&edge.router, &full_edge, tunnel_id()).await.unwrap_err();
    assert_eq!(error.limit(), Some("TUNNEL_CONNECTIONS"));
    // The same connector, dialing this edge first and then one with room.
    let (near, far) = tokio::io::duplex(64 * 1024);
    let first = std::sync::Mutex::new(Some(near));
    let second = edge.dial();
    let dial = move |index| match first.lock().unwrap().take() {
        Some(io) => std::future::ready(Ok(io)),
        None => second(index),
    };
    let builder = Connector::builder(credentials(), dial).connections(1);
    let _running = harness::start(builder, |_| async { Response::new(full("hello")) });
    full_edge.accept(far).await.unwrap_err();
    edge.wait_for(1).await;
    hello(&edge.router, tunnel_id()).await;
}

#[tokio::test]
async fn a_removed_tunnel_is_forgotten_until_it_is_let_in_again() {
    let edge = Edge::start();
    let mut running = connect(&edge, credentials(), 2, |_| async { Response::new(full("hello")) });
    let old = edge.wait_for(2).await;
    let connections = old.connections();
    assert!(edge.router.remove_tunnel(tunnel_id()));
    assert!(!edge.router.remove_tunnel(tunnel_id()));
    for connection in connections {
        timeout(PATIENCE, connection.reached(Phase::Closed)).await.unwrap();
    }
    let request = Request::get("https://app.example.test/").body(full("")).unwrap();
    assert!(old.send(request).await.unwrap_err().is_offline());
    // Its connector comes back, and nobody has taken its right away.
    let new = edge.wait_for(2).await;
    assert!(!Arc::ptr_eq(&old, &new));
    hello(&edge.router, tunnel_id()).await;
    assert!(old.connections().is_empty());
    running.shut_down();
}

#[test]
fn the_edge_takes_the_connections_of_many_tunnels() {
    const { assert!(limits::CONNECTIONS >= 5_000 && limits::TUNNEL_CONNECTIONS >= 100) };
}
