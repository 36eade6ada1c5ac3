//! Who may use the channel between nodes, and what a visitor can't do to it.

#![cfg(feature = "cluster")]
#![expect(clippy::unwrap_used, reason = "a test")]

mod harness;
mod nodes;

use std::{sync::Arc, time::Duration};

use harness::{collect, full};
use http::{Request, Response};
use nodes::{Authority, Identity, PATIENCE, TestNode, announced, is_node, name, tunnel};
use rustls_pki_types::ServerName;
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream, rustls::ClientConfig};
use tunnel_proto::{
    Error, TunnelId,
    cluster::{Cluster, Directory as _, Forwarder, MemoryDirectory, Node, Receiver},
    edge::{Incoming, Router},
};

const LEASE: Duration = Duration::from_secs(600);

async fn hello(_: Request<Incoming>) -> Response<harness::AnyBody> {
    Response::new(full("hello"))
}

fn get() -> Request<harness::AnyBody> {
    Request::get("https://app.example.com/").body(full("")).unwrap()
}

async fn answer(node: &TestNode) -> Result<String, Error> {
    let response = timeout(PATIENCE, node.cluster.send(tunnel(), get())).await.unwrap()?;
    let body = collect(response.into_body()).await?;
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_visitor_cannot_name_another_tunnel_or_another_hop() {
    let (authority, directory) = (Authority::new(), Arc::new(MemoryDirectory::new()));
    let a = TestNode::start(&authority, "a", Arc::clone(&directory)).await;
    let mut b = TestNode::start(&authority, "b", Arc::clone(&directory)).await;
    let other = TunnelId::from_bytes([0x22; 16]);
    b.connect(tunnel(), |request: Request<Incoming>| async move {
        let names: Vec<_> = request.headers().keys().map(ToString::to_string).collect();
        Response::new(full(names.join(" ")))
    })
    .await;
    b.connect(other, |_| async { Response::new(full("the other tunnel")) }).await;
    announced(&directory, tunnel(), 1).await;
    for (name, value) in [
        ("cf-int-node-tunnel", other.to_string()),
        ("cf_int_node_tunnel", other.to_string()),
        ("cf-int-node-hop", "2".into()),
        ("cf-int-node-hop", "0".into()),
        ("cf-int-node-source", "origin".into()),
        ("cf-int-node-refusal", "offline".into()),
        ("cf-cloudflared-proxy-connection-upgrade", "control-stream".into()),
    ] {
        let mut request = get();
        request.headers_mut().append(name, value.parse().unwrap());
        request.headers_mut().append("connection", format!("close, {name}").parse().unwrap());
        let response = a.cluster.send(tunnel(), request).await.unwrap();
        assert_eq!(collect(response.into_body()).await.unwrap(), "host", "{name}");
    }
}

#[tokio::test]
async fn a_node_never_hands_on_what_it_was_handed() {
    let (authority, directory) = (Authority::new(), Arc::new(MemoryDirectory::new()));
    let a = TestNode::start(&authority, "a", Arc::clone(&directory)).await;
    let b = TestNode::start(&authority, "b", Arc::clone(&directory)).await;
    // Node C has the connector, but A believes that B does.
    let elsewhere = Arc::new(MemoryDirectory::new());
    let mut c = TestNode::start(&authority, "c", Arc::clone(&elsewhere)).await;
    c.connect(tunnel(), hello).await;
    announced(&elsewhere, tunnel(), 1).await;
    directory.announce(&b.node, &[(tunnel(), 1)], LEASE).await.unwrap();
    // B itself would find C.
    let b_identity = authority.identity(name("b").as_str());
    let forwarder = Forwarder::new(&b_identity.client);
    let of_b = Cluster::new(name("b"), Arc::clone(&b.router), elsewhere, forwarder);
    assert!(of_b.send(tunnel(), get()).await.is_ok());
    assert!(answer(&a).await.unwrap_err().is_offline());
    assert_eq!(c.router.tunnel(tunnel()).unwrap().connections()[0].sent(), 1);
}

/// Speaks to a node as an HTTP/2 client of its own making.
async fn dial(node: &Node, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(node.address()).await?;
    let server_name = ServerName::try_from(node.name().as_str().to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(server_name, tcp).await
}

fn with_alpn(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![Receiver::ALPN.to_vec()];
    config
}

/// Whether a client with this configuration gets an answer to a well-formed request.
async fn is_served(node: &Node, config: ClientConfig, hop: &str) -> Option<u16> {
    let io = dial(node, config).await.ok()?;
    let (requests, connection) = h2::client::handshake(io).await.ok()?;
    let driver = tokio::spawn(connection);
    let request = Request::get("https://app.example.com/")
        .header("cf-int-node-tunnel", tunnel().to_string())
        .header("cf-int-node-hop", hop)
        .body(())
        .unwrap();
    let sent = requests.ready().await.ok()?.send_request(request, true);
    let response = sent.ok()?.0.await;
    driver.abort();
    Some(response.ok()?.status().as_u16())
}

#[tokio::test]
async fn only_nodes_with_a_certificate_of_the_cluster_are_served() {
    let (authority, directory) = (Authority::new(), Arc::new(MemoryDirectory::new()));
    let mut b = TestNode::start(&authority, "b", Arc::clone(&directory)).await;
    b.connect(tunnel(), hello).await;
    let genuine = |name: &str| with_alpn(authority.identity(name).client);
    let served = |config, hop| timeout(PATIENCE, is_served(&b.node, config, hop));

    assert_eq!(served(genuine("a.node.test"), "1").await.unwrap(), Some(200));
    assert_eq!(served(genuine("a.node.test"), "2").await.unwrap(), Some(503), "a second hop");

    // Same authority, but not a node's name.
    for name in ["app.example.com", "node.test", "a.node.test.evil.example", "*.node.test"] {
        assert_eq!(served(genuine(name), "1").await.unwrap(), None, "{name}");
    }
    // A node's name, but signed by somebody else.
    let mut config = Authority::new().identity("a.node.test").client;
    config.dangerous().set_certificate_verifier(trusting(&authority));
    assert_eq!(served(with_alpn(config), "1").await.unwrap(), None);
    // No certificate at all.
    let mut config = genuine("a.node.test");
    config.client_auth_cert_resolver = Arc::new(NoCertificate);
    assert_eq!(served(config, "1").await.unwrap(), None);
    // Another protocol.
    let mut config = genuine("a.node.test");
    config.alpn_protocols = vec![b"h2".to_vec()];
    assert_eq!(served(config, "1").await.unwrap(), None);
    let mut config = genuine("a.node.test");
    config.alpn_protocols = Vec::new();
    assert_eq!(served(config, "1").await.unwrap(), None);
    assert_eq!(b.router.tunnel(tunnel()).unwrap().connections()[0].sent(), 1);
}

#[tokio::test]
async fn a_receiver_that_forgot_to_ask_for_certificates_serves_nobody() {
    let authority = Authority::new();
    let identity = authority.identity("b.node.test");
    let provider = Arc::clone(identity.server.crypto_provider());
    let lax = tokio_rustls::rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&identity.server.cert_resolver));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = Node::new(name("b"), &listener.local_addr().unwrap().to_string()).unwrap();
    let receiver = Receiver::new(Arc::new(Router::new()), &lax, is_node);
    tokio::spawn(receiver.run(listener, std::future::pending()));
    let config = with_alpn(authority.identity("a.node.test").client);
    assert_eq!(timeout(PATIENCE, is_served(&node, config, "1")).await.unwrap(), None);
}

#[tokio::test]
async fn a_server_that_is_not_the_named_node_gets_no_request() {
    let (authority, directory) = (Authority::new(), Arc::new(MemoryDirectory::new()));
    let a = TestNode::start(&authority, "a", Arc::clone(&directory)).await;
    let mut b = TestNode::start(&authority, "b", Arc::clone(&directory)).await;
    b.connect(tunnel(), hello).await;
    b.stop_announcing().await;
    // The directory is not trusted: an entry under another name leads nowhere.
    let misled = Node::new(name("c"), b.node.address()).unwrap();
    directory.announce(&misled, &[(tunnel(), 1)], LEASE).await.unwrap();
    let error = answer(&a).await.unwrap_err();
    assert_eq!(error.to_string(), "the edge node `c.node.test` can't be reached");
    assert!(error.is_retryable());
    assert_eq!(b.router.tunnel(tunnel()).unwrap().connections()[0].sent(), 0);
}

#[derive(Debug)]
struct NoCertificate;

impl tokio_rustls::rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[tokio_rustls::rustls::SignatureScheme],
    ) -> Option<Arc<tokio_rustls::rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

fn trusting(
    authority: &Authority,
) -> Arc<dyn tokio_rustls::rustls::client::danger::ServerCertVerifier> {
    let Identity { client, .. } = authority.identity("x.node.test");
    let provider = Arc::clone(client.crypto_provider());
    let roots = Arc::clone(&authority.roots);
    tokio_rustls::rustls::client::WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .unwrap()
}
