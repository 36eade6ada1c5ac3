//! Answering one HTTP or WebSocket request through the service.

use std::{future::poll_fn, pin::pin, task::Poll};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body::Body;
use tokio::sync::oneshot;
use tracing::debug;

use super::{
    connection::OnEvent,
    event::Event,
    service::{BoxError, HttpService},
};
use crate::{
    error::{Error, one_line},
    net::{
        body::Incoming, held::Held, inbound::Stream, interim::Interim, io::TunnelIo,
        upgrade::OnUpgrade, upload,
    },
    origin::OriginError,
    stream::{kind::StreamKind, request, response, websocket},
    telemetry::{Direction, Meter},
};

/// Answers one request through the service.
pub(super) async fn http<S: HttpService>(
    stream: Stream,
    service: S,
    on_event: OnEvent,
    meter: Meter,
    held: Held,
) {
    let measured = meter.begin(StreamKind::Http);
    let (request, mut respond) = stream;
    let (mut parts, body) = request.into_parts();
    request::from_tunnel(&mut parts);
    let length = content_length(&parts.headers);
    let body =
        Incoming::new(&held, body, length, None, None).counted(meter.bytes(Direction::ToOrigin));
    let sent = match ask(Request::from_parts(parts, body), service, &mut respond).await {
        Some(Ok(response)) => {
            measured.answered();
            send(response, &mut respond, &on_event, &meter).await
        }
        Some(Err(error)) => fail(&error, &mut respond, &on_event, &meter),
        None => return,
    };
    if let Err(error) = sent {
        debug!(%error, "a response did not reach the edge");
    }
}

/// Answers a handshake, and ends when the WebSocket does.
pub(super) async fn websocket<S: HttpService>(
    stream: Stream,
    service: S,
    on_event: OnEvent,
    meter: Meter,
    held: Held,
) {
    let measured = meter.begin(StreamKind::WebSocket);
    let (request, mut respond) = stream;
    let (mut parts, body) = request.into_parts();
    request::from_tunnel(&mut parts);
    websocket::restore(&mut parts.headers);
    let (switched, on_upgrade) = OnUpgrade::new();
    parts.extensions.insert(on_upgrade);
    // The bytes that follow belong to the WebSocket, so the handshake itself has no body.
    let request = Request::from_parts(parts, Incoming::empty());
    let sent = match ask(request, service, &mut respond).await {
        Some(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            measured.answered();
            match response::to_tunnel(response.into_parts().0) {
                Ok(head) => switch(head, body, respond, switched, &meter, &held).await,
                Err(error) => fail(&error.into(), &mut respond, &on_event, &meter),
            }
        }
        Some(Ok(response)) => send(response, &mut respond, &on_event, &meter).await,
        Some(Err(error)) => fail(&error, &mut respond, &on_event, &meter),
        None => return,
    };
    if let Err(error) = sent {
        debug!(%error, "a response did not reach the edge");
    }
}

/// Calls the service, until the visitor leaves: dropping the call cancels it at the origin.
async fn ask<S: HttpService>(
    mut request: Request<Incoming>,
    service: S,
    respond: &mut SendResponse<Bytes>,
) -> Option<Result<Response<S::Body>, BoxError>> {
    let interim = Interim::default();
    request.extensions_mut().insert(interim.clone());
    let mut response = pin!(service.answer(request));
    poll_fn(|cx| {
        let response = response.as_mut().poll(cx);
        interim.drain(respond, cx);
        match response {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => respond.poll_reset(cx).map(|_| None),
        }
    })
    .await
}

async fn send<B>(
    response: Response<B>,
    respond: &mut SendResponse<Bytes>,
    on_event: &OnEvent,
    meter: &Meter,
) -> Result<(), Error>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (parts, body) = response.into_parts();
    let head = match response::to_tunnel(parts) {
        Ok(head) => head,
        Err(error) => return fail(&error.into(), respond, on_event, meter),
    };
    let is_empty = body.is_end_stream();
    let mut stream = respond.send_response(head, is_empty)?;
    if is_empty {
        return Ok(());
    }
    upload::send(body, &mut stream, &meter.bytes(Direction::ToVisitor), &[], None).await
}

/// Hands the bytes to the service, and waits until it has let go of them.
async fn switch(
    head: Response<()>,
    body: RecvStream,
    mut respond: SendResponse<Bytes>,
    switched: oneshot::Sender<TunnelIo>,
    meter: &Meter,
    held: &Held,
) -> Result<(), Error> {
    let stream = respond.send_response(head, false)?;
    let (open, closed) = oneshot::channel::<()>();
    let incoming = Incoming::new(held, body, None, None, Some(Box::new(open)))
        .counted(meter.bytes(Direction::ToOrigin));
    let io = TunnelIo::new(incoming, stream, true).counted(meter.bytes(Direction::ToVisitor));
    if let Err(mut unwanted) = switched.send(io) {
        debug!("a service agreed to an upgrade that it does not take");
        unwanted.reset(Reason::INTERNAL_ERROR);
    } else {
        let _ = closed.await;
    }
    Ok(())
}

fn fail(
    error: &BoxError,
    respond: &mut SendResponse<Bytes>,
    on_event: &OnEvent,
    meter: &Meter,
) -> Result<(), Error> {
    meter.error("origin");
    on_event(Event::OriginFailed { error: one_line(&**error) });
    let head = response::failure(OriginError::failure_in(&**error));
    Ok(respond.send_response(head, true).map(drop)?)
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
