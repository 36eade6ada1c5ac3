//! Several edge nodes that answer for one another's tunnels.
//!
//! A connector dials one or two nodes; a visitor may come to any. The node that the visitor asked
//! decides who he is and whether he may pass. If a connection of the tunnel serves there, the
//! request goes down it, exactly as with one node. Otherwise it hops once, to a node that does hold
//! one:
//!
//! ```text
//!  visitor ──▶ node A ── HTTP/2, both sides show certificates ──▶ node B ──▶ connector ──▶ origin
//!                 │  who holds this tunnel?                          │
//!                 └───────────────▶ Directory ◀──────────────────────┘  B holds it, for 15 s
//! ```
//!
//! | Part | Runs where | What it does |
//! |---|---|---|
//! | [`Directory`] | shared | tunnel → nodes, as leases: [`MemoryDirectory`], `RedisDirectory` (feature `redis`), or your own |
//! | [`Announcer`] | every node | tells the directory which tunnels have connections here |
//! | [`Receiver`] | every node | answers other nodes' requests from the tunnels of this one |
//! | [`Cluster`] | every node | sends a request down a tunnel, here or over one hop |
//!
//! What an exchange holds survives the hop: bodies of any size in both directions with
//! back-pressure, trailers, interim responses, WebSocket and TCP streams, cancellation, [`EdgeHeaders`](crate::edge::EdgeHeaders) and
//! [`ResponseSource`](crate::edge::ResponseSource). A visitor's headers never steer it: the marks of
//! the hop are put in after everything of that kind has been removed.
//!
//! # Two nodes in one process
//!
//! ```
//! use std::{convert::Infallible, future, sync::{Arc, Mutex}};
//!
//! use http::{Request, Response};
//! use http_body_util::{BodyExt as _, Full};
//! use tunnel_proto::cluster::{Announcer, Cluster, Forwarder, MemoryDirectory, Node, NodeName, Receiver};
//! use tunnel_proto::edge::{Acceptor, Registered, Registration, Router};
//! use tunnel_proto::{ConnectionId, Credentials, TunnelSecret, connector::Connector};
//! # mod certificates {
//! #     use std::sync::Arc;
//! #     use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
//! #     use tokio_rustls::rustls::{crypto::ring, server::WebPkiClientVerifier, *};
//! #     use rustls_pki_types::PrivateKeyDer;
//! #     pub struct Authority(Issuer<'static, KeyPair>, RootCertStore);
//! #     pub fn authority() -> Authority {
//! #         let key = KeyPair::generate().unwrap();
//! #         let mut params = CertificateParams::default();
//! #         params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
//! #         let mut roots = RootCertStore::empty();
//! #         roots.add(params.self_signed(&key).unwrap().der().clone()).unwrap();
//! #         Authority(Issuer::new(params, key), roots)
//! #     }
//! #     pub fn node(authority: &Authority, name: &str) -> (ClientConfig, ServerConfig) {
//! #         let key = KeyPair::generate().unwrap();
//! #         let cert = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &authority.0).unwrap();
//! #         let chain = vec![cert.der().clone()];
//! #         let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
//! #         let provider = Arc::new(ring::default_provider());
//! #         let roots = Arc::new(authority.1.clone());
//! #         let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build().unwrap();
//! #         (ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap()
//! #             .with_root_certificates(roots).with_client_auth_cert(chain.clone(), key.clone_key()).unwrap(),
//! #          ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap()
//! #             .with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap())
//! #     }
//! # }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // One authority signs a certificate with its own name for every node.
//! let authority = certificates::authority();
//! let (a_client, _) = certificates::node(&authority, "a.node.test");
//! let (_, b_server) = certificates::node(&authority, "b.node.test");
//! let directory = Arc::new(MemoryDirectory::new()); // `RedisDirectory` between machines
//!
//! // Node B: a connector is there. B tells the directory, and answers other nodes.
//! let b_router = Arc::new(Router::new());
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let b = Node::new("b.node.test".parse()?, &listener.local_addr()?.to_string())?;
//! let admits = |name: &NodeName| name.as_str().ends_with(".node.test");
//! let receiver = Receiver::new(b_router.clone(), &b_server, admits);
//! tokio::spawn(receiver.run(listener, future::pending()));
//! tokio::spawn(Announcer::new(directory.clone(), b_router.clone(), b).run(future::pending()));
//! # let id = "11111111-2222-3333-4444-555555555555".parse()?;
//! # let (edge_io, connector_io) = tokio::io::duplex(1 << 16);
//! # let io = Mutex::new(Some(connector_io));
//! # let dial = move |_| future::ready(io.lock().unwrap().take().ok_or(std::io::ErrorKind::NotConnected.into()));
//! # let hello = tower::service_fn(async |_| Ok::<_, Infallible>(Response::new(Full::from("hello"))));
//! # let connector = Connector::builder(Credentials::new("account", id, TunnelSecret::new([7; 32])), dial);
//! # tokio::spawn(connector.connections(1).service(hello)?.run(future::pending()));
//! # let acceptor = Acceptor::new(|_: &Registration| Ok(Registered::new(ConnectionId::from_bytes([9; 16]), "b")));
//! b_router.attach(acceptor.accept(edge_io).await?);
//! # while tunnel_proto::cluster::Directory::find(&directory, id).await?.is_empty() {
//! #     tokio::time::sleep(std::time::Duration::from_millis(5)).await;
//! # }
//!
//! // Node A: no connector is there, yet it has an answer.
//! let a_router = Arc::new(Router::new());
//! let a = Cluster::new("a.node.test".parse()?, a_router, directory, Forwarder::new(&a_client));
//! let request = Request::get("https://app.example.com/").body(Full::default())?;
//! let response = a.send(id, request).await?;
//! assert_eq!(response.into_body().collect().await?.to_bytes(), "hello");
//! # Ok(()) }
//! ```

mod announcer;
pub mod conformance;
mod directory;
mod exchange;
mod forwarder;
mod link;
mod lookup;
mod memory;
mod node;
mod receiver;
#[cfg(feature = "redis")]
mod redis;
mod route;
mod wire;

#[cfg(feature = "redis")]
pub use self::redis::RedisDirectory;
pub use self::{
    announcer::Announcer,
    directory::{Directory, DirectoryError},
    forwarder::Forwarder,
    memory::MemoryDirectory,
    node::{Holder, Node, NodeName},
    receiver::Receiver,
    route::Cluster,
};
