//! An unmodified cloudflared at our edge: every row of the table below, one after the other.
//!
//! `CLOUDFLARED=/usr/bin/cloudflared cargo test -p sekimori-tunnel-proto --test serves_real_cloudflared --
//! --ignored --nocapture` prints the table; `ROW=restart` in front keeps the rows whose name has that word.

#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "../harness/mod.rs"]
mod harness;
mod lifecycle;
mod registration;
mod requests;
#[path = "../rig/mod.rs"]
mod rig;

use std::{any::Any, fmt::Write as _, pin::Pin, thread, time::Instant};

type Row = fn() -> Pin<Box<dyn Future<Output = ()>>>;

macro_rules! rows {
    ($($name:literal: $row:expr),* $(,)?) => {
        &[$(($name, || Box::pin($row))),*]
    };
}

const ROWS: &[(&str, Row)] = rows! {
    "1 connection": registration::connections(1),
    "2 connections": registration::connections(2),
    "4 connections": registration::connections(4),
    "8 connections": registration::connections(8),
    "GET, headers as they should be": requests::get(),
    "POST of 3 MiB, answer of 3 MiB": requests::post(),
    "HEAD": requests::row("HEAD", "yes, with the length"),
    "204": requests::row("204", "yes"),
    "304": requests::row("304", "yes, with the length"),
    "trailers": requests::row("Trailers of a response", "yes"),
    "server-sent events": requests::row("Server-sent events", "yes"),
    "bodies both ways at once": requests::row("at the same time", "yes"),
    "WebSocket echo, up to 1 MiB": requests::websocket(),
    "WebSocket declined": requests::row("the origin declines", "its answer arrives"),
    "TCP": requests::tcp(),
    "origin that is down": requests::origin_is_down(),
    "configuration accepted": registration::configuration_accepted(),
    "configuration rejected": registration::configuration_rejected(),
    "wrong secret: tried again and told": registration::wrong_secret(),
    "refused for good: exit with our words": registration::refused_for_good(),
    "duplicate connection: another try": registration::duplicate(),
    "edge restart": lifecycle::edge_restart(),
    "SIGTERM with requests in flight": lifecycle::terminated_in_flight(),
    "SIGTERM while idle": lifecycle::terminated_idle(),
    "SIGTERM twice": lifecycle::terminated_twice(),
};

#[test]
#[ignore = "needs CLOUDFLARED"]
#[expect(clippy::disallowed_methods, reason = "how long a row takes is shown, and decides nothing")]
fn every_row_of_the_table() {
    let wanted = std::env::var("ROW").unwrap_or_default();
    let mut table = String::from("| What | Result | Seconds |\n|---|---|---|\n");
    let mut failed = 0;
    for (name, row) in ROWS.iter().filter(|(name, _)| name.contains(&wanted)) {
        let start = Instant::now();
        let run = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.unwrap().block_on(row());
        });
        let result = match run.join() {
            Ok(()) => "passed".into(),
            Err(panic) => {
                failed += 1;
                format!("FAILED: {}", words(&*panic))
            }
        };
        let seconds = start.elapsed().as_secs_f32();
        writeln!(table, "| {name} | {result} | {seconds:.1} |").unwrap();
    }
    println!("{table}");
    assert_eq!(failed, 0, "rows failed");
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
    text.replace('\n', " ").replace('|', "\\|")
}
