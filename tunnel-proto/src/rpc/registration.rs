//! What the two sides tell each other when a connection registers, as plain values.

use std::{net::IpAddr, time::Duration};

use crate::{
    credentials::Credentials,
    error::{Error, ErrorKind},
    id::{ConnectionId, ConnectorId},
};

/// A connector's wish to serve a tunnel over one connection.
///
/// Everything here is the peer's claim until its secret has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Registration {
    /// Which tunnel, and the proof.
    pub credentials: Credentials,
    /// Which of the connector's connections this is, counted from 0.
    pub connection_index: u8,
    /// Which connector: one random id for each process.
    pub connector_id: ConnectorId,
    /// The connector's version, such as `2026.8.2`.
    pub version: String,
    /// The connector's platform, such as `linux_amd64`.
    pub arch: String,
    /// What the connector can do, such as `serialized_headers`, in no order.
    pub features: Vec<String>,
    /// The connector's own address on the tunnel connection.
    pub origin_local_ip: Option<IpAddr>,
    /// Whether an older connection with this index should make room.
    pub replace_existing: bool,
    /// Attempts that failed before this one; 255 means that many or more.
    pub previous_attempts: u8,
}

impl Registration {
    /// The feature of a connector that takes configurations from the edge.
    pub const REMOTE_CONFIGURATION: &str = "allow_remote_config";

    /// The feature of a connector that packs response headers, as all do today.
    pub const SERIALIZED_HEADERS: &str = "serialized_headers";

    /// Our own feature: WebSocket and TCP streams go on in one direction after the other has ended.
    /// cloudflared does not have it.
    pub const HALF_CLOSE: &str = "sekimori_half_close";

    /// Makes a registration with no features and empty version and platform.
    pub fn new(credentials: Credentials, connector_id: ConnectorId, connection_index: u8) -> Self {
        Self {
            credentials,
            connection_index,
            connector_id,
            version: String::new(),
            arch: String::new(),
            features: Vec::new(),
            origin_local_ip: None,
            replace_existing: false,
            previous_attempts: 0,
        }
    }
}

/// The edge's yes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Registered {
    /// The connection's id, drawn by the edge.
    pub connection_id: ConnectionId,
    /// A short code of the place where the edge stands, shown to the operator.
    pub location: String,
    /// Whether the edge pushes the configuration. Then the connector's own rules stay unused.
    pub is_remotely_managed: bool,
}

impl Registered {
    /// Makes the answer for a tunnel that brings its own rules.
    pub fn new(connection_id: ConnectionId, location: impl Into<String>) -> Self {
        Self { connection_id, location: location.into(), is_remotely_managed: false }
    }
}

/// The edge's no.
///
/// What cloudflared makes of it: [`Refusal::DUPLICATE`] sends it to another edge address; a cause
/// with the word `Unauthorized` is tried again for ever; any other cause before a first success
/// ends the process with exit code 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why, in words for the connector's operator.
    pub cause: String,
    /// Whether and when to try again. cloudflared ignores it; our connector obeys.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// The cause that means "this connection is registered elsewhere, dial another address".
    pub const DUPLICATE: &str = "EDUPCONN";

    /// Refuses for good: unknown tunnel or wrong secret. One text for both.
    pub fn unauthorized() -> Self {
        Self { cause: "Unauthorized: unknown tunnel or wrong secret".into(), retry_after: None }
    }

    /// Refuses for now.
    pub fn retry(cause: impl Into<String>, after: Duration) -> Self {
        Self { cause: cause.into(), retry_after: Some(after) }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        ErrorKind::Refused { cause: refusal.cause, retry_after: refusal.retry_after }.into()
    }
}
