//! One connection to an edge, from HTTP/2 handshake to good-bye.

use std::{pin::Pin, sync::Arc};

use h2::Reason;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{Instrument as _, debug, debug_span};

use super::{
    answer,
    configuration::Configurable,
    control::{self, ControlEvent, Greeting},
    event::Event,
    flow,
    service::HttpService,
};
use crate::{
    error::{Error, ErrorKind},
    limits,
    net::{
        held::Held,
        inbound::{Inbound, Stream},
    },
    origin::{OriginFailure, PrivateNetwork},
    rpc::{client::ClientEvent, registration::Registered},
    stream::{kind::StreamKind, response},
    telemetry::{self, Meter, STREAM_SPAN, Side},
};

/// Tells the supervisor that the edge said yes.
pub(super) type OnRegistered<'a> = &'a (dyn Fn(Registered) + Send + Sync);

/// Tells the operator.
pub(super) type OnEvent = Arc<dyn Fn(Event) + Send + Sync>;

/// What answers the streams of a connection.
#[derive(Clone)]
pub(super) struct Handlers<S> {
    pub(super) service: S,
    pub(super) configurable: Option<Arc<Configurable>>,
    pub(super) network: PrivateNetwork,
    pub(super) on_event: OnEvent,
    pub(super) meter: Meter,
}

/// Answering one stream.
type Answer = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<S: HttpService> Handlers<S> {
    /// Boxed, each kind for itself: a task's future is moved several times, and one for all kinds
    /// would be as large as the largest.
    fn answer(
        &self,
        kind: StreamKind,
        stream: Stream,
        held: &Held,
    ) -> impl Future<Output = ()> + Send + use<S> {
        let span = debug_span!(STREAM_SPAN, side = Side::Connector.as_str(), kind = kind.as_str());
        let Self { service, configurable, network, on_event, meter } = self.clone();
        let held = held.clone();
        let answer: Answer = match (kind, configurable) {
            (StreamKind::Http, _) => Box::pin(answer::http(stream, service, on_event, meter, held)),
            (StreamKind::WebSocket, _) => {
                Box::pin(answer::websocket(stream, service, on_event, meter, held))
            }
            (StreamKind::Tcp, _) => Box::pin(flow::carry(stream, network, on_event, meter, held)),
            (StreamKind::Configuration, Some(here)) => Box::pin(async move {
                let _measured = meter.begin(kind);
                here.answer(stream).await;
            }),
            (StreamKind::Configuration, None) | (StreamKind::Control, _) => {
                Box::pin(async move { refuse(stream) })
            }
        };
        answer.instrument(span)
    }
}

/// Turns down what is not served here, as cloudflared turns it down.
fn refuse((_, mut respond): Stream) {
    let head = response::failure(OriginFailure::Unknown);
    if respond.send_response(head, true).is_err() {
        respond.send_reset(Reason::REFUSED_STREAM);
    }
}

/// Serves one connection until shutdown is complete (`Ok`) or something ends it (`Err`).
pub(super) async fn serve<T, S>(
    io: T,
    greeting: Greeting,
    handlers: Handlers<S>,
    shutdown: watch::Receiver<bool>,
    on_registered: OnRegistered<'_>,
) -> Result<(), Error>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: HttpService,
{
    let handshake = timeout(limits::DIAL_TIMEOUT, Inbound::handshake(io)).await;
    let mut connection = handshake.map_err(|_| {
        let error = Error::from(ErrorKind::Network("the edge is silent after TLS".into()));
        error.with_limit("DIAL_TIMEOUT")
    })??;
    let mut silence = std::pin::pin!(connection.silence());
    let (events, mut control) = mpsc::channel::<ControlEvent>(4);
    let mut greeting = Some(greeting);
    let mut state = State::Anonymous;
    // Held until the connection has ended.
    let mut _connected = None;
    let registered = watch::Sender::new(false);
    let mut stopped = shutdown.clone();
    let mut patience = std::pin::pin!(sleep(limits::REGISTER_TIMEOUT));
    // Dropped with the connection, so work at the origin ends when its stream can't be answered.
    let mut requests = JoinSet::new();
    loop {
        // Those that have ended are counted out whenever something else wakes this task. To be
        // woken by each would cost a look at the whole connection each time.
        while requests.try_join_next().is_some() {}
        if state == State::Leaving && requests.is_empty() {
            connection.graceful_shutdown();
            state = State::Left;
        }
        tokio::select! {
            accepted = connection.next(requests.len()) => match accepted {
                Some(Ok((request, respond))) => match StreamKind::of(request.headers()) {
                    StreamKind::Control => {
                        let Some(greeting) = greeting.take() else {
                            return Err(ErrorKind::Peer("a second control stream".into()).into());
                        };
                        let receive = request.into_body();
                        let shutdown = shutdown.clone();
                        tokio::spawn(control::run(greeting, receive, respond, shutdown, events.clone()));
                    }
                    kind => {
                        let answer = handlers.answer(kind, (request, respond), connection.held());
                        requests.spawn(after(registered.subscribe(), answer));
                    }
                },
                Some(Err(error)) => return Err(error),
                None if state >= State::Leaving => return Ok(()),
                None => return Err(ErrorKind::Network("the edge closed the connection".into()).into()),
            },
            event = control.recv() => match event {
                Some(Ok(ClientEvent::Registered(details))) => {
                    state = State::Registered;
                    _connected = Some(handlers.meter.registered());
                    registered.send_replace(true);
                    on_registered(details);
                }
                Some(Ok(ClientEvent::Refused(refusal))) => {
                    telemetry::refused(Side::Connector);
                    return Err(refusal.into());
                }
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
            Some(_) = requests.join_next(), if state == State::Leaving => {}
            _ = stopped.wait_for(|shutdown| *shutdown), if state == State::Anonymous => return Ok(()),
            () = &mut patience, if state == State::Anonymous => {
                let error = Error::from(ErrorKind::Network("the edge did not register us".into()));
                return Err(error.with_limit("REGISTER_TIMEOUT"));
            }
            error = &mut silence => return Err(error),
        }
    }
}

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
