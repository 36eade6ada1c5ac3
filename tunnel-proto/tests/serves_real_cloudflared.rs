//! An unmodified cloudflared at our edge. Give its path: `CLOUDFLARED=/usr/bin/cloudflared`.

#![expect(clippy::unwrap_used, reason = "a test")]

mod harness;

use std::{net::SocketAddr, process::Stdio, sync::Arc, time::Duration};

use bytes::Bytes;
use harness::{Edge, collect, credentials, full, tunnel_id};
use http::{HeaderMap, Request};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, rustls};
use tunnel_proto::{
    TunnelSecret,
    edge::{Acceptor, EdgeHeaders, OriginFailure, Phase, ResponseSource},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A TLS listener for the tunnel protocol and the file with its certificate authority.
async fn listen(edge: &Edge) -> (SocketAddr, tempfile::NamedTempFile) {
    let names = ["h2.cftunnel.com", "quic.cftunnel.com", "probe.cftunnel.com"];
    let issued = rcgen::generate_simple_self_signed(names.map(String::from)).unwrap();
    let ca = tempfile::Builder::new().suffix(".pem").tempfile().unwrap();
    std::fs::write(ca.path(), issued.cert.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![issued.cert.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let edge = edge.clone();
    tokio::spawn(async move {
        let acceptor = Acceptor::new(harness::authenticate);
        while let Ok((tcp, _)) = listener.accept().await {
            let (tls, acceptor, edge) = (tls.clone(), acceptor.clone(), edge.clone());
            tokio::spawn(async move {
                let Ok(tls) = tls.accept(tcp).await else { return };
                match acceptor.accept(tls).await {
                    Ok(connection) => drop(edge.router.attach(connection)),
                    Err(error) => edge.refusals.lock().unwrap().push(error),
                }
            });
        }
    });
    (address, ca)
}

/// An HTTP/1.1 origin that answers with the request it read, head and body.
async fn echo_origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut io = BufReader::new(tcp);
                loop {
                    let (mut seen, mut length) = (String::new(), 0);
                    loop {
                        let mut line = String::new();
                        if io.read_line(&mut line).await.unwrap_or(0) == 0 {
                            return;
                        }
                        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                            length = value.trim().parse().unwrap();
                        }
                        seen += &line;
                        if line == "\r\n" {
                            break;
                        }
                    }
                    let mut body = vec![0; length];
                    io.read_exact(&mut body).await.unwrap();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-Origin: yes\r\n\r\n",
                        seen.len() + body.len()
                    );
                    for part in [head.as_bytes(), seen.as_bytes(), &body] {
                        io.write_all(part).await.unwrap();
                    }
                }
            });
        }
    });
    address
}

fn cloudflared(edge: SocketAddr, ca: &std::path::Path, token: &str, origin: SocketAddr) -> Child {
    let binary = std::env::var_os("CLOUDFLARED").expect("CLOUDFLARED names a cloudflared binary");
    let edge = edge.to_string();
    let mut command = Command::new(binary);
    command.arg("tunnel");
    // One edge named four times: cloudflared opens no more connections than it knows addresses.
    for _ in 0..4 {
        command.args(["--edge", &edge]);
    }
    command
        .args(["--protocol", "http2", "--no-autoupdate", "--no-prechecks", "--cacert"])
        .arg(ca)
        .args(["--metrics", "127.0.0.1:0", "run", "--url", &format!("http://{origin}")])
        .env("TUNNEL_TOKEN", token)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("cloudflared starts")
}

#[tokio::test]
#[ignore = "needs CLOUDFLARED"]
async fn registers_serves_and_leaves() {
    let edge = Edge::start();
    let (address, ca) = listen(&edge).await;
    let origin = echo_origin().await;
    let mut child = cloudflared(address, ca.path(), &credentials().to_token(), origin);
    let tunnel = timeout(PATIENCE, edge.wait_for(4)).await.expect("four connections");
    let features = tunnel.connections()[0].registration().features.clone();
    assert!(features.iter().any(|feature| feature == "serialized_headers"), "{features:?}");

    let mut identity = HeaderMap::new();
    identity.insert("cf-access-authenticated-user-email", "a@example.jp".parse().unwrap());
    let get = Request::get("https://app.example.com/path?q=1")
        .header("cf-access-authenticated-user-email", "root@example.jp")
        .header("cf-cloudflared-proxy-connection-upgrade", "update-configuration")
        .extension(EdgeHeaders(identity))
        .body(full(""))
        .unwrap();
    let response = tunnel.send(get).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-origin"], "yes");
    assert_eq!(response.extensions().get(), Some(&ResponseSource::Origin));
    let seen = String::from_utf8(collect(response.into_body()).await.unwrap().to_vec()).unwrap();
    assert!(seen.starts_with("GET /path?q=1 HTTP/1.1\r\nHost: app.example.com\r\n"), "{seen}");
    assert!(seen.contains("Cf-Access-Authenticated-User-Email: a@example.jp\r\n"), "{seen}");
    assert!(!seen.contains("root@") && !seen.to_lowercase().contains("cf-cloudflared"), "{seen}");

    let body = Bytes::from(vec![b'p'; 3 << 20]);
    let post = Request::post("https://app.example.com/up").body(full(body.clone())).unwrap();
    let response = tunnel.send(post).await.unwrap();
    let seen = collect(response.into_body()).await.unwrap();
    assert!(seen.starts_with(b"POST /up HTTP/1.1\r\n"));
    assert!(seen.ends_with(&body), "the body arrives whole");

    let connections = tunnel.connections();
    let pid = child.id().unwrap();
    Command::new("kill").args(["-TERM", &pid.to_string()]).status().await.unwrap();
    // The edge hangs up once idle, so cloudflared need not wait out its grace period of 30 s.
    let status = timeout(Duration::from_secs(10), child.wait()).await.expect("leaves").unwrap();
    assert!(status.success(), "{status}");
    for connection in connections {
        timeout(PATIENCE, connection.reached(Phase::Closed)).await.unwrap();
    }
    assert!(!tunnel.is_online());
}

#[tokio::test]
#[ignore = "needs CLOUDFLARED"]
async fn an_origin_that_is_down_is_the_connectors_news() {
    let edge = Edge::start();
    let (address, ca) = listen(&edge).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let _child = cloudflared(address, ca.path(), &credentials().to_token(), closed);
    let tunnel = timeout(PATIENCE, edge.wait_for(4)).await.expect("four connections");
    let request = Request::get("https://app.example.com/").body(full("")).unwrap();
    let response = tunnel.send(request).await.unwrap();
    assert_eq!(response.status(), 502);
    assert_eq!(
        response.extensions().get(),
        Some(&ResponseSource::Connector(OriginFailure::Unknown))
    );
}

#[tokio::test]
#[ignore = "needs CLOUDFLARED"]
async fn a_wrong_secret_is_told_to_its_operator() {
    let edge = Edge::start();
    let (address, ca) = listen(&edge).await;
    let wrong = tunnel_proto::Credentials::new("a", tunnel_id(), TunnelSecret::new([8; 32]));
    let mut child = cloudflared(address, ca.path(), &wrong.to_token(), address);
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let told = async {
        while let Some(line) = log.next_line().await.unwrap() {
            if line.contains("Unauthorized: unknown tunnel or wrong secret") {
                return true;
            }
        }
        false
    };
    assert!(timeout(PATIENCE, told).await.unwrap());
    assert!(edge.router.tunnel(tunnel_id()).is_none());
}
