//! Certificates that look after themselves: issued, renewed and swapped into a running
//! [rustls] server, without a restart and without a failed handshake. They come from a
//! private authority, from public ones by ACME, or from PEM.
//!
//! ```
//! use std::time::SystemTime;
//! use cert_manager::{DirectoryStore, Manager, PrivateCa, Resolver, presets};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let now = SystemTime::now();
//! let store = DirectoryStore::open(folder.join("certificates"))?;
//! let ca = PrivateCa::open(&store, "Example local CA", now)?.ca;
//! println!("trust this root:\n{}", ca.root_pem());
//!
//! let resolver = Resolver::new();
//! let manager = Manager::builder(ca, resolver.clone())
//!     .name("app.localhost")
//!     .build()?;
//! manager.ensure(now)?; // then, in a task of its own: manager.run(shutdown).await
//!
//! let alpn = [b"h2".as_slice(), b"http/1.1"];
//! let config = presets::server_config(presets::provider(), resolver, alpn)?;
//! # drop(config);
//! # Ok(())
//! # }
//! ```
//!
//! # Map
//!
//! From the highest layer to the lowest; each is usable without those above it.
//!
//! | To | Use |
//! |---|---|
//! | keep names served | [`Manager`] |
//! | configure listeners | [`presets`] |
//! | choose a certificate in a handshake | [`Resolver`] |
//! | issue certificates | [`PrivateCa`], [`Profile`] |
//! | enrol machines, and let them in or not | [`ca`] |
//! | get certificates from public authorities | [`acme`] |
//! | change DNS zones: DNS-01, host names of tunnels | `dns` |
//! | keep keys and certificates over restarts, or share them among nodes | [`storage`] |
//! | know when to renew, as a pure function | [`lifecycle::decide`] |
//! | read, write and inspect certificates | [`Certificate`], [`PrivateKey`] |
//! | parse names | [`Name`] |
//!
//! Time is an argument everywhere but in `Manager::run`, which is the only place that reads
//! a clock. No provider is installed for the whole process.
//!
//! # Features
//!
//! | Feature | Default | Brings |
//! |---|---|---|
//! | `ring` | yes | the *ring* provider, [`PrivateCa`], [`Manager`] |
//! | `aws-lc-rs` | no | the same with AWS-LC; with both on, *ring* is what is used unless told |
//! | `tokio` | yes | `Manager::run` |
//! | `acme` | yes | [`acme`], with hyper for HTTPS; needs one of the providers |
//! | `dns` | no | `dns`, with hickory-proto; needs one of the providers |
//! | `redis` | no | `storage::RedisStore`, for nodes on several machines |
//! | `conformance` | no | `conformance`: schedules that a store of your own must survive, for its tests |
//!
//! Without a provider feature, bring your own [`rustls::crypto::CryptoProvider`]: names,
//! certificates, the store, the resolver and the presets are there, the authority is not.
//!
//! # Stability
//!
//! Before 1.0 a minor version may break; the change log says how. Rust 1.88 or newer; raising that
//! is a minor change.

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(all(feature = "acme", any(feature = "ring", feature = "aws-lc-rs")))]
#[cfg_attr(docsrs, doc(cfg(feature = "acme")))]
pub mod acme;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "ring", feature = "aws-lc-rs"))))]
pub mod ca;
mod certificate;
#[cfg(feature = "conformance")]
#[cfg_attr(docsrs, doc(cfg(feature = "conformance")))]
pub mod conformance;
#[cfg(all(feature = "dns", any(feature = "ring", feature = "aws-lc-rs")))]
#[cfg_attr(docsrs, doc(cfg(feature = "dns")))]
pub mod dns;
mod error;
#[cfg(all(feature = "acme", any(feature = "ring", feature = "aws-lc-rs")))]
mod failure;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod issuer;
mod key;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod key_pair;
pub mod lifecycle;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod manager;
mod name;
mod pem;
pub mod presets;
mod resolver;
pub mod storage;
mod version;

pub use rustls;

pub use crate::{
    certificate::{Certificate, Serial},
    error::{Error, NameError},
    key::{PrivateKey, SecretPem},
    name::Name,
    resolver::Resolver,
    storage::{DirectoryStore, Expect, Put},
};
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "ring", feature = "aws-lc-rs"))))]
pub use crate::{
    issuer::{Opened, Origin, PrivateCa, Profile},
    manager::{Builder, Ensured, Manager, Status},
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
