//! The threads that a program runs on.

use std::{num::NonZero, thread::available_parallelism};

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};

/// Makes a runtime with this many threads, or half as many as there are processors.
///
/// A hop between threads costs more than most of what a proxy does with a request: on two
/// processors one thread serves more requests than two, and head and body of a small response leave in
/// one write. A lone thread needs no queues that others could steal from.
///
/// # Errors
///
/// If the system gives no threads or no event queue.
pub fn build(threads: Option<NonZero<usize>>) -> anyhow::Result<Runtime> {
    let processors = available_parallelism().map_or(1, NonZero::get);
    let threads = threads.map_or((processors / 2).max(1), NonZero::get);
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(threads).enable_all().build().context("can't start the runtime")
}
