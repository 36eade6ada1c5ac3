//! Certificates that look after themselves: issued, renewed and swapped into a running
//! [rustls] server, without a restart and without a failed handshake. They come from a
//! private authority, from public ones by ACME, or from PEM.
//!
//! ```
//! use cert_manager::{DirectoryStore, Manager, PrivateCa, presets};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! # let now = std::time::SystemTime::now();
//! let store = DirectoryStore::open(folder.join("certificates"))?;
//! let ca = PrivateCa::open(&store, "Example local CA", now)?.ca;
//! println!("trust this root:\n{}", ca.root_pem());
//!
//! // Returns when the first certificate serves, and renews in the background.
//! let manager =
//!     Manager::builder().private_ca(ca).storage(store).name("app.localhost").start().await?;
//!
//! let alpn = [b"h2".as_slice(), b"http/1.1"];
//! let config = presets::server_config(presets::provider(), manager.resolver().clone(), alpn)?;
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
//! | keep names served, from issuers or files | [`Manager`], [`manager`] |
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
//! Time is an argument everywhere but in [`Manager`], [`acme::Acme`] and [`DirectoryStore`], which are shells. No provider is
//! installed for the whole process.
//!
//! # Features
//!
//! | Feature | Default | Brings |
//! |---|---|---|
//! | `ring` | yes | the *ring* provider, [`PrivateCa`] |
//! | `aws-lc-rs` | no | the same with AWS-LC; with both on, *ring* is what is used unless told |
//! | `tokio` | yes | [`Manager`]; needs one of the providers |
//! | `acme` | yes | [`acme`], with hyper for HTTPS; needs one of the providers |
//! | `idna` | no | names in other scripts than ASCII, such as `bücher.example`, by UTS #46; without it write them as `xn--` |
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
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod digest;
#[cfg(all(feature = "dns", any(feature = "ring", feature = "aws-lc-rs")))]
#[cfg_attr(docsrs, doc(cfg(feature = "dns")))]
pub mod dns;
mod error;
#[cfg(all(feature = "tokio", any(feature = "ring", feature = "aws-lc-rs")))]
mod failure;
#[cfg(all(
    any(test, fuzzing),
    feature = "acme",
    feature = "dns",
    any(feature = "ring", feature = "aws-lc-rs")
))]
#[doc(hidden)]
pub mod fuzz;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod issuer;
mod kept_key;
mod key;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod key_pair;
pub mod lifecycle;
#[cfg(all(feature = "tokio", any(feature = "ring", feature = "aws-lc-rs")))]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub mod manager;
mod name;
mod pem;
pub mod presets;
#[cfg(all(feature = "tokio", any(feature = "ring", feature = "aws-lc-rs")))]
mod record;
mod regular_file;
mod resolver;
pub mod storage;
mod text;
mod version;

pub use rustls;

#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "ring", feature = "aws-lc-rs"))))]
pub use crate::issuer::{Opened, Origin, PrivateCa, Profile};
pub use crate::{
    certificate::{Certificate, Serial},
    error::{Error, NameError},
    key::{PrivateKey, SecretPem},
    name::Name,
    resolver::Resolver,
    storage::{DirectoryStore, Expect, Put},
};
#[cfg(all(feature = "tokio", any(feature = "ring", feature = "aws-lc-rs")))]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub use crate::{
    failure::{Failure, FailureClass},
    manager::Manager,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
