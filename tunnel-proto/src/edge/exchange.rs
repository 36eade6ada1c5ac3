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
    RecvStream,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::Body;
use tracing::debug;

use super::{
    connection::InFlight,
    interim::OnInterim,
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
    stream::{request, response, websocket},
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

/// Room for one request on a connection. Nothing has been sent yet.
pub(crate) struct Ready {
    pub(super) requests: SendRequest<Bytes>,
    pub(super) in_flight: InFlight,
    /// Whether the connector reads on after it has seen the end of a direction.
    pub(super) can_half_close: bool,
}

impl Ready {
    pub(crate) async fn send<B>(mut self, request: Request<B>) -> Result<Response<Incoming>, Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let (mut parts, body) = request.into_parts();
        let on_interim = parts.extensions.remove::<OnInterim>();
        let mut head = request::to_tunnel(parts)?;
        let has_body = !body.is_end_stream();
        if has_body
            && !head.headers().contains_key(header::CONTENT_LENGTH)
            && let Some(length) = body.size_hint().exact()
        {
            // A connector can frame a body best if it knows the length.
            head.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        let (answer, mut stream) = self.requests.send_request(head, !has_body)?;
        self.in_flight.count();
        let upload = has_body.then(|| {
            let task = tokio::spawn(async move {
                if let Err(error) = upload::send(body, &mut stream).await {
                    debug!(%error, "a request body did not reach the connector");
                }
            });
            AbortOnDrop(task.abort_handle())
        });
        let (parts, body) = final_head(answer, on_interim).await?.into_parts();
        let response = response::from_tunnel(&parts)?;
        Ok(response_of(response, body, upload, self.in_flight))
    }

    pub(crate) async fn upgrade<B>(mut self, request: Request<B>) -> Result<Upgrade, Error> {
        let head = request::websocket_to_tunnel(request.into_parts().0)?;
        let (answer, send) = self.requests.send_request(head, false)?;
        self.in_flight.count();
        let (parts, body) = answer.await?.into_parts();
        let response = response::websocket_from_tunnel(&parts)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Upgrade::Declined(response_of(response, body, None, self.in_flight)));
        }
        let incoming = Incoming::new(body, None, None, Some(Box::new(self.in_flight)));
        Ok(Upgrade::Accepted(response, TunnelIo::new(incoming, send, self.can_half_close)))
    }

    pub(crate) async fn tcp(
        mut self,
        destination: SocketAddr,
        source: IpAddr,
    ) -> Result<TunnelIo, Error> {
        let head = request::tcp(destination, source)?;
        let (answer, send) = self.requests.send_request(head, false)?;
        self.in_flight.count();
        let (parts, body) = answer.await?.into_parts();
        if response::is_flow_limited(&parts) {
            return Err(ErrorKind::Busy.into());
        }
        if parts.status != StatusCode::OK {
            let what = format!("the connector can't reach {destination}");
            return Err(ErrorKind::Unreachable(what).into());
        }
        let incoming = Incoming::new(body, None, None, Some(Box::new(self.in_flight)));
        Ok(TunnelIo::new(incoming, send, self.can_half_close))
    }

    pub(super) async fn push(mut self, body: Bytes) -> Result<Applied, Error> {
        let head = request::configuration()?;
        let (answer, mut stream) = self.requests.send_request(head, false)?;
        upload::send_whole(body, &mut stream).await?;
        let (parts, body) = answer.await?.into_parts();
        if parts.status != StatusCode::OK {
            let what = format!("a configuration was answered with {}", parts.status);
            return Err(ErrorKind::Peer(what).into());
        }
        push::read_answer(&collect(body, push::ANSWER_BYTES, "an answer to a configuration").await?)
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

fn response_of(
    response: Response<()>,
    body: RecvStream,
    upload: Option<AbortOnDrop>,
    in_flight: InFlight,
) -> Response<Incoming> {
    let length = content_length(response.headers());
    let body = Incoming::new(body, length, upload, Some(Box::new(in_flight)));
    response.map(|()| body)
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
