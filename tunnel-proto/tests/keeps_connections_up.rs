//! The life of a connector's connections: registering, losing, draining, being refused.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod harness;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use harness::{Edge, collect, connect, credentials, full, start, tunnel_id};
use http::{Request, Response};
use tokio::{sync::Notify, time::timeout};
use tunnel_proto::{
    ConnectorId, Credentials, TunnelSecret,
    connector::{Connector, Event},
    edge::Phase,
};

fn get() -> Request<harness::AnyBody> {
    Request::get("https://app.example.com/").body(full("")).unwrap()
}

#[tokio::test]
async fn four_connections_share_the_load() {
    let edge = Edge::start();
    let _running = connect(&edge, credentials(), 4, |_| async { Response::new(full("ok")) });
    let tunnel = edge.wait_for(4).await;
    let mut indexes: Vec<_> =
        tunnel.connections().iter().map(|c| c.registration().connection_index).collect();
    indexes.sort_unstable();
    assert_eq!(indexes, [0, 1, 2, 3]);
    let connector = tunnel.connections()[0].registration().connector_id;
    assert!(tunnel.connections().iter().all(|c| c.registration().connector_id == connector));

    let requests: Vec<_> = (0..40).map(|_| tunnel.send(get())).collect();
    let responses = futures_util::future::join_all(requests).await;
    assert!(responses.iter().all(|response| response.as_ref().unwrap().status() == 200));
    assert!(tunnel.connections().iter().all(|connection| connection.sent() == 10));
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_the_connector_says_so() {
    let edge = Edge::start();
    let wrong = Credentials::new("account", tunnel_id(), TunnelSecret::new([8; 32]));
    let running = connect(&edge, wrong, 4, |_| async { Response::new(full("")) });
    let error = timeout(Duration::from_secs(10), running.task).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.refusal(), Some("Unauthorized: unknown tunnel or wrong secret"));
    assert!(edge.router.tunnel(tunnel_id()).is_none(), "a refused connector serves nothing");
    assert!(edge.refusals.lock().unwrap()[0].refusal().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_lost_edge_is_found_again() {
    let edge = Edge::start();
    let mut running = connect(&edge, credentials(), 4, |_| async { Response::new(full("back")) });
    let tunnel = edge.wait_for(4).await;
    for outage in [0, 3, 40, 600] {
        edge.take_away();
        edge.wait_for(0).await;
        assert!(tunnel.send(get()).await.unwrap_err().is_offline());
        tokio::time::sleep(Duration::from_secs(outage)).await;
        edge.bring_back();
        let before = tokio::time::Instant::now();
        edge.wait_for(4).await;
        let bound = Duration::from_secs((outage / 8).clamp(1, 60) + 1);
        assert!(before.elapsed() <= bound, "{outage} s away, {:?} to return", before.elapsed());
        let response = tunnel.send(get()).await.unwrap();
        assert_eq!(collect(response.into_body()).await.unwrap(), "back");
    }
    let mut retries = 0;
    while let Ok(event) = running.events.try_recv() {
        retries += usize::from(matches!(event, Event::Retrying { .. }));
    }
    assert!(retries > 16, "{retries} retries told");
}

#[tokio::test(start_paused = true)]
async fn an_edge_that_is_down_does_not_keep_connections_from_the_other() {
    let edge = Edge::start();
    let dial = edge.dial();
    // The first address is a dead one, and the first connection begins there.
    let dial = move |address: usize| match address % 2 {
        0 => std::future::ready(Err(std::io::ErrorKind::ConnectionRefused.into())),
        _ => dial(address),
    };
    let service =
        tower::service_fn(async |_| Ok::<_, std::convert::Infallible>(Response::new(full(""))));
    let connector = Connector::builder(credentials(), dial).service(service).unwrap();
    tokio::spawn(connector.run(std::future::pending()));
    edge.wait_for(4).await;
}

#[tokio::test]
async fn shutting_down_lets_requests_in_flight_finish() {
    let edge = Edge::start();
    let (arrived, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let gates = (Arc::clone(&arrived), Arc::clone(&go_on));
    let mut running = connect(&edge, credentials(), 2, move |_| {
        let (arrived, go_on) = gates.clone();
        async move {
            arrived.notify_one();
            go_on.notified().await;
            Response::new(full("finished"))
        }
    });
    let tunnel = edge.wait_for(2).await;
    let in_flight = tokio::spawn({
        let tunnel = Arc::clone(&tunnel);
        async move { collect(tunnel.send(get()).await?.into_body()).await }
    });
    arrived.notified().await;
    let busy = tunnel.connections().into_iter().find(|c| c.in_flight() > 0).unwrap();
    running.shut_down();
    timeout(Duration::from_secs(10), busy.reached(Phase::Draining)).await.unwrap();
    // The idle connection goes at once, the busy one takes no more, the tunnel is offline.
    edge.wait_for(1).await;
    assert!(tunnel.send(get()).await.unwrap_err().is_offline());
    assert!(!running.task.is_finished());
    go_on.notify_one();
    assert_eq!(in_flight.await.unwrap().unwrap(), "finished");
    timeout(Duration::from_secs(10), running.task).await.unwrap().unwrap().unwrap();
    edge.wait_for(0).await;
}

#[tokio::test(start_paused = true)]
async fn the_grace_period_is_the_longest_a_request_can_hold_up_shutdown() {
    let edge = Edge::start();
    let mut running = connect(&edge, credentials(), 1, |_| std::future::pending());
    let tunnel = edge.wait_for(1).await;
    let hanging = tokio::spawn(async move { tunnel.send(get()).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = tokio::time::Instant::now();
    running.shut_down();
    running.task.await.unwrap().unwrap();
    assert_eq!(before.elapsed().as_secs(), 30);
    assert!(hanging.await.unwrap().is_err());
}

#[tokio::test]
async fn a_restarted_connection_replaces_its_left_over() {
    let edge = Edge::start();
    let id = ConnectorId::from_bytes([5; 16]);
    let start = || {
        let service =
            tower::service_fn(async |_| Ok::<_, std::convert::Infallible>(Response::new(full(""))));
        let builder = Connector::builder(credentials(), edge.dial()).connections(1);
        let connector = builder.connector_id(id).service(service).unwrap();
        tokio::spawn(connector.run(std::future::pending()))
    };
    let _first = start();
    let left_over = edge.wait_for(1).await.connections()[0].clone();
    let _second = start();
    timeout(Duration::from_secs(10), left_over.reached(Phase::Closed)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_up() {
    let (edge_io, _silent) = tokio::io::duplex(1024);
    let error = tunnel_proto::edge::Acceptor::new(harness::authenticate).accept(edge_io).await;
    assert!(error.unwrap_err().is_retryable());
}

#[tokio::test]
async fn a_peer_that_closes_without_a_word_is_no_alarm() {
    let (edge_io, probe) = tokio::io::duplex(1024);
    drop(probe);
    let error = tunnel_proto::edge::Acceptor::new(harness::authenticate).accept(edge_io).await;
    assert!(error.unwrap_err().is_retryable());
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_connections_task_is_told_and_the_connection_made_again() {
    let edge = Edge::start();
    let (dial, dialed) = (edge.dial(), AtomicUsize::new(0));
    let dial = move |address| {
        assert!(dialed.fetch_add(1, Ordering::Relaxed) != 1, "a bug in the caller's code");
        dial(address)
    };
    let builder = Connector::builder(credentials(), dial).connections(2);
    let mut running = start(builder, |_| async { Response::new(full("")) });
    let (index, error) = loop {
        match running.events.recv().await.unwrap() {
            Event::Retrying { index, error, .. } => break (index, error),
            event => assert!(matches!(event, Event::Connected { .. }), "{event:?}"),
        }
    };
    let source = std::error::Error::source(&*error).unwrap().to_string();
    assert!(
        index == 1 && source.contains("a bug in the caller's code"),
        "{index} {error}: {source}"
    );
    edge.wait_for(2).await;
}
