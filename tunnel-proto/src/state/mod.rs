//! Decisions of edge and connector as pure values: when to dial again, which tunnel serves a
//! name, which peer asks too much, and who finds a seat.

pub(crate) mod admission;
pub(crate) mod backoff;
pub(crate) mod configuration;
pub(crate) mod flood;
pub(crate) mod holdings;
#[cfg(feature = "http-origin")]
pub(crate) mod hosts;
pub(crate) mod routes;
pub(crate) mod seats;
pub(crate) mod window;
