//! WebSockets through web origins, TCP services behind WebSockets, and interim responses.

#![expect(clippy::unwrap_used, reason = "a test")]
#![cfg(feature = "ingress")]

mod harness;
mod ingress_harness;

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use ingress_harness::{Authority, environment, get, serve};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{
            CloseFrame, Role, WebSocketConfig,
            frame::{
                Frame,
                coding::{CloseCode, Data, OpCode},
            },
        },
    },
};
use tunnel_proto::{
    edge::{EdgeHeaders, Incoming, OnInterim, ResponseSource, Tunnel, Upgrade},
    ingress::{Environment, Ingress},
    origin::OriginFailure,
};

const APP: &str = "https://app.example.com/socket?x=1";

fn handshake() -> http::request::Builder {
    Request::get(APP)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", "chat")
}

async fn open(
    tunnel: &Tunnel,
    request: http::request::Builder,
) -> WebSocketStream<impl AsyncRead + AsyncWrite + Unpin> {
    let Upgrade::Accepted(response, io) = tunnel.upgrade(request.body(()).unwrap()).await.unwrap()
    else {
        panic!("declined");
    };
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let any_size = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    WebSocketStream::from_raw_socket(io, Role::Client, Some(any_size)).await
}

async fn declined(tunnel: &Tunnel, request: http::request::Builder) -> Response<Incoming> {
    match tunnel.upgrade(request.body(()).unwrap()).await.unwrap() {
        Upgrade::Declined(response) => response,
        Upgrade::Accepted(..) => panic!("accepted"),
    }
}

/// A web server that agrees to WebSockets and echoes their messages, and sends 103 before pages.
async fn echo(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
    let service =
        hyper::service::service_fn(async |mut request: Request<hyper::body::Incoming>| {
            let headers = request.headers();
            if request.uri().path() == "/no" {
                let mut refusal = Response::new(Full::<Bytes>::from("not today"));
                *refusal.status_mut() = StatusCode::FORBIDDEN;
                return Ok::<_, Infallible>(refusal);
            }
            assert_eq!(request.version(), http::Version::HTTP_11);
            assert_eq!(
                (&headers["host"], &headers["upgrade"]),
                (&"app.example.com".parse().unwrap(), &"websocket".parse().unwrap())
            );
            assert_eq!(
                (&headers["sec-websocket-version"], &headers["sec-websocket-protocol"]),
                (&"13".parse().unwrap(), &"chat".parse().unwrap())
            );
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let io = TokioIo::new(upgrade.await.unwrap());
                let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_binary() || message.is_text() {
                        socket.send(message).await.unwrap();
                    }
                }
            });
            let response = Response::builder()
                .status(101)
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
                .header("sec-websocket-protocol", "chat");
            Ok(response.body(Full::default()).unwrap())
        });
    let server = hyper::server::conn::http1::Builder::new();
    let _ = server.serve_connection(TokioIo::new(io), service).with_upgrades().await;
}

async fn talk(socket: &mut WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>) {
    let big = Bytes::from(vec![b'x'; 1_000_000]);
    for message in [Message::text("hello"), Message::binary(big)] {
        socket.send(message.clone()).await.unwrap();
        assert!(socket.next().await.unwrap().unwrap() == message);
    }
    let goodbye = CloseFrame { code: CloseCode::Away, reason: "bye".into() };
    socket.close(Some(goodbye.clone())).await.unwrap();
    let Some(Ok(Message::Close(answer))) = socket.next().await else { panic!("no close") };
    assert_eq!(answer, Some(goodbye));
    assert!(socket.next().await.is_none(), "then it ends");
}

#[tokio::test]
async fn a_websocket_reaches_web_origins_of_every_kind() {
    let authority = Authority::new();
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sealed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, tls_port) =
        (plain.local_addr().unwrap().port(), sealed.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((io, _)) = plain.accept().await {
            tokio::spawn(echo(io));
        }
    });
    // It would speak HTTP/2; a WebSocket must ask for HTTP/1.1.
    let tls = authority.server("origin.test", &["h2", "http/1.1"]);
    tokio::spawn(async move {
        while let Ok((io, _)) = sealed.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move { echo(tls.accept(io).await.unwrap()).await });
        }
    });
    for (service, options) in [
        (format!("http://127.0.0.1:{port}"), ""),
        (format!("ws://127.0.0.1:{port}"), "http2Origin: true"),
        (format!("wss://127.0.0.1:{tls_port}"), "noTLSVerify: true, http2Origin: true"),
        (format!("https://127.0.0.1:{tls_port}"), "noTLSVerify: true"),
    ] {
        let yaml = format!("ingress: [{{service: '{service}', originRequest: {{{options}}}}}]");
        let ingress = Ingress::from_yaml(&yaml, environment()).unwrap();
        let (tunnel, _running) = serve(&ingress).await;
        let mut socket = open(&tunnel, handshake()).await;
        // Rules that change leave an open one alone.
        ingress.replace(br#"{"ingress": [{"service": "http_status:404"}]}"#).unwrap();
        talk(&mut socket).await;
    }
}

#[tokio::test]
async fn a_refused_websocket_is_the_origins_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            tokio::spawn(echo(io));
        }
    });
    let yaml = format!("ingress: [{{service: 'http://127.0.0.1:{port}'}}]");
    let (tunnel, _running) = serve(&Ingress::from_yaml(&yaml, Environment::new()).unwrap()).await;
    let response = declined(&tunnel, handshake().uri("https://app.example.com/no")).await;
    assert_eq!(response.status(), 403);
    assert_eq!(ingress_harness::text(response).await, "not today");
}

#[tokio::test]
async fn an_origins_early_hints_reach_the_edge() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut io, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = io.read(&mut request).await.unwrap();
        io.write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n")
            .await
            .unwrap();
        io.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        let _ = io.read(&mut request).await;
    });
    let yaml = format!("ingress: [{{service: 'http://127.0.0.1:{port}'}}]");
    let (tunnel, _running) = serve(&Ingress::from_yaml(&yaml, Environment::new()).unwrap()).await;
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = Arc::clone(&seen);
    let request = Request::get(APP).extension(OnInterim::new(move |head| {
        heard.lock().unwrap().push((head.status(), head.headers()["link"].clone()));
    }));
    let response = tunnel.send(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    let hints = (StatusCode::EARLY_HINTS, "</a.css>; rel=preload".parse().unwrap());
    assert_eq!(*seen.lock().unwrap(), [hints]);
}

/// A TCP service that sends back what it gets.
async fn tcp_echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut io, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = io.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    port
}

/// Reads binary messages until `length` bytes have come.
async fn read(
    socket: &mut WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>,
    length: usize,
) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < length {
        match timeout(Duration::from_secs(300), socket.next()).await.unwrap().unwrap().unwrap() {
            Message::Binary(data) => all.extend(data),
            Message::Pong(payload) => assert_eq!(payload, "are you there?"),
            other => panic!("{other:?}"),
        }
    }
    all
}

#[tokio::test]
async fn messages_of_any_size_and_in_any_parts_reach_a_tcp_service() {
    let port = tcp_echo().await;
    let yaml = format!("ingress: [{{service: 'ssh://127.0.0.1:{port}'}}]");
    let (tunnel, _running) = serve(&Ingress::from_yaml(&yaml, Environment::new()).unwrap()).await;
    let mut socket = open(&tunnel, handshake()).await;
    for size in [1, 125, 126, 4_096, 16_384, 16_385, 40_000, 65_536, 3_000_000] {
        let sent: Vec<u8> = (0..=255).cycle().take(size).collect();
        let (mut writer, mut reader) = socket.split();
        let data = Bytes::from(sent.clone());
        let write = writer.send(Message::binary(data));
        let collect = async {
            let mut all = Vec::new();
            while all.len() < size {
                all.extend(reader.next().await.unwrap().unwrap().into_data());
            }
            all
        };
        let (wrote, all) = tokio::join!(write, collect);
        wrote.unwrap();
        assert!(all == sent, "{size}");
        socket = writer.reunite(reader).unwrap();
    }
    let parts: [(OpCode, &[u8], bool); 3] = [
        (OpCode::Data(Data::Text), b"one, ", false),
        (OpCode::Data(Data::Continue), b"", false),
        (OpCode::Data(Data::Continue), b"two", true),
    ];
    for (kind, payload, is_final) in parts {
        let frame = Frame::message(Bytes::from_static(payload), kind, is_final);
        socket.send(Message::Frame(frame)).await.unwrap();
        socket.send(Message::Ping("are you there?".into())).await.unwrap();
    }
    assert_eq!(read(&mut socket, 8).await, b"one, two");
    socket.close(None).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        assert!(message.is_close() || message.is_pong(), "{message:?}");
    }
}

#[tokio::test]
async fn a_tcp_service_that_ends_closes_the_websocket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut io, _) = listener.accept().await.unwrap();
        io.write_all(&vec![b'x'; 100_000]).await.unwrap();
    });
    let yaml = format!("ingress: [{{service: 'tcp://127.0.0.1:{port}'}}]");
    let (tunnel, _running) = serve(&Ingress::from_yaml(&yaml, Environment::new()).unwrap()).await;
    let mut socket = open(&tunnel, handshake()).await;
    assert_eq!(read(&mut socket, 100_000).await.len(), 100_000, "not a byte is lost");
    let Some(Ok(Message::Close(Some(close)))) = socket.next().await else { panic!("no close") };
    assert_eq!(close.code, CloseCode::Normal);
}

#[tokio::test]
async fn a_tcp_service_says_what_it_is_to_those_without_a_websocket() {
    let yaml = "ingress: [{service: 'tcp://127.0.0.1:1'}]";
    let (tunnel, _running) = serve(&Ingress::from_yaml(yaml, Environment::new()).unwrap()).await;
    let (status, source, body) = get(&tunnel, APP).await;
    assert_eq!((status, source), (400, Some(ResponseSource::Origin)));
    assert!(body.contains("cloudflared access tcp"), "{body}");
    let response = declined(&tunnel, handshake()).await;
    assert_eq!(response.status(), 502);
    let unreachable = ResponseSource::Connector(OriginFailure::Unreachable);
    assert_eq!(response.extensions().get(), Some(&unreachable));
}

#[tokio::test]
async fn a_bastion_leads_where_the_request_says_and_the_rules_allow() {
    let (allowed, denied) = (tcp_echo().await, tcp_echo().await);
    let yaml = format!(
        "ingress: [{{service: bastion, originRequest: {{ipRules: \
         [{{prefix: 127.0.0.0/8, ports: [{allowed}], allow: true}}]}}}}]"
    );
    let (tunnel, _running) = serve(&Ingress::from_yaml(&yaml, Environment::new()).unwrap()).await;
    let to = |destination: String| {
        let mut headers = HeaderMap::new();
        headers.insert("cf-access-jump-destination", destination.parse().unwrap());
        handshake().extension(EdgeHeaders(headers))
    };
    for destination in [format!("127.0.0.1:{allowed}"), format!("ssh://127.0.0.1:{allowed}/x")] {
        let mut socket = open(&tunnel, to(destination)).await;
        socket.send(Message::binary("hello")).await.unwrap();
        assert_eq!(read(&mut socket, 5).await, b"hello");
    }
    for request in [
        handshake(),
        to(format!("127.0.0.1:{denied}")),
        to(format!("[::ffff:127.0.0.1]:{denied}")),
        to("127.0.0.1".into()),
        to("no such host:22".into()),
    ] {
        assert_eq!(declined(&tunnel, request).await.status(), 502);
    }
}
