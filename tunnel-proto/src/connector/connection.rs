//! One connection to an edge, from HTTP/2 handshake to good-bye.

use std::{
    error::Error as StdError,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    server::{self, SendResponse},
};
use http::{HeaderMap, Request, Response, header};
use http_body::Body;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tracing::debug;

use super::{
    control::{self, ControlEvent, Greeting},
    event::Event,
    service::{BoxError, HttpService},
};
use crate::{
    error::{Error, ErrorKind},
    limits,
    net::{
        body::Incoming,
        cork::{Cork, Corked, cork},
        liveness, settings, upload,
    },
    origin::{OriginError, OriginFailure},
    rpc::{client::ClientEvent, registration::Registered},
    state::flood::Role,
    stream::{kind::StreamKind, request, response},
};

/// Tells the supervisor that the edge said yes.
pub(super) type OnRegistered<'a> = &'a (dyn Fn(Registered) + Send + Sync);

/// Tells the operator.
pub(super) type OnEvent = Arc<dyn Fn(Event) + Send + Sync>;

/// Serves one connection until shutdown is complete (`Ok`) or something ends it (`Err`).
pub(super) async fn serve<T, S>(
    io: T,
    greeting: Greeting,
    service: S,
    shutdown: watch::Receiver<bool>,
    on_registered: OnRegistered<'_>,
    on_event: OnEvent,
) -> Result<(), Error>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: HttpService,
{
    let (io, mut cork) = cork(io, Role::Connector);
    let handshake = timeout(limits::DIAL_TIMEOUT, settings::connector().handshake(io)).await;
    let mut connection = handshake
        .map_err(|_| Error::from(ErrorKind::Network("the edge is silent after TLS".into())))??;
    let mut alive = std::pin::pin!(liveness::watch(connection.ping_pong()));
    let (events, mut control) = mpsc::channel::<ControlEvent>(4);
    let mut greeting = Some(greeting);
    let mut state = State::Anonymous;
    let registered = watch::Sender::new(false);
    let mut stopped = shutdown.clone();
    // Dropped with the connection, so work at the origin ends when its stream can't be answered.
    let mut requests = JoinSet::new();
    loop {
        if state == State::Leaving && requests.is_empty() {
            connection.graceful_shutdown();
            state = State::Left;
        }
        let busy = requests.len() > 1;
        tokio::select! {
            accepted = poll_fn(|cx| poll_accept(&mut connection, &mut cork, busy, cx)) => match accepted {
                Some(Ok((request, respond))) => match StreamKind::of(request.headers()) {
                    StreamKind::Control => {
                        let Some(greeting) = greeting.take() else {
                            return Err(ErrorKind::Peer("a second control stream".into()).into());
                        };
                        let receive = request.into_body();
                        let shutdown = shutdown.clone();
                        tokio::spawn(control::run(greeting, receive, respond, shutdown, events.clone()));
                    }
                    StreamKind::Http => {
                        let service = service.clone();
                        let answer = answer(request, respond, service, on_event.clone());
                        // Boxed: tokio moves a task's future and its end several times.
                        requests.spawn(Box::pin(after(registered.subscribe(), answer)));
                    }
                    kind => refuse(kind, respond),
                },
                Some(Err(error)) => return Err(error),
                None if state >= State::Leaving => return Ok(()),
                None => return Err(ErrorKind::Network("the edge closed the connection".into()).into()),
            },
            event = control.recv() => match event {
                Some(Ok(ClientEvent::Registered(details))) => {
                    state = State::Registered;
                    registered.send_replace(true);
                    on_registered(details);
                }
                Some(Ok(ClientEvent::Refused(refusal))) => return Err(refusal.into()),
                Some(Ok(ClientEvent::Unregistered)) => state = State::Leaving,
                Some(Ok(ClientEvent::LocalConfiguration(told))) => {
                    if let Err(reason) = told {
                        debug!(reason, "the edge did not take the local configuration");
                    }
                }
                // Without a control stream nobody can take their leave: start anew.
                Some(Err(error)) if state < State::Leaving => return Err(error),
                Some(Err(_)) | None => {}
            },
            Some(_) = requests.join_next() => {}
            _ = stopped.wait_for(|shutdown| *shutdown), if state == State::Anonymous => return Ok(()),
            error = &mut alive => return Err(error),
        }
    }
}

/// The next stream of the edge. While there is none, what waits to be written leaves.
fn poll_accept<T>(
    connection: &mut server::Connection<Corked<T>, Bytes>,
    cork: &mut Cork<T>,
    busy: bool,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Stream, Error>>>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    match connection.poll_accept(cx) {
        Poll::Ready(stream) => Poll::Ready(stream.map(|stream| stream.map_err(Error::from))),
        Poll::Pending => match cork.poll_uncork(busy, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Some(Err(Error::broken(error)))),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        },
    }
}

/// A request and the way to answer it.
type Stream = (Request<RecvStream>, SendResponse<Bytes>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// The edge has not said yes: nothing is served.
    Anonymous,
    Registered,
    /// The edge sends no new streams; those in flight finish.
    Leaving,
    Left,
}

/// Holds a request that overtook the edge's yes: nothing is served to an edge before it.
async fn after(mut registered: watch::Receiver<bool>, answer: impl Future<Output = ()>) {
    if registered.wait_for(|registered| *registered).await.is_ok() {
        answer.await;
    }
}

/// Answers one request through the service.
async fn answer<S: HttpService>(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    service: S,
    on_event: OnEvent,
) {
    let (mut parts, body) = request.into_parts();
    request::from_tunnel(&mut parts);
    let length = content_length(&parts.headers);
    let request = Request::from_parts(parts, Incoming::new(body, length, None, None));
    let response = tokio::select! {
        response = service.answer(request) => response,
        // The visitor left: dropping the call cancels it at the origin.
        _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
    };
    let sent = match response {
        Ok(response) => send_response(response, &mut respond).await,
        Err(error) => {
            on_event(Event::OriginFailed { error: one_line(&*error) });
            let head = response::failure(OriginError::failure_in(&*error));
            respond.send_response(head, true).map(drop).map_err(Error::from)
        }
    };
    if let Err(error) = sent {
        debug!(%error, "a response did not reach the edge");
    }
}

async fn send_response<B>(
    response: Response<B>,
    respond: &mut SendResponse<Bytes>,
) -> Result<(), Error>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (parts, body) = response.into_parts();
    let head = response::to_tunnel(parts);
    let is_empty = body.is_end_stream();
    let mut stream = respond.send_response(head, is_empty)?;
    if is_empty { Ok(()) } else { upload::send(body, &mut stream).await }
}

/// Turns down what this connector does not serve, as cloudflared turns it down.
fn refuse(kind: StreamKind, mut respond: SendResponse<Bytes>) {
    debug!(?kind, "a stream that is not served here");
    let head = response::failure(OriginFailure::Unknown);
    if respond.send_response(head, true).is_err() {
        respond.send_reset(Reason::REFUSED_STREAM);
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// An error and its sources, for a log line.
fn one_line(error: &(dyn StdError + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        line = format!("{line}: {error}");
        source = error.source();
    }
    line
}
