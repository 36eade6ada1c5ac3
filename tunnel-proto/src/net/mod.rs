//! Shells around `h2`: bodies in and out, settings, signs of life. Tokio starts here.

pub(crate) mod body;
pub(crate) mod collect;
pub(crate) mod cork;
pub(crate) mod held;
pub(crate) mod inbound;
pub(crate) mod interim;
pub(crate) mod io;
pub(crate) mod kept;
pub(crate) mod liveness;
pub(crate) mod outbox;
pub(crate) mod relay;
pub(crate) mod settings;
mod spill;
#[cfg(feature = "tls")]
pub mod tls;
pub(crate) mod upgrade;
pub(crate) mod upload;
pub(crate) mod window;
