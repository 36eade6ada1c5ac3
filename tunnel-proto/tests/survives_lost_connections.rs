//! Connections that are lost, edges that go away for a day: on tokio's own clock, which jumps to the
//! next deadline whenever everybody waits.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod harness;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use harness::{AnyBody, Edge, Running, collect, connect, credentials, full};
use http::{Method, Request, Response};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tunnel_proto::{
    connector::{Event, Incoming},
    edge::Tunnel,
};

/// Answers after 50 ms with the path it was asked for, and counts how often each path came.
fn slow_origin(
    seen: Arc<Mutex<HashMap<String, usize>>>,
) -> impl Fn(Request<Incoming>) -> std::pin::Pin<Box<dyn Future<Output = Response<AnyBody>> + Send>>
+ Clone
+ Send
+ Sync {
    move |request| {
        let path = request.uri().path().to_owned();
        *seen.lock().unwrap().entry(path.clone()).or_default() += 1;
        Box::pin(async move {
            sleep(Duration::from_millis(50)).await;
            Response::new(full(path))
        })
    }
}

fn request(method: &Method, number: usize) -> Request<AnyBody> {
    let uri = format!("https://app.example.com/{method}/{number}");
    let body = if *method == Method::POST { "order" } else { "" };
    Request::builder().method(method).uri(uri).body(full(body)).unwrap()
}

/// Sends 600 requests, three each ten milliseconds, and gives how many of them failed.
async fn load(tunnel: &Arc<Tunnel>, method: Method) -> usize {
    let mut requests = JoinSet::new();
    for number in 0..600 {
        let (tunnel, request) = (Arc::clone(tunnel), request(&method, number));
        requests.spawn(async move {
            let expected = request.uri().path().to_owned();
            let response = tunnel.send(request).await?;
            assert_eq!(collect(response.into_body()).await?, expected);
            Ok::<(), tunnel_proto::Error>(())
        });
        if number % 3 == 2 {
            sleep(Duration::from_millis(10)).await;
        }
    }
    let results = requests.join_all().await;
    results.iter().filter(|result| result.is_err()).count()
}

#[tokio::test(start_paused = true)]
async fn losing_any_one_connection_loses_no_request_that_may_be_repeated() {
    for index in 0..4 {
        let seen = Arc::default();
        let edge = Edge::start();
        let _running = connect(&edge, credentials(), 4, slow_origin(Arc::clone(&seen)));
        let tunnel = edge.wait_for(4).await;
        let loss = async {
            sleep(Duration::from_millis(700)).await;
            let connections = tunnel.connections();
            let lost = connections.iter().find(|one| one.info().index == index).unwrap();
            assert!(lost.in_flight() > 0, "it is lost under load");
            lost.close();
        };
        let (failed, ()) = tokio::join!(load(&tunnel, Method::GET), loss);
        assert_eq!(failed, 0, "connection {index}");
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 600);
        assert!(seen.values().all(|times| *times <= 2));
        assert!(seen.values().any(|times| *times == 2), "some were under way");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_may_not_be_repeated_is_sent_once_and_fails() {
    let seen = Arc::default();
    let edge = Edge::start();
    let _running = connect(&edge, credentials(), 4, slow_origin(Arc::clone(&seen)));
    let tunnel = edge.wait_for(4).await;
    let loss = async {
        sleep(Duration::from_millis(700)).await;
        tunnel.connections()[0].close();
    };
    let (failed, ()) = tokio::join!(load(&tunnel, Method::POST), loss);
    assert!((1..20).contains(&failed), "{failed}");
    let seen = seen.lock().unwrap();
    assert!(seen.values().all(|times| *times == 1), "no order is placed twice");
}

/// The waits that a connector announces, until `until`.
async fn waits(running: &mut Running, until: Instant) -> Vec<(Instant, Duration)> {
    let mut waits = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout_at(until, running.events.recv()).await {
        if let Event::Retrying { after, .. } = event {
            waits.push((Instant::now(), after));
        }
    }
    waits
}

#[tokio::test(start_paused = true)]
async fn a_day_without_an_edge_never_stops_never_bursts_and_ends_soon_after_it_is_back() {
    let edge = Edge::start();
    let mut running = connect(&edge, credentials(), 1, |_| async { Response::new(full("")) });
    edge.wait_for(1).await;
    edge.take_away();
    let away = Instant::now();
    let day = Duration::from_secs(24 * 3600);
    let waits = waits(&mut running, away + day).await;
    assert!(waits.iter().all(|(_, after)| *after <= Duration::from_secs(60)));
    let gaps: Vec<_> = waits.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(gaps.iter().all(|gap| *gap <= Duration::from_secs(61)), "it never stops");
    assert!(gaps.iter().all(|gap| *gap >= Duration::from_millis(490)), "it never bursts");
    assert!((1_400..3_000).contains(&waits.len()), "{}", waits.len());
    edge.bring_back();
    edge.wait_for(1).await;
    assert!(away.elapsed() <= day + Duration::from_secs(61));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_connectors_come_back_spread_over_their_backoff_window() {
    const CONNECTORS: usize = 1_000;
    let edge = Edge::start();
    let mut running: Vec<Running> = (0..CONNECTORS)
        .map(|_| connect(&edge, credentials(), 1, |_| async { Response::new(full("")) }))
        .collect();
    let tunnel = edge.wait_for(CONNECTORS).await;
    edge.take_away();
    // Away for five minutes: the window of a wait is then 19 to 37 seconds wide.
    sleep(Duration::from_secs(300)).await;
    while !tunnel.connections().is_empty() {
        sleep(Duration::from_millis(100)).await;
    }
    edge.bring_back();
    let mut seconds = [0_usize; 61];
    let mut before = 0;
    for second in &mut seconds {
        sleep(Duration::from_secs(1)).await;
        let now = tunnel.connections().len();
        *second = now - before;
        before = now;
    }
    assert_eq!(before, CONNECTORS, "all are back within a minute");
    let busiest = seconds.iter().max().unwrap();
    // An even spread over 37 seconds is 27 a second; all at once would be a thousand.
    assert!(*busiest <= 80, "{seconds:?}");
    for connector in &mut running {
        connector.task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn an_edge_that_hangs_up_after_each_yes_is_dialed_less_and_less() {
    let edge = Edge::start();
    let mut events = edge.router.events();
    let _connector = connect(&edge, credentials(), 1, |_| async { Response::new(full("")) });
    let (start, mut registrations) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(600) {
        if let tunnel_proto::edge::Event::Connected(_) = events.next().await.unwrap() {
            registrations += 1;
            for connection in edge.tunnel().connections() {
                connection.close();
            }
        }
    }
    assert!((10..100).contains(&registrations), "{registrations} in ten minutes");
}
