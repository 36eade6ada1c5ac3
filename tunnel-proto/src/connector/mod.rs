//! The connector's half: dial the edge, register, answer what comes down.
//!
//! Build a [`Connector`] from credentials, a way to [dial](Dial) and a service, then
//! [`run`](Connector::run) it. A service finds [`Interim`] in every request's extensions, and
//! [`OnUpgrade`] in those that ask for a WebSocket.

mod answer;
mod builder;
mod configuration;
mod connection;
mod control;
mod dial;
mod event;
mod flow;
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
pub use crate::{
    net::{body::Incoming, interim::Interim, upgrade::OnUpgrade},
    rpc::registration::Registered,
};
