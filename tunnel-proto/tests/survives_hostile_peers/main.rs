//! Peers that break the rules, or keep them in the most expensive way, on both sides of a tunnel.
//!
//! Each test says what the attack could make us hold, how far it got before its connection was ended, and
//! what somebody else's requests felt of it. The figures are printed (`--no-capture`) and the bounds
//! asserted; times are printed only, because a busy machine has its own. tokio's clock is paused, so that
//! no budget is filled again while an attack runs, however slow the machine is.

#![expect(clippy::unwrap_used, reason = "a test")]
#![allow(dead_code, unreachable_pub, reason = "one test binary; each part uses what it needs")]

mod connector;
mod edge;
mod frames;
#[path = "../harness/mod.rs"]
mod harness;
mod measure;
mod readers;
