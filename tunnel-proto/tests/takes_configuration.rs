//! Configuration pushed by the edge, and what an operator hears.

#![expect(clippy::unwrap_used, reason = "a test")]

mod harness;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use harness::{Edge, Running, authenticate, connect, credentials, full, start, tunnel_id};
use http::Response;
use tokio::time::timeout;
use tunnel_proto::{
    Credentials, TunnelSecret,
    connector::Connector,
    edge::{Acceptor, Applied, Event, Events, Phase},
};

/// A connector that takes what holds the word `good`.
fn configurable(edge: &Edge) -> (Running, Arc<Mutex<Vec<String>>>) {
    let applied = Arc::<Mutex<Vec<String>>>::default();
    let seen = Arc::clone(&applied);
    let builder = Connector::builder(credentials(), edge.dial())
        .connections(2)
        .local_configuration(r#"{"ingress":[]}"#)
        .remote_configuration(move |json| {
            if !json.contains("good") {
                return Err("not good".into());
            }
            seen.lock().unwrap().push(json.into());
            Ok(())
        });
    (start(builder, |_| async { Response::new(full("")) }), applied)
}

async fn next(events: &mut Events) -> Event {
    timeout(Duration::from_secs(20), events.next()).await.unwrap().unwrap()
}

/// The next answer to a configuration.
async fn answer(events: &mut Events) -> Applied {
    loop {
        if let Event::Configured { applied, .. } = next(events).await {
            return applied;
        }
    }
}

#[tokio::test]
async fn every_connector_gets_the_newest_configuration_once() {
    let edge = Edge::start();
    let mut events = edge.router.events();
    let (_first, seen) = configurable(&edge);
    let tunnel = edge.wait_for(2).await;
    tunnel.set_configuration(3, r#"{"good":1}"#).unwrap();
    assert_eq!(answer(&mut events).await.version, 3);
    for old in [3, 2, -1] {
        let error = tunnel.set_configuration(old, r#"{"good":0}"#).unwrap_err();
        assert!(error.is_caller_fault(), "{error}");
    }
    assert_eq!(*seen.lock().unwrap(), [r#"{"good":1}"#]);

    tunnel.set_configuration(4, r#"{"bad":1}"#).unwrap();
    let rejected = answer(&mut events).await;
    assert_eq!((rejected.version, rejected.rejection.as_deref()), (3, Some("not good")));

    let (_second, seen) = configurable(&edge);
    tunnel.set_configuration(5, r#"{"good":2}"#).unwrap();
    edge.wait_for(4).await;
    while seen.lock().unwrap().is_empty() {
        answer(&mut events).await;
    }
    assert_eq!(*seen.lock().unwrap(), [r#"{"good":2}"#]);

    assert!(tunnel.set_configuration(6, "not json").unwrap_err().is_caller_fault());
}

#[tokio::test]
async fn rules_too_long_to_be_told_are_the_callers_fault() {
    let most = tunnel_proto::limits::TOLD_CONFIGURATION_BYTES;
    let edge = Edge::start();
    let telling = |bytes: usize| {
        Connector::builder(credentials(), edge.dial())
            .connections(1)
            .local_configuration(vec![b' '; bytes])
    };
    let service =
        tower::service_fn(|_| async { Ok::<_, std::convert::Infallible>(Response::new(full(""))) });
    let error = telling(most + 1).service(service).map(drop).unwrap_err();
    assert!(error.is_caller_fault());
    assert_eq!(error.limit(), Some("TOLD_CONFIGURATION_BYTES"));

    let _connector = start(telling(most), |_| async { Response::new(full("hello")) });
    let tunnel = edge.wait_for(1).await;
    let connection = tunnel.connections().remove(0);
    // Longer than it takes to arrive.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(connection.phase(), Phase::Serving, "{:?}", connection.loss());
}

/// On one thread: nothing has been pushed when the first connection goes.
#[tokio::test]
async fn a_configuration_goes_over_the_next_connection_if_the_first_is_lost() {
    let edge = Edge::start();
    let mut events = edge.router.events();
    let (_connector, seen) = configurable(&edge);
    let tunnel = edge.wait_for(2).await;
    let connections = tunnel.connections();
    tunnel.set_configuration(3, r#"{"good":1}"#).unwrap();
    connections[0].close();
    let (over, applied) = loop {
        match next(&mut events).await {
            Event::Configured { connection, applied } => break (connection, applied),
            Event::NotConfigured { reason, .. } => panic!("{reason}"),
            _ => {}
        }
    };
    assert_eq!(applied.version, 3);
    assert_eq!(over.connection, connections[1].registered().connection_id);
    assert_eq!(*seen.lock().unwrap(), [r#"{"good":1}"#]);
}

#[tokio::test]
async fn old_versions_change_nothing_and_who_takes_none_is_not_asked() {
    let edge = Edge::start();
    let (mut running, seen) = configurable(&edge);
    let tunnel = edge.wait_for(2).await;
    let connection = tunnel.connections().pop().unwrap();
    for (version, expected) in [(0, 0), (7, 7), (7, 7), (2, 7)] {
        let applied = connection.push_configuration(version, r#""good""#).await.unwrap();
        assert_eq!((applied.version, applied.rejection), (expected, None));
    }
    assert_eq!(seen.lock().unwrap().len(), 2);
    running.shut_down();
    connection.reached(Phase::Closed).await;

    let _running = connect(&edge, credentials(), 1, |_| async { Response::new(full("")) });
    let tunnel = edge.wait_for(1).await;
    let connection = tunnel.connections().pop().unwrap();
    let error = connection.push_configuration(8, "{}").await.unwrap_err();
    assert!(error.is_caller_fault(), "{error}");
    assert_eq!(connection.sent(), 0);
}

#[tokio::test]
async fn an_operator_hears_who_comes_and_goes_and_why() {
    let edge = Edge::start();
    let mut events = edge.router.events();
    let (mut running, _) = configurable(&edge);
    let tunnel = edge.wait_for(2).await;
    for _ in 0..2 {
        let Event::Connected(info) = next(&mut events).await else { panic!("connected first") };
        assert_eq!(info.tunnel, tunnel_id());
        assert!(info.features.iter().any(|feature| feature == "allow_remote_config"));
    }
    let connections = tunnel.connections();
    let first = connections.iter().find(|one| one.info().index == 0).unwrap();
    while first.local_configuration().is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(first.local_configuration().unwrap(), r#"{"ingress":[]}"#);
    assert_eq!(edge.router.connections().len(), 2);

    running.shut_down();
    let (mut draining, mut drained) = (0, 0);
    while drained < 2 {
        match next(&mut events).await {
            Event::Draining(_) => draining += 1,
            Event::Drained(info) => {
                assert_eq!(info.phase, Phase::Closed);
                drained += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(draining, 2);

    let running = connect(&edge, credentials(), 1, |_| async { Response::new(full("")) });
    edge.wait_for(1).await;
    assert!(matches!(next(&mut events).await, Event::Connected(_)));
    running.task.abort();
    let Event::Lost { reason, .. } = next(&mut events).await else { panic!("lost") };
    assert!(!reason.is_empty());
}

#[tokio::test]
async fn a_refusal_is_told_with_its_reason_and_source() {
    let edge = Edge::start();
    let mut events = edge.router.events();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let wrong = Credentials::new("a", tunnel_id(), TunnelSecret::new([8; 32]));
    let io = Mutex::new(Some(near));
    let dial = move |_| {
        let io = io.lock().unwrap().take();
        std::future::ready(io.ok_or_else(|| std::io::ErrorKind::ConnectionRefused.into()))
    };
    let builder = Connector::builder(wrong, dial).connections(1);
    let _running = start(builder, |_| async { Response::new(full("")) });
    let acceptor = Acceptor::new(authenticate);
    let source = "192.0.2.9:4000".parse().unwrap();
    let error = edge.router.accept(&acceptor, far, Some(source)).await.unwrap_err();
    assert!(error.refusal().is_some());
    let Event::Refused { source: told, reason } = next(&mut events).await else {
        panic!("refused")
    };
    assert_eq!(told, Some(source));
    assert!(reason.contains("Unauthorized"), "{reason}");
}
