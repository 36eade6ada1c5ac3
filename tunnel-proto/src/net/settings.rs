//! HTTP/2 settings of both ends. Every bound that `h2` leaves wide is set here.

use h2::{client, server};

use crate::limits;

/// For an accepted socket: the edge is the HTTP/2 client.
pub(crate) fn edge() -> client::Builder {
    let mut builder = client::Builder::new();
    builder
        .initial_window_size(limits::STREAM_WINDOW)
        .initial_connection_window_size(limits::CONNECTION_WINDOW)
        .max_frame_size(limits::FRAME_BYTES)
        .max_header_list_size(limits::RESPONSE_HEADER_LIST_BYTES)
        .max_send_buffer_size(limits::SEND_BUFFER_BYTES)
        .data_frame_budget(limits::DATA_FRAME_BUDGET)
        .max_concurrent_streams(0)
        .max_concurrent_reset_streams(limits::REMEMBERED_RESETS)
        // A tunnel lives for days, so budgets counted over its whole life would end it one day.
        // `state::flood` has one for each second.
        .max_local_error_reset_streams(None)
        .enable_push(false);
    builder
}

/// For a dialed socket: the connector is the HTTP/2 server.
pub(crate) fn connector() -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .initial_window_size(limits::STREAM_WINDOW)
        .initial_connection_window_size(limits::CONNECTION_WINDOW)
        .max_frame_size(limits::FRAME_BYTES)
        .max_header_list_size(limits::REQUEST_HEADER_LIST_BYTES)
        .max_send_buffer_size(limits::SEND_BUFFER_BYTES)
        .data_frame_budget(limits::DATA_FRAME_BUDGET)
        .max_concurrent_streams(limits::CONCURRENT_STREAMS)
        .max_concurrent_reset_streams(limits::REMEMBERED_RESETS)
        .max_local_error_reset_streams(None)
        // A visitor may leave while his request waits to be accepted: many may.
        .max_pending_accept_reset_streams(limits::CONCURRENT_STREAMS as usize);
    builder
}
