//! Both halves of cloudflared's tunnel protocol: an **edge** that an unmodified cloudflared
//! connects to, and a **connector** that takes cloudflared's place.
//!
//! A connector behind NAT dials out. Over that one connection the edge, now the HTTP/2 *client*,
//! sends visitors' requests down, and the connector answers them from a web server or from any
//! tower service:
//!
//! ```
//! use std::{convert::Infallible, future, sync::Mutex};
//!
//! use http::{Request, Response};
//! use http_body_util::{BodyExt as _, Full};
//! use tunnel_proto::edge::{Acceptor, Refusal, Registered, Registration, Router};
//! use tunnel_proto::{ConnectionId, Credentials, TunnelSecret, connector::Connector};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let secret = TunnelSecret::new([7; 32]);
//! let id = "11111111-2222-3333-4444-555555555555".parse()?;
//! let (edge_io, connector_io) = tokio::io::duplex(1 << 16); // TCP and TLS in real life
//!
//! let io = Mutex::new(Some(connector_io));
//! let dial = move |_| future::ready(io.lock().unwrap().take().ok_or(std::io::ErrorKind::NotConnected.into()));
//! let hello = tower::service_fn(async |_| Ok::<_, Infallible>(Response::new(Full::from("hello"))));
//! let connector = Connector::builder(Credentials::new("account", id, secret.clone()), dial);
//! tokio::spawn(connector.connections(1).service(hello)?.run(future::pending()));
//!
//! let acceptor = Acceptor::new(move |claim: &Registration| match *claim.credentials.secret() == secret {
//!     true => Ok(Registered::new(ConnectionId::from_bytes([9; 16]), "home")),
//!     false => Err(Refusal::unauthorized()),
//! });
//! let tunnel = Router::new().attach(acceptor.accept(edge_io).await?);
//! let response = tunnel.send(Request::get("https://app.example.com/").body(Full::default())?).await?;
//! assert_eq!(response.into_body().collect().await?.to_bytes(), "hello");
//! # Ok(()) }
//! ```
//!
//! # Map
//!
//! | Where | What |
//! |---|---|
//! | [`edge`] | [`Acceptor`](edge::Acceptor) registers connectors, [`Router`](edge::Router) knows which tunnel owns a host name, [`Tunnel`](edge::Tunnel) sends requests |
//! | `cluster` | several edge nodes that answer for one another's tunnels (feature `cluster`) |
//! | [`connector`] | [`Connector`](connector::Connector) keeps connections up and answers with a service |
//! | [`TunnelIo`], [`relay`] | the bytes of a WebSocket or TCP flow, and how to join them to a socket |
//! | [`telemetry`] | names of spans and metrics |
//! | [`origin`] | [`HttpOrigin`](origin::HttpOrigin), a web server on the connector's side |
//! | [`ingress`] | [`Ingress`](ingress::Ingress), cloudflared's rules: which origin answers which visitor |
//! | [`Credentials`] | token and credentials file, in cloudflared's shapes |
//!
//! # Features
//!
//! | Feature | Default | Brings |
//! |---|---|---|
//! | `aws-lc-rs` | no | `tls::post_quantum`: X25519MLKEM768; needs a C compiler |
//! | `cluster` | no | `cluster`: a directory of nodes with leases, one authenticated hop between them |
//! | `http-origin` | yes | [`HttpOrigin`](origin::HttpOrigin): HTTP/1.1 and HTTP/2 through hyper |
//! | `ingress` | yes | [`ingress`]: rules in YAML and JSON; brings `http-origin` and `tls` |
//! | `redis` | no | `cluster::RedisDirectory`, for nodes on several machines |
//! | `metrics` | no | the metrics of [`telemetry`], through the `metrics` facade |
//! | `tls` | yes | [`TlsDialer`](connector::TlsDialer): TCP and rustls; the crypto provider is yours |
//!
//! # What is not here yet
//!
//! HTTP/2 is the one transport; QUIC is not spoken, and with it no UDP.
//!
//! # Stability
//!
//! Version 0.x: minor versions may break, the change log says where. Rust 1.88 or later.

#![cfg_attr(
    not(all(feature = "http-origin", feature = "ingress", feature = "tls")),
    allow(rustdoc::broken_intra_doc_links, reason = "they lead to what a feature adds")
)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "cluster")]
pub mod cluster;
pub mod connector;
mod credentials;
pub mod edge;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod id;
#[cfg(feature = "ingress")]
#[cfg_attr(docsrs, doc(cfg(feature = "ingress")))]
pub mod ingress;
pub mod limits;
mod net;
pub mod origin;
mod rpc;
mod secret;
mod state;
mod stream;
pub mod telemetry;

#[cfg(feature = "tls")]
pub use self::net::tls;
pub use self::{
    credentials::Credentials,
    error::Error,
    id::{ConnectionId, ConnectorId, TunnelId},
    net::{io::TunnelIo, relay::relay},
    secret::TunnelSecret,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
