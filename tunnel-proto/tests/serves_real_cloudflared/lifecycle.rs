//! Edges that go away, and connectors that take their leave.

use std::{os::unix::process::ExitStatusExt as _, sync::Arc, time::Duration};

use tokio::time::timeout;
use tunnel_proto::edge::Phase;

use crate::{
    harness::{collect, full},
    rig::{PATIENCE, bodies::get, connector::Cloudflared, edge::TlsEdge, origin::Origin, soon},
};

/// Half of cloudflared's grace period: who leaves by then was let go.
const BEFORE_GRACE: Duration = Duration::from_secs(15);

pub(super) async fn edge_restart() {
    let edge = TlsEdge::start().await;
    let mut origin = Origin::start().await;
    let _cloudflared = Cloudflared::start(&edge, origin.address, 2);
    let tunnel = edge.wait_for(2).await;
    edge.stop();
    for connection in tunnel.connections() {
        timeout(PATIENCE, connection.reached(Phase::Closed)).await.unwrap();
    }
    edge.restart().await;
    let tunnel = edge.wait_for(2).await;
    let request = get("/").body(full("")).unwrap();
    let (response, ()) = tokio::join!(tunnel.send(request), async {
        origin.next().await.unwrap().head("204 No Content").await.unwrap();
    });
    assert_eq!(response.unwrap().status(), 204);
}

pub(super) async fn terminated_in_flight() {
    let edge = TlsEdge::start().await;
    let mut origin = Origin::start().await;
    let mut cloudflared = Cloudflared::start(&edge, origin.address, 2);
    let tunnel = edge.wait_for(2).await;
    let mut answers = Vec::new();
    let mut exchanges = Vec::new();
    for _ in 0..8 {
        let tunnel = Arc::clone(&tunnel);
        answers.push(tokio::spawn(async move {
            let response = tunnel.send(get("/").body(full("")).unwrap()).await.unwrap();
            collect(response.into_body()).await.unwrap()
        }));
        exchanges.push(origin.next().await.unwrap());
    }
    // Half of them have begun to answer.
    for exchange in &mut exchanges[..4] {
        exchange.head("200 OK\r\nTransfer-Encoding: chunked").await.unwrap();
        exchange.chunk("he").await.unwrap();
    }
    let connections = tunnel.connections();
    cloudflared.signal("TERM").await;
    for connection in &connections {
        timeout(PATIENCE, connection.reached(Phase::Draining)).await.unwrap();
    }
    for exchange in &mut exchanges[..4] {
        exchange.chunk("llo").await.unwrap();
        exchange.chunk("").await.unwrap();
    }
    for exchange in &mut exchanges[4..] {
        exchange.head("200 OK\r\nContent-Length: 5").await.unwrap();
        exchange.write("hello").await.unwrap();
    }
    for answer in answers {
        assert_eq!(soon(answer).await.unwrap().unwrap(), "hello");
    }
    let status = timeout(BEFORE_GRACE, cloudflared.child.wait()).await.expect("leaves").unwrap();
    assert!(status.success(), "{status}");
    assert!(!tunnel.is_online());
}

pub(super) async fn terminated_idle() {
    let edge = TlsEdge::start().await;
    let origin = Origin::start().await;
    let mut cloudflared = Cloudflared::start(&edge, origin.address, 4);
    let connections = edge.wait_for(4).await.connections();
    cloudflared.signal("TERM").await;
    // The edge hangs up, so cloudflared need not wait out its grace period of 30 s.
    let status = timeout(BEFORE_GRACE, cloudflared.child.wait()).await.expect("leaves").unwrap();
    assert!(status.success(), "{status}");
    for connection in connections {
        timeout(PATIENCE, connection.reached(Phase::Closed)).await.unwrap();
    }
    assert!(!edge.tunnel().is_online());
}

pub(super) async fn terminated_twice() {
    let edge = TlsEdge::start().await;
    let mut origin = Origin::start().await;
    let mut cloudflared = Cloudflared::start(&edge, origin.address, 1);
    let tunnel = edge.wait_for(1).await;
    let answer = tokio::spawn({
        let tunnel = Arc::clone(&tunnel);
        async move { tunnel.send(get("/").body(full("")).unwrap()).await }
    });
    let _exchange = origin.next().await.unwrap();
    cloudflared.signal("TERM").await;
    timeout(PATIENCE, tunnel.connections()[0].reached(Phase::Draining)).await.unwrap();
    assert!(cloudflared.child.try_wait().unwrap().is_none(), "it waits for the request");
    cloudflared.signal("TERM").await;
    let status = timeout(BEFORE_GRACE, cloudflared.child.wait()).await.expect("dies").unwrap();
    assert_eq!(status.signal(), Some(15), "{status}");
    // The visitor hears of it, at once.
    assert!(soon(answer).await.unwrap().unwrap().is_err());
    assert!(!tunnel.is_online());
}
