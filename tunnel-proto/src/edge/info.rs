//! What an operator wants to know of a connection.

use std::{net::SocketAddr, time::Duration};

use super::connection::Phase;
use crate::id::{ConnectionId, ConnectorId, TunnelId};

/// A registered connection at one moment. Holds no secret, and does not keep the connection open.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The id that the edge gave it.
    pub connection: ConnectionId,
    /// The tunnel it serves.
    pub tunnel: TunnelId,
    /// The connector's process.
    pub connector: ConnectorId,
    /// Which of the connector's connections, from 0.
    pub index: u8,
    /// The connector's version, in its own words.
    pub version: String,
    /// The connector's platform, in its own words.
    pub arch: String,
    /// What the connector can do, in its own words.
    pub features: Vec<String>,
    /// Where it dialed from, if the acceptor was told.
    pub source: Option<SocketAddr>,
    /// Time since it registered.
    pub connected_for: Duration,
    /// Where it is in its life.
    pub phase: Phase,
    /// Requests, WebSocket and TCP streams that are open.
    pub in_flight: usize,
    /// Requests sent so far.
    pub sent: usize,
}
