//! The edge: listeners, certificates, tunnels and the gate, put together.

pub mod config;
pub mod policy;
mod running;
pub mod state;

pub use running::{Running, Settings, start};
