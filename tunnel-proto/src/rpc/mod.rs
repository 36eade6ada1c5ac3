//! The control stream: Cap'n Proto RPC by which a connector registers, reports its configuration
//! and takes its leave. Pure state machines, one for each role.
//!
//! The messages are built and read with the `capnp` crate and generated code that is checked in;
//! the RPC itself (two questions, one capability) is ours. `capnp-rpc` would do the same, but its
//! futures are not `Send` and would need a thread of their own for every edge.

pub(crate) mod client;
pub(crate) mod frame;
mod generated;
pub(crate) mod message;
pub(crate) mod registration;
pub(crate) mod server;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
