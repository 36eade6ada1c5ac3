//! What a connector tells its operator.

use std::{sync::Arc, time::Duration};

use crate::{error::Error, rpc::registration::Registered};

/// Something an operator wants to know.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A connection registered.
    Connected {
        /// Which one, from 0.
        index: u8,
        /// What the edge answered.
        registered: Registered,
    },
    /// A connection is gone, or could not be made, or its task panicked, and is tried again.
    Retrying {
        /// Which one, from 0.
        index: u8,
        /// Why.
        error: Arc<Error>,
        /// When the next attempt starts.
        after: Duration,
    },
    /// A connection took its leave and has no request left.
    Disconnected {
        /// Which one, from 0.
        index: u8,
    },
    /// A request got no answer from the origin; the visitor sees 502.
    OriginFailed {
        /// The error and its sources in one line.
        error: String,
    },
}
