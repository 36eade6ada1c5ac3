//! The rows of the fidelity table, and how one is observed.

use std::pin::Pin;

use super::{Seen, Stage, bodies, ends, heads, streams};

type Row = for<'a> fn(&'a mut Stage) -> Pin<Box<dyn Future<Output = Seen> + 'a>>;

macro_rules! rows {
    ($($name:literal: $row:path),* $(,)?) => {
        &[$(($name, |stage| Box::pin($row(stage)))),*]
    };
}

/// What is looked at, in the order of the table.
const ROWS: &[(&str, Row)] = rows! {
    "Request and response bodies stream at the same time": bodies::both_ways,
    "A visitor who does not read holds the origin back": bodies::slow_visitor,
    "An origin that does not read holds the visitor back": bodies::slow_origin,
    "Upload of 32 MiB with its length": bodies::upload_with_length,
    "Upload of 32 MiB in chunks": bodies::upload_in_chunks,
    "Download of 32 MiB": bodies::download,
    "Server-sent events: the first before the second is there": bodies::first_event,
    "Slow body with a length: the first bytes before the last": bodies::first_bytes,
    "Answer before the upload is over": bodies::early_answer,
    "Packed body for a visitor who did not ask for one": bodies::packed,
    "Trailers of a response": heads::response_trailers,
    "Trailers of a request": heads::request_trailers,
    "`Expect: 100-continue`": heads::expect_continue,
    "`103 Early Hints`": heads::early_hints,
    "HEAD": heads::head,
    "204": heads::no_content,
    "304": heads::not_modified,
    "Header bytes outside ASCII": heads::bytes_outside_ascii,
    "100 equal header names": heads::equal_names,
    "Empty header values": heads::empty_values,
    "Path and query byte for byte": heads::path,
    "Headers that the connector adds to a request": heads::added,
    "WebSocket: a frame of 1 MiB, there and back": streams::frame,
    "WebSocket: the visitor ends, the origin goes on": streams::visitor_ends,
    "WebSocket: the origin ends, the visitor goes on": streams::origin_ends,
    "WebSocket: the origin declines": streams::declined,
    "TCP flow: the visitor ends, the origin goes on": streams::tcp,
    "The visitor leaves before the answer": ends::visitor_leaves_early,
    "The visitor leaves during the answer": ends::visitor_leaves_late,
    "The visitor's upload breaks off": ends::upload_breaks_off,
    "The origin breaks off, body with a length": ends::length_breaks_off,
    "The origin breaks off, body in chunks": ends::chunks_break_off,
};

/// Observes the rows whose name has these words, one after the other.
pub async fn observe(stage: &mut Stage, wanted: &str) -> Vec<(&'static str, String)> {
    let mut table = Vec::new();
    for (name, row) in ROWS.iter().filter(|(name, _)| name.contains(wanted)) {
        let observed = row(stage).await.unwrap_or_else(|problem| format!("fails: {problem}"));
        table.push((*name, observed));
    }
    table
}
