//! What edge and connector tell an operator's tools: spans and metrics, under stable names.
//!
//! # Spans
//!
//! Through [`tracing`], always. No span or event holds a secret, a visitor's address, path or header.
//!
//! | Span | Level | Fields | Covers |
//! |---|---|---|---|
//! | [`CONNECTION_SPAN`] | info | `side`, `connection` or `index`, `tunnel`, `connector` | a connection, from registration to its end |
//! | [`STREAM_SPAN`] | debug | `side`, `kind` | a stream, until the head of its answer (edge) or its end (connector) |
//!
//! `side` is `edge` or `connector`, `kind` is `http`, `websocket`, `tcp` or `configuration`.
//!
//! # Metrics
//!
//! Through the [`metrics`](https://docs.rs/metrics) facade with the feature `metrics`: install a recorder
//! before the first connection, such as `metrics-exporter-prometheus`. All carry the labels `side` and
//! `tunnel` (its id; `unknown` for registrations that were refused, so that strangers can't make
//! labels).
//!
//! | Metric | Kind | More labels | Meaning |
//! |---|---|---|---|
//! | [`STREAMS`] | counter | `kind` | streams begun |
//! | [`OPEN_STREAMS`] | gauge | | streams open now |
//! | [`BYTES`] | counter | `direction` | bytes of bodies, WebSockets and TCP flows: `to_origin`, `to_visitor` |
//! | [`ERRORS`] | counter | `reason` | streams without a proper answer, see [`Error`](crate::Error): `busy`, `offline`, `unreachable`, `network`, `peer`, `caller`, `cancelled`, `untouched`, `overburdened`, `refused`, `denied`, `internal`; `origin` if the connector got no answer |
//! | [`FIRST_BYTE`] | histogram | | seconds from a request to the head of its answer |
//! | [`REGISTRATIONS`] | counter | `outcome` | `registered` or `refused` |
//! | [`CONNECTIONS`] | gauge | | registered connections |

#[cfg(feature = "metrics")]
#[path = "recorded.rs"]
mod meter;
#[cfg(not(feature = "metrics"))]
#[path = "silent.rs"]
mod meter;

#[cfg(feature = "metrics")]
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

pub(crate) use self::meter::{ByteCount, Connected, Measured, Meter, refused};

/// Span of one connection.
pub const CONNECTION_SPAN: &str = "tunnel.connection";

/// Span of one stream.
pub const STREAM_SPAN: &str = "tunnel.stream";

/// Streams begun.
pub const STREAMS: &str = "tunnel_streams_total";

/// Streams open now.
pub const OPEN_STREAMS: &str = "tunnel_open_streams";

/// Bytes of bodies, WebSockets and TCP flows.
pub const BYTES: &str = "tunnel_bytes_total";

/// Streams without a proper answer.
pub const ERRORS: &str = "tunnel_errors_total";

/// Seconds from a request to the head of its answer.
pub const FIRST_BYTE: &str = "tunnel_first_byte_seconds";

/// Registrations.
pub const REGISTRATIONS: &str = "tunnel_registrations_total";

/// Registered connections.
pub const CONNECTIONS: &str = "tunnel_connections";

/// Which half of the protocol speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Edge,
    Connector,
}

impl Side {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Connector => "connector",
        }
    }
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToOrigin,
    ToVisitor,
}

/// Tells an installed recorder the units and meanings of all metrics.
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub fn describe() {
    describe_counter!(STREAMS, Unit::Count, "Streams begun");
    describe_gauge!(OPEN_STREAMS, Unit::Count, "Streams open now");
    describe_counter!(BYTES, Unit::Bytes, "Bytes of bodies, WebSockets and TCP flows");
    describe_counter!(ERRORS, Unit::Count, "Streams without a proper answer");
    describe_histogram!(FIRST_BYTE, Unit::Seconds, "From a request to the head of its answer");
    describe_counter!(REGISTRATIONS, Unit::Count, "Registrations, taken and refused");
    describe_gauge!(CONNECTIONS, Unit::Count, "Registered connections");
}
