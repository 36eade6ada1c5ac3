//! Measuring through the `metrics` facade. Handles are made once for a connection: looking one up
//! costs more than counting.

use std::{fmt, sync::Arc, time::Instant};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::{
    BYTES, CONNECTIONS, Direction, ERRORS, FIRST_BYTE, OPEN_STREAMS, REGISTRATIONS, STREAMS, Side,
};
use crate::{error::Error, id::TunnelId, stream::kind::StreamKind};

/// The metrics of one tunnel, as one side sees it.
#[derive(Clone)]
pub(crate) struct Meter(Arc<Handles>);

struct Handles {
    side: &'static str,
    tunnel: String,
    http: Counter,
    open: Gauge,
    first_byte: Histogram,
    to_origin: Counter,
    to_visitor: Counter,
}

impl Meter {
    pub(crate) fn new(side: Side, tunnel: TunnelId) -> Self {
        let (side, tunnel) = (side.as_str(), tunnel.to_string());
        let bytes = |direction: &'static str| counter!(BYTES, "side" => side, "tunnel" => tunnel.clone(), "direction" => direction);
        Self(Arc::new(Handles {
            http: counter!(STREAMS, "side" => side, "tunnel" => tunnel.clone(), "kind" => "http"),
            open: gauge!(OPEN_STREAMS, "side" => side, "tunnel" => tunnel.clone()),
            first_byte: histogram!(FIRST_BYTE, "side" => side, "tunnel" => tunnel.clone()),
            to_origin: bytes("to_origin"),
            to_visitor: bytes("to_visitor"),
            side,
            tunnel,
        }))
    }

    /// Begins a stream. It is open until the value is dropped.
    pub(crate) fn begin(&self, kind: StreamKind) -> Measured {
        let Handles { side, tunnel, http, open, .. } = &*self.0;
        match kind {
            StreamKind::Http => http.increment(1),
            _ => counter!(STREAMS, "side" => *side, "tunnel" => tunnel.clone(), "kind" => kind.as_str())
                .increment(1),
        }
        open.increment(1.0);
        Measured { meter: self.clone(), begun: now() }
    }

    pub(crate) fn bytes(&self, direction: Direction) -> ByteCount {
        ByteCount(Some(match direction {
            Direction::ToOrigin => self.0.to_origin.clone(),
            Direction::ToVisitor => self.0.to_visitor.clone(),
        }))
    }

    pub(crate) fn failed(&self, error: &Error) {
        self.error(error.reason());
    }

    pub(crate) fn error(&self, reason: &'static str) {
        let Handles { side, tunnel, .. } = &*self.0;
        counter!(ERRORS, "side" => *side, "tunnel" => tunnel.clone(), "reason" => reason)
            .increment(1);
    }

    /// Counts a registration. The connection is there until the value is dropped.
    pub(crate) fn registered(&self) -> Connected {
        let Handles { side, tunnel, .. } = &*self.0;
        counter!(REGISTRATIONS, "side" => *side, "tunnel" => tunnel.clone(), "outcome" => "registered")
            .increment(1);
        let connections = gauge!(CONNECTIONS, "side" => *side, "tunnel" => tunnel.clone());
        connections.increment(1.0);
        Connected(connections)
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("side", &self.0.side).finish_non_exhaustive()
    }
}

/// Counts a registration that was refused.
pub(crate) fn refused(side: Side) {
    counter!(REGISTRATIONS, "side" => side.as_str(), "tunnel" => "unknown", "outcome" => "refused")
        .increment(1);
}

/// One stream while it is open.
pub(crate) struct Measured {
    meter: Meter,
    begun: Instant,
}

impl Measured {
    /// The head of the answer is there.
    pub(crate) fn answered(&self) {
        self.meter.0.first_byte.record((now() - self.begun).as_secs_f64());
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.meter.0.open.decrement(1.0);
    }
}

/// Counts bytes of one direction.
#[derive(Clone, Default)]
pub(crate) struct ByteCount(Option<Counter>);

impl ByteCount {
    pub(crate) fn add(&self, bytes: usize) {
        if let Some(counter) = &self.0 {
            counter.increment(bytes as u64);
        }
    }
}

/// One registered connection while it is there.
pub(crate) struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

#[expect(clippy::disallowed_methods, reason = "measures how long things took, and decides nothing")]
fn now() -> Instant {
    Instant::now()
}
