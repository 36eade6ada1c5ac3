//! The edge: listeners, certificates, tunnels and the gate, put together.

pub mod cert;
pub mod certificates;
pub mod config;
pub mod dns;
pub mod policy;
pub mod reload;
mod running;
pub mod state;

pub use running::{Running, Settings, start};
