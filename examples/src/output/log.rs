//! Log lines leave on a thread of their own.
//!
//! A line for each request must not cost each request a system call, or make it wait for whoever
//! reads the log. Lines are gathered in memory and written together, 25 ms after the first at the
//! latest. If the reader is so slow that [`GATHERED_BYTES`] are full, lines are left out, and the
//! log says how many.

use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

/// Lines that wait to be written, in bytes. About ten thousand lines.
const GATHERED_BYTES: usize = 1024 * 1024;

/// How long lines are gathered. Nobody who reads along notices.
const GATHER: Duration = Duration::from_millis(25);

/// Takes lines. Clones write to the same place.
#[derive(Debug, Clone)]
pub(super) struct Lines(Arc<Shared>);

/// Writes what is left when it is dropped.
#[derive(Debug)]
pub struct LogGuard {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    gathered: Vec<u8>,
    /// Lines that found no room since the last write.
    left_out: u64,
    is_closed: bool,
}

/// Starts the thread that writes to `output`. Without a thread, each line is written at once.
pub(super) fn start(output: impl Write + Send + 'static) -> (Lines, LogGuard) {
    let shared = Arc::new(Shared::default());
    let gathered = Arc::clone(&shared);
    let thread =
        thread::Builder::new().name("log".into()).spawn(move || gathered.write_out(output));
    if thread.is_err() {
        shared.lock().is_closed = true;
    }
    (Lines(Arc::clone(&shared)), LogGuard { shared, thread: thread.ok() })
}

impl Write for Lines {
    /// Takes one whole line, or leaves it out.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        if state.is_closed {
            drop(state);
            return io::stderr().write(line);
        }
        if state.gathered.len() + line.len() > GATHERED_BYTES {
            state.left_out += 1;
            return Ok(line.len());
        }
        let is_first = state.gathered.is_empty();
        state.gathered.extend_from_slice(line);
        drop(state);
        if is_first {
            self.0.changed.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn write_out(&self, mut output: impl Write) {
        let mut lines = Vec::new();
        loop {
            let state = self.lock();
            let waits = |state: &mut State| state.gathered.is_empty() && !state.is_closed;
            let state = self.changed.wait_while(state, waits);
            let state = state.unwrap_or_else(PoisonError::into_inner);
            let gathers = |state: &mut State| !state.is_closed;
            let waited = self.changed.wait_timeout_while(state, GATHER, gathers);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            mem::swap(&mut lines, &mut state.gathered);
            let left_out = mem::take(&mut state.left_out);
            let is_closed = state.is_closed;
            drop(state);
            // Nobody is left to tell if standard error is gone.
            let _ = output.write_all(&lines);
            if left_out > 0 {
                let _ = writeln!(
                    output,
                    "{left_out} log lines were left out: they are read too slowly"
                );
            }
            lines.clear();
            if is_closed {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Hands over what is written, one write at a time.
    struct Reader(mpsc::SyncSender<Vec<u8>>);

    impl Write for Reader {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0.send(data.to_vec()).map_err(io::Error::other)?;
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_come_in_order_and_the_last_before_the_end() {
        let (sender, writes) = mpsc::sync_channel(1_000);
        let (mut lines, guard) = start(Reader(sender));
        for number in 0..1_000 {
            writeln!(lines, "{number}").unwrap();
        }
        drop(guard);
        let numbers: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
        let expected = numbers.join("\n") + "\n";
        let written: Vec<u8> = writes.iter().flatten().collect();
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }

    #[test]
    fn what_a_stuck_reader_misses_is_counted_and_holds_up_nobody() {
        let (sender, writes) = mpsc::sync_channel(0);
        let (mut lines, guard) = start(Reader(sender));
        lines.write_all(b"first\n").unwrap();
        let line = [b'x'; 1024];
        for _ in 0..3 * GATHERED_BYTES / line.len() {
            lines.write_all(&line).unwrap();
        }
        let reader = thread::spawn(move || writes.iter().flatten().collect::<Vec<u8>>());
        drop(guard);
        let log = String::from_utf8(reader.join().unwrap()).unwrap();
        assert!(log.starts_with("first\n"));
        assert!(log.len() < 3 * GATHERED_BYTES);
        assert!(
            log.ends_with(" log lines were left out: they are read too slowly\n"),
            "{}",
            log.len()
        );
    }
}
