//! What the end-to-end tests share: a whole site of real processes, and a visitor to it.
//!
//! Nothing here sleeps to be on the safe side: a test waits for an event, a log line or an answer, and
//! [`PATIENCE`] only ends what would never end.
#![allow(dead_code, reason = "no test file uses all of it")]
#![allow(unreachable_pub, reason = "each test file is a crate of its own")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

pub mod authority;
pub mod clock;
pub mod countries;
pub mod form;
pub mod loopback;
pub mod mail_server;
pub mod name_server;
pub mod nginx;
pub mod origin;
pub mod process;
pub mod raw;
pub mod site;
pub mod socket;
pub mod visitor;

use std::time::Duration;

/// How long a step may take before the test gives up on it. It decides nothing else.
pub const PATIENCE: Duration = Duration::from_secs(60);
