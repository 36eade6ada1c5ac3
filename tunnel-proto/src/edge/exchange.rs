//! One stream on a connection, from room for it to the head of the answer.

use std::{
    error::Error as StdError,
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, header, request};
use http_body::Body;
use tracing::{Instrument as _, Span, debug, debug_span};

use super::{
    connection::Connection,
    interim::OnInterim,
    place::InFlight,
    push::{self, Applied},
};
use crate::{
    error::{Error, ErrorKind},
    limits,
    net::{
        body::{AbortOnDrop, Incoming},
        collect::collect,
        io::TunnelIo,
        upload,
    },
    stream::{
        kind::StreamKind,
        request as head,
        response::{self, ResponseSource},
        websocket,
    },
    telemetry::{Direction, Measured, Meter, STREAM_SPAN, Side},
};

/// What became of a request for a WebSocket.
#[derive(Debug)]
pub enum Upgrade {
    /// The origin agreed: `101` and its headers for the visitor, then bytes both ways.
    Accepted(Response<()>, TunnelIo),
    /// The origin gave another answer, which is the visitor's.
    Declined(Response<Incoming>),
}

impl Upgrade {
    /// Whether an HTTP/1.1 request asks for a WebSocket (RFC 6455 section 4.2.1), whatever its version.
    pub fn is_asked_for(method: &Method, headers: &HeaderMap) -> bool {
        websocket::is_asked_for(method, headers)
    }
}

/// A request without its body, ready for any connection.
#[derive(Clone)]
pub(crate) struct Outgoing {
    head: Request<()>,
    /// Names that trailers must not state.
    stated: Vec<HeaderName>,
    on_interim: Option<OnInterim>,
}

impl Outgoing {
    fn new(mut parts: request::Parts) -> Result<Self, Error> {
        let on_interim = parts.extensions.remove::<OnInterim>();
        let stated = head::stated_names(&parts);
        Ok(Self { head: head::to_tunnel(parts)?, stated, on_interim })
    }
}

/// Room for one request on a connection. Nothing has been sent yet.
pub(crate) struct Ready {
    pub(super) requests: SendRequest<Bytes>,
    pub(super) in_flight: InFlight,
    /// Whether the connector reads on after it has seen the end of a direction.
    pub(super) can_half_close: bool,
    pub(super) meter: Meter,
}

impl Ready {
    /// The connection that has the room.
    pub(super) fn connection(&self) -> Connection {
        self.in_flight.connection()
    }

    /// Makes the head that travels.
    ///
    /// # Errors
    ///
    /// A request that can't travel is the caller's fault.
    pub(crate) fn pack(&self, parts: request::Parts) -> Result<Outgoing, Error> {
        Outgoing::new(parts).inspect_err(|error| self.meter.failed(error))
    }

    pub(crate) async fn send<B>(
        self,
        outgoing: Outgoing,
        body: B,
    ) -> Result<Response<Incoming>, Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let (meter, span) = self.watch(StreamKind::Http);
        let measured = meter.begin(StreamKind::Http);
        let response = self.exchange(outgoing, body, measured).instrument(span).await;
        match &response {
            Err(error) => meter.failed(error),
            Ok(response) => {
                if let Some(ResponseSource::Connector(_)) = response.extensions().get() {
                    meter.error("origin");
                }
            }
        }
        response
    }

    async fn exchange<B>(
        mut self,
        outgoing: Outgoing,
        body: B,
        measured: Measured,
    ) -> Result<Response<Incoming>, Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let Outgoing { mut head, stated, on_interim } = outgoing;
        let has_body = !body.is_end_stream();
        let is_head = head.method() == Method::HEAD;
        if has_body
            && !head.headers().contains_key(header::CONTENT_LENGTH)
            && let Some(length) = body.size_hint().exact()
        {
            // A connector can frame a body best if it knows the length.
            head.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        let length = head.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        if !has_body && length.is_some_and(|length: u64| length > 0) {
            return Err(
                ErrorKind::Caller("a body shorter than its Content-Length says".into()).into()
            );
        }
        let (answer, mut stream) =
            self.requests.send_request(head, !has_body).map_err(Error::unsent)?;
        self.in_flight.count();
        let mut sending = None;
        let upload = has_body.then(|| {
            let count = self.meter.bytes(Direction::ToOrigin);
            let task = tokio::spawn(async move {
                let sent = upload::send(body, &mut stream, &count, &stated, length).await;
                sent.inspect_err(|error| {
                    debug!(%error, "a request body did not reach the connector");
                })
            });
            AbortOnDrop(sending.insert(task).abort_handle())
        });
        let (parts, body) = match final_head(answer, on_interim).await {
            Ok(response) => response.into_parts(),
            Err(error) => return Err(upload::failure(sending, Error::unanswered(error)).await),
        };
        measured.answered();
        let response = response::from_tunnel(&parts)?;
        Ok(self.response(response, is_head, body, upload, measured))
    }

    pub(crate) async fn upgrade<B>(self, request: Request<B>) -> Result<Upgrade, Error> {
        let (meter, span) = self.watch(StreamKind::WebSocket);
        let measured = meter.begin(StreamKind::WebSocket);
        let upgrade = self.handshake(request, measured).instrument(span).await;
        upgrade.inspect_err(|error| meter.failed(error))
    }

    async fn handshake<B>(
        mut self,
        request: Request<B>,
        measured: Measured,
    ) -> Result<Upgrade, Error> {
        let head = head::websocket_to_tunnel(request.into_parts().0)?;
        let (answer, send) = self.requests.send_request(head, false).map_err(Error::unsent)?;
        self.in_flight.count();
        let (parts, body) = answer.await.map_err(Error::unanswered)?.into_parts();
        measured.answered();
        let response = response::websocket_from_tunnel(&parts)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Upgrade::Declined(self.response(response, false, body, None, measured)));
        }
        Ok(Upgrade::Accepted(response, self.io(body, send, measured)))
    }

    pub(crate) async fn tcp(
        self,
        destination: SocketAddr,
        source: IpAddr,
    ) -> Result<TunnelIo, Error> {
        let (meter, span) = self.watch(StreamKind::Tcp);
        let measured = meter.begin(StreamKind::Tcp);
        let flow = self.open(destination, source, measured).instrument(span).await;
        flow.inspect_err(|error| meter.failed(error))
    }

    async fn open(
        mut self,
        destination: SocketAddr,
        source: IpAddr,
        measured: Measured,
    ) -> Result<TunnelIo, Error> {
        let head = head::tcp(destination, source)?;
        let (answer, send) = self.requests.send_request(head, false).map_err(Error::unsent)?;
        self.in_flight.count();
        let (parts, body) = answer.await.map_err(Error::unanswered)?.into_parts();
        if response::is_flow_limited(&parts) {
            return Err(ErrorKind::Busy.into());
        }
        if parts.status != StatusCode::OK {
            let what = format!("the connector can't reach {destination}");
            return Err(ErrorKind::Unreachable(what).into());
        }
        measured.answered();
        Ok(self.io(body, send, measured))
    }

    pub(super) async fn push(mut self, body: Bytes) -> Result<Applied, Error> {
        let _measured = self.meter.begin(StreamKind::Configuration);
        let head = head::configuration()?;
        let (answer, mut stream) =
            self.requests.send_request(head, false).map_err(Error::unsent)?;
        upload::send_whole(body, &mut stream).await?;
        let (parts, body) = answer.await.map_err(Error::unanswered)?.into_parts();
        if parts.status != StatusCode::OK {
            let what = format!("a configuration was answered with {}", parts.status);
            return Err(ErrorKind::Peer(what).into());
        }
        let limit = ("CONFIGURATION_ANSWER_BYTES", limits::CONFIGURATION_ANSWER_BYTES);
        push::read_answer(&collect(body, limit, "an answer to a configuration").await?)
    }

    /// What goes on, for an operator.
    fn watch(&self, kind: StreamKind) -> (Meter, Span) {
        let span = debug_span!(STREAM_SPAN, side = Side::Edge.as_str(), kind = kind.as_str());
        (self.meter.clone(), span)
    }

    fn response(
        self,
        response: Response<()>,
        is_head: bool,
        body: RecvStream,
        upload: Option<AbortOnDrop>,
        measured: Measured,
    ) -> Response<Incoming> {
        let length = response::body_length(response.status(), response.headers(), is_head);
        let count = self.meter.bytes(Direction::ToVisitor);
        let held = self.in_flight.hurried();
        let guard = Box::new((self.in_flight, measured));
        let body = Incoming::new(&held, body, length, upload, Some(guard));
        let body = body.over_if_whole().counted(count);
        response.map(|()| body)
    }

    fn io(self, body: RecvStream, send: SendStream<Bytes>, measured: Measured) -> TunnelIo {
        let held = self.in_flight.held().clone();
        let guard = Box::new((self.in_flight, measured));
        let count = self.meter.bytes(Direction::ToVisitor);
        let incoming = Incoming::new(&held, body, None, None, Some(guard)).counted(count);
        let count = self.meter.bytes(Direction::ToOrigin);
        TunnelIo::new(incoming, send, self.can_half_close).counted(count)
    }
}

/// Waits for the head of the answer, passing on interim ones (RFC 9110 section 15.2).
async fn final_head(
    mut answer: ResponseFuture,
    on_interim: Option<OnInterim>,
) -> Result<Response<RecvStream>, h2::Error> {
    let Some(on_interim) = on_interim else {
        return answer.await;
    };
    let mut left = limits::INTERIM_RESPONSES;
    poll_fn(|cx: &mut Context<'_>| {
        while let Poll::Ready(Some(Ok(interim))) = answer.poll_informational(cx) {
            let interim = response::interim_from_tunnel(&interim.into_parts().0);
            if let (Some(interim), 1..) = (interim, left) {
                left -= 1;
                on_interim.hear(interim);
            }
        }
        Pin::new(&mut answer).poll(cx)
    })
    .await
}
