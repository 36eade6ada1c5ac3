//! Requests of every kind through one connection.

use std::time::Duration;

use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tunnel_proto::edge::{EdgeHeaders, OriginFailure, ResponseSource};

use crate::{
    harness::{collect, full},
    rig::{
        Stage, bodies, connector::Cloudflared, edge::TlsEdge, origin::Origin, rows, soon, streams,
    },
};

async fn stage() -> (Stage, Cloudflared, TlsEdge) {
    let edge = TlsEdge::start().await;
    let origin = Origin::start().await;
    let cloudflared = Cloudflared::start(&edge, origin.address, 1);
    (Stage { tunnel: edge.wait_for(1).await, origin }, cloudflared, edge)
}

/// A row of the fidelity table, and what it must say.
pub(super) async fn row(name: &str, expected: &str) {
    let (mut stage, _cloudflared, _edge) = stage().await;
    let observed = rows::observe(&mut stage, name).await;
    assert_eq!(observed.len(), 1, "{observed:?}");
    assert_eq!(observed[0].1, expected);
}

pub(super) async fn tcp() {
    row("TCP flow", "the origin can go on, but hears of it at its own end only").await;
}

pub(super) async fn get() {
    let (mut stage, _cloudflared, _edge) = stage().await;
    let mut identity = HeaderMap::new();
    identity.insert("cf-access-authenticated-user-email", "a@example.jp".parse().unwrap());
    let request = Request::get("https://app.example.com/path?q=1")
        .header("cf-access-authenticated-user-email", "root@example.jp")
        .header("cf-cloudflared-proxy-connection-upgrade", "update-configuration")
        .extension(EdgeHeaders(identity))
        .body(full(""))
        .unwrap();
    let (response, exchange) = tokio::join!(stage.tunnel.send(request), async {
        let mut exchange = stage.origin.next().await.unwrap();
        exchange.head("200 OK\r\nX-Origin: yes\r\nContent-Length: 5").await.unwrap();
        exchange.write("hello").await.unwrap();
        exchange
    });
    let response = response.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-origin"], "yes");
    assert_eq!(response.extensions().get(), Some(&ResponseSource::Origin));
    assert_eq!(collect(response.into_body()).await.unwrap(), "hello");
    assert_eq!(exchange.request_line(), "GET /path?q=1 HTTP/1.1");
    assert_eq!(exchange.values("host"), [b"app.example.com"]);
    assert_eq!(exchange.values("cf-access-authenticated-user-email"), [b"a@example.jp"]);
    assert!(!exchange.names().iter().any(|name| name.starts_with("cf-cloudflared")));
}

pub(super) async fn post() {
    let (mut stage, _cloudflared, _edge) = stage().await;
    let body = vec![b'p'; 3 << 20];
    let request = bodies::post("/up").body(full(body.clone())).unwrap();
    let visit = async { stage.tunnel.send(request).await.unwrap().into_body().collect().await };
    let (answer, ()) = tokio::join!(visit, async {
        let mut exchange = stage.origin.next().await.unwrap();
        assert_eq!(exchange.values("content-length"), [b"3145728"]);
        let received = soon(exchange.read_exactly(3 << 20)).await.unwrap().unwrap();
        exchange.head("200 OK\r\nContent-Length: 3145728").await.unwrap();
        exchange.write(received).await.unwrap();
    });
    assert!(answer.unwrap().to_bytes() == body, "the body arrives whole");
}

/// Sizes on both sides of each of the WebSocket's length forms and of 16 KiB; the bytes are not
/// frames, which a connector must not look at.
pub(super) async fn websocket() {
    let (mut stage, _cloudflared, _edge) = stage().await;
    let (mut io, mut exchange) = streams::open(&mut stage).await.unwrap();
    for size in [1, 125, 126, 16_384, 16_385, 65_535, 65_536, 1 << 20] {
        let sent: Vec<u8> = (0..size).map(|at: usize| at.to_le_bytes()[at % 3]).collect();
        let (mut reader, mut writer) = tokio::io::split(&mut io);
        let mut echoed = vec![0; size];
        let echo = async {
            let mut left = size;
            let mut buffer = vec![0; 64 * 1024];
            while left > 0 {
                let read = exchange.read(&mut buffer).await.unwrap();
                assert_ne!(read, 0);
                exchange.write(&buffer[..read]).await.unwrap();
                left -= read;
            }
        };
        let visit = async {
            tokio::try_join!(writer.write_all(&sent), reader.read_exact(&mut echoed)).unwrap();
        };
        soon(async { tokio::join!(visit, echo) }).await.unwrap();
        assert!(echoed == sent, "{size} bytes");
    }
    drop(io);
    soon(exchange.closed()).await.unwrap();
}

pub(super) async fn origin_is_down() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let edge = TlsEdge::start().await;
    let _cloudflared = Cloudflared::start(&edge, closed, 1);
    let tunnel = edge.wait_for(1).await;
    let request = bodies::get("/").body(full("")).unwrap();
    let sent = tokio::time::timeout(Duration::from_secs(60), tunnel.send(request));
    let response = sent.await.unwrap().unwrap();
    assert_eq!(response.status(), 502);
    let source = response.extensions().get();
    assert_eq!(source, Some(&ResponseSource::Connector(OriginFailure::Unknown)));
}
