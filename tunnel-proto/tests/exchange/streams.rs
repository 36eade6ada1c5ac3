//! WebSockets.

use std::io::ErrorKind;

use http::{Request, Response, StatusCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    time::timeout,
};
use tunnel_proto::{
    TunnelIo,
    connector::OnUpgrade,
    edge::{Incoming, Upgrade},
};

use super::{PATIENCE, Way};
use crate::harness::{AnyBody, collect, full};

pub fn handshake() -> Request<()> {
    Request::get("https://app.example.com/socket?x=1")
        .header("connection", "keep-alive, Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat")
        .body(())
        .unwrap()
}

pub fn switching() -> Response<AnyBody> {
    Response::builder()
        .status(101)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        .header("sec-websocket-protocol", "chat")
        .body(full(""))
        .unwrap()
}

/// Agrees, and hands the bytes to the test.
pub fn agree(
    taken: mpsc::UnboundedSender<TunnelIo>,
) -> impl Fn(Request<Incoming>) -> std::future::Ready<Response<AnyBody>> + Clone {
    move |mut request| {
        let seen = request.headers();
        assert_eq!(seen["connection"], "Upgrade");
        assert_eq!(seen["upgrade"], "websocket");
        assert_eq!(seen["sec-websocket-key"], "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(seen["sec-websocket-version"], "13");
        assert_eq!(seen["sec-websocket-protocol"], "chat");
        assert_eq!(seen["host"], "app.example.com");
        assert_eq!(seen.len(), 6, "{seen:?}");
        let on_upgrade = request.extensions_mut().remove::<OnUpgrade>().unwrap();
        let taken = taken.clone();
        tokio::spawn(async move { drop(taken.send(on_upgrade.await.unwrap())) });
        std::future::ready(switching())
    }
}

pub fn accepted(upgrade: Upgrade) -> (Response<()>, TunnelIo) {
    match upgrade {
        Upgrade::Accepted(response, io) => (response, io),
        Upgrade::Declined(response) => panic!("{response:?}"),
    }
}

/// Both ends of a WebSocket, the visitor's with the head that opened it.
async fn open(
    way: &impl Way,
    origins: &mut mpsc::UnboundedReceiver<TunnelIo>,
) -> (Response<()>, TunnelIo, TunnelIo) {
    let upgrade = timeout(PATIENCE, way.upgrade(handshake())).await.unwrap().unwrap();
    let (response, visitor) = accepted(upgrade);
    let origin = timeout(PATIENCE, origins.recv()).await.unwrap().unwrap();
    (response, visitor, origin)
}

pub async fn a_websocket_opens_carries_and_ends_one_direction_at_a_time<W: Way>() {
    let (taken, mut origins) = mpsc::unbounded_channel();
    let way = W::to(agree(taken)).await;
    let (response, mut visitor, mut origin) = open(&way, &mut origins).await;
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

    visitor.write_all(b"ping").await.unwrap();
    let mut seen = [0; 4];
    origin.read_exact(&mut seen).await.unwrap();
    assert_eq!(&seen, b"ping");
    assert_eq!(way.connection().in_flight(), 1);

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
    let error = visitor.write_all(b"late").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

pub async fn a_side_that_vanishes_is_an_error_and_not_an_end<W: Way>() {
    let (taken, mut origins) = mpsc::unbounded_channel();
    let way = W::to(agree(taken)).await;
    let mut byte = [0];
    let (_, visitor, mut origin) = open(&way, &mut origins).await;
    drop(visitor);
    let error = timeout(PATIENCE, origin.read(&mut byte)).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    let (_, mut visitor, origin) = open(&way, &mut origins).await;
    drop(origin);
    let error = timeout(PATIENCE, visitor.read(&mut byte)).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

pub async fn an_origin_may_decline_and_a_plain_200_is_no_upgrade<W: Way>() {
    for status in [403, 200] {
        let way = W::to(move |_| async move {
            Response::builder().status(status).body(full("not here")).unwrap()
        })
        .await;
        let declined = timeout(PATIENCE, way.upgrade(handshake())).await.unwrap();
        let Upgrade::Declined(response) = declined.unwrap() else { panic!("nobody agreed") };
        assert_eq!(response.status(), status);
        assert_eq!(collect(response.into_body()).await.unwrap(), "not here");
    }
}

pub async fn only_a_handshake_becomes_a_websocket<W: Way>() {
    let way = W::to(|_| async { panic!("never asked") }).await;
    let mut plain = handshake();
    plain.headers_mut().remove("upgrade");
    assert!(way.upgrade(plain).await.unwrap_err().is_caller_fault());
    assert_eq!(way.connection().sent(), 0);
}
