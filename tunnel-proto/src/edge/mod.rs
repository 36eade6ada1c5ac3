//! The edge's half: accept connectors, then send visitors' requests down to them.
//!
//! [`Acceptor`] turns a connection that finished TLS into a registered [`Connection`]. A
//! [`Router`] gathers connections into [`Tunnel`]s and knows which host name belongs to which.

mod acceptor;
mod admission;
mod connection;
mod control;
pub(crate) mod driver;
mod event;
mod exchange;
mod info;
mod interim;
mod place;
mod push;
mod router;
mod supervisor;
mod tunnel;

#[cfg(feature = "cluster")]
pub(crate) use self::exchange::Ready;
pub use self::{
    acceptor::{Acceptor, Authenticate},
    admission::{Admission, AdmissionBuilder, Permit},
    connection::{Connection, Phase},
    event::{Event, Events},
    exchange::Upgrade,
    info::ConnectionInfo,
    interim::OnInterim,
    push::Applied,
    router::Router,
    tunnel::Tunnel,
};
pub use crate::{
    net::body::Incoming,
    rpc::registration::{Refusal, Registered, Registration},
    stream::{
        request::EdgeHeaders,
        response::{OriginFailure, ResponseSource},
    },
};
