//! Wrong clocks, with libfaketime (Debian package faketime).

use std::{sync::Arc, time::Duration};

use rustls::{pki_types::UnixTime, time_provider::TimeProvider};

/// Makes a program believe that it is earlier or later, such as `-1h`. Its timers go on as they are.
pub fn shift(command: &mut tokio::process::Command, offset: &str) {
    command
        .env("LD_PRELOAD", library())
        .env("FAKETIME", offset)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
}

/// Where Debian has it; the loader fills in `$LIB`. The wrapper `faketime` would start a process of
/// its own, which signals would not reach, and two of them at once get into each other's way.
fn library() -> String {
    std::env::var("FAKETIME_LIBRARY")
        .unwrap_or_else(|_| "/usr/$LIB/faketime/libfaketime.so.1".to_owned())
}

/// A visitor's clock that is an hour ahead.
pub fn an_hour_ahead() -> Arc<dyn TimeProvider> {
    Arc::new(Ahead(Duration::from_secs(3600)))
}

#[derive(Debug)]
struct Ahead(Duration);

impl TimeProvider for Ahead {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs()) + self.0))
    }
}
