//! The whole way over real sockets: an edge with TLS on loopback, a connector of either kind that
//! dials it, and an origin that the test plays by hand.

#![allow(dead_code, unreachable_pub, reason = "each test uses its own part")]
#![allow(
    clippy::unnecessary_wraps,
    reason = "what a row sees is a result, and so is a body's frame"
)]

pub mod bodies;
pub mod connector;
pub mod edge;
pub mod ends;
pub mod front;
pub mod heads;
pub mod origin;
pub mod rows;
pub mod streams;

use std::{error::Error, sync::Arc, time::Duration};

use tunnel_proto::edge::Tunnel;

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Long enough to say that something does not come.
pub const A_WHILE: Duration = Duration::from_secs(4);

pub type Problem = Box<dyn Error + Send + Sync>;

/// What a row of the table saw.
pub type Seen = Result<String, Problem>;

/// A tunnel whose connector leads to an origin.
pub struct Stage {
    pub tunnel: Arc<Tunnel>,
    pub origin: origin::Origin,
}

/// Waits for what must come.
pub async fn soon<T>(future: impl Future<Output = T>) -> Result<T, Problem> {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.map_err(|_| "nothing came in a minute".into())
}

pub fn yes() -> Seen {
    Ok("yes".into())
}

pub fn seen(text: impl Into<String>) -> Seen {
    Ok(text.into())
}
