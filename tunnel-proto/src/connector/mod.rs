//! The connector's half: dial the edge, register, answer what comes down.
//!
//! Build a [`Connector`] from credentials, a way to [dial](Dial) and a service, then
//! [`run`](Connector::run) it.

mod builder;
mod connection;
mod control;
mod dial;
mod event;
mod service;
mod supervisor;

#[cfg(feature = "tls")]
pub use self::dial::TlsDialer;
pub use self::{
    builder::{Builder, Connector},
    dial::{Dial, EDGE_SERVER_NAME},
    event::Event,
    service::HttpService,
};
pub use crate::{net::body::Incoming, rpc::registration::Registered};
