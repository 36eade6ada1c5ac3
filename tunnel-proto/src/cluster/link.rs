//! One HTTP/2 connection to another node, as its client.

use std::{error::Error as StdError, future::poll_fn, sync::Arc};

use bytes::Bytes;
use h2::{
    SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{Method, Request, Response, StatusCode, header};
use http_body::Body;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};
use tracing::debug;

use super::wire;
use crate::{
    edge::{OnInterim, Upgrade, driver::Driver},
    error::{self, Error, ErrorKind},
    limits,
    net::{
        body::{AbortOnDrop, Incoming},
        cork::cork,
        io::TunnelIo,
        settings, upload,
    },
    state::flood::Role,
    stream::response,
    telemetry::ByteCount,
};

/// An open connection; it closes when this is dropped.
pub(super) struct Link {
    requests: SendRequest<Bytes>,
    in_flight: watch::Sender<usize>,
    driver: Driver,
}

/// A request that got no response.
pub(super) struct Failed<B> {
    pub(super) error: Error,
    /// What else belongs to it, its body, if nothing of that has been read.
    pub(super) rest: Option<B>,
    /// Whether certainly no connector has seen anything of it.
    pub(super) is_unsent: bool,
}

/// One request's place in the count.
///
/// It also keeps the connection open, when nobody else does any more.
struct Place(Arc<Link>);

impl Place {
    fn take(link: &Arc<Link>) -> Self {
        link.in_flight.send_modify(|count| *count += 1);
        Self(Arc::clone(link))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.send_modify(|count| *count -= 1);
    }
}

impl Link {
    pub(super) async fn open<T>(io: T) -> Result<Self, Error>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (io, cork) = cork(io, Role::Edge);
        let (requests, connection) = settings::edge().handshake(io).await?;
        let in_flight = watch::Sender::new(0);
        let driver = Driver::spawn(connection, cork, in_flight.subscribe());
        Ok(Self { requests, in_flight, driver })
    }

    pub(super) fn is_over(&self) -> bool {
        self.driver.is_over()
    }

    pub(super) fn in_flight(&self) -> usize {
        *self.in_flight.borrow()
    }

    /// Whether one more request would have to wait for another's end.
    pub(super) fn is_full(&self) -> bool {
        let allowed = self.requests.current_max_send_streams();
        self.in_flight() >= allowed.min(limits::CONCURRENT_STREAMS as usize)
    }

    /// Whether a request can be sent just now; if not, the connection is done for.
    pub(super) async fn is_ready(&self) -> bool {
        self.requests.clone().ready().await.is_ok()
    }

    /// Opens a stream of bytes, and waits for the answer that opens it at the other end, or doesn't.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future resets the stream.
    pub(super) async fn open_stream(
        self: &Arc<Self>,
        head: Request<()>,
    ) -> Result<Upgrade, Failed<()>> {
        let place = Place::take(self);
        let mut requests = match self.requests.clone().ready().await {
            Ok(requests) => requests,
            Err(error) => return Err(Failed::before(error, ())),
        };
        let (answer, send) = match requests.send_request(head, false) {
            Ok(sent) => sent,
            Err(error) => return Err(Failed::before(error, ())),
        };
        let (parts, incoming) = match answer.await {
            Ok(response) => response.into_parts(),
            Err(error) => return Err(Failed::after(error, Some(()))),
        };
        let is_open = wire::is_stream(&parts.headers);
        let response = wire::open_response(parts).map_err(|refusal| Failed {
            error: refusal.into_error(),
            rest: Some(()),
            is_unsent: refusal.is_unsent(),
        })?;
        let length = response::body_length(response.status(), response.headers(), false)
            .filter(|_| !is_open);
        let held = self.driver.held();
        let held = if is_open { held.clone() } else { held.hurried(limits::STALL_PATIENCE) };
        let incoming = Incoming::new(&held, incoming, length, None, Some(Box::new(place)));
        Ok(if is_open {
            Upgrade::Accepted(response, TunnelIo::new(incoming, send, true))
        } else {
            Upgrade::Declined(response.map(|()| incoming))
        })
    }

    /// Sends a request and waits for the head of the response. The body is not read before the
    /// other node has asked for it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future resets the stream.
    pub(super) async fn send<B>(
        self: &Arc<Self>,
        mut head: Request<()>,
        body: B,
        on_interim: Option<&OnInterim>,
    ) -> Result<Response<Incoming>, Failed<B>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let place = Place::take(self);
        let has_body = !body.is_end_stream();
        let is_head = head.method() == Method::HEAD;
        if has_body
            && !head.headers().contains_key(header::CONTENT_LENGTH)
            && let Some(length) = body.size_hint().exact()
        {
            // As on the way to a connector, which can frame a body best if it knows the length.
            head.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        let length = head.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let mut requests = match self.requests.clone().ready().await {
            Ok(requests) => requests,
            Err(error) => return Err(Failed::before(error, body)),
        };
        let (mut answer, stream) = match requests.send_request(head, !has_body) {
            Ok(sent) => sent,
            Err(error) => return Err(Failed::before(error, body)),
        };
        let (mut unread, mut stream) = (Some(body), Some(stream));
        let mut upload = None;
        if has_body && is_wanted(&mut answer, on_interim).await {
            upload =
                unread.take().zip(stream.take()).map(|(body, stream)| start(body, stream, length));
        }
        if on_interim.is_some() {
            while is_wanted(&mut answer, on_interim).await {}
        }
        let (parts, incoming) = match answer.await {
            Ok(response) => response.into_parts(),
            Err(error) => return Err(Failed::after(error, unread)),
        };
        match wire::open_response(parts) {
            Ok(response) => {
                // The response may overtake the wish for the body.
                if has_body && let (Some(body), Some(stream)) = (unread, stream) {
                    upload = Some(start(body, stream, length));
                }
                let answer_length =
                    response::body_length(response.status(), response.headers(), is_head);
                let held = self.driver.held().hurried(limits::STALL_PATIENCE);
                let guard = Some(Box::new(place) as Box<_>);
                let body = Incoming::new(&held, incoming, answer_length, upload, guard);
                let body = body.over_if_whole();
                Ok(response.map(|()| body))
            }
            Err(refusal) => {
                let is_unsent = unread.is_some() && refusal.is_unsent();
                Err(Failed { error: refusal.into_error(), rest: unread, is_unsent })
            }
        }
    }
}

impl<B> Failed<B> {
    pub(super) fn map<C>(self, map: impl FnOnce(B) -> C) -> Failed<C> {
        Failed { error: self.error, rest: self.rest.map(map), is_unsent: self.is_unsent }
    }

    /// The request left, and no answer came; `rest` is what has not been read of it.
    fn after(error: h2::Error, rest: Option<B>) -> Self {
        let is_unsent = rest.is_some() && error::is_untouched(&error);
        // What was too much for one connection is not to be tried on the next.
        let rest = rest.filter(|_| !error::is_overburdened(&error));
        Self { error: lost(error), rest, is_unsent }
    }

    /// The request never left.
    pub(super) fn before(error: impl Into<Error>, body: B) -> Self {
        Self { error: error.into(), rest: Some(body), is_unsent: true }
    }
}

/// Sends a body in a task of its own, which ends with the exchange.
fn start<B>(body: B, mut stream: SendStream<Bytes>, length: Option<u64>) -> AbortOnDrop
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let task = tokio::spawn(async move {
        let sent = upload::send(body, &mut stream, &ByteCount::default(), &[], length).await;
        if let Err(error) = sent {
            debug!(%error, "a request body did not reach the other node");
        }
    });
    AbortOnDrop(task.abort_handle())
}

/// Waits until the other node asks for the body (`100 Continue`), or answers without. Passes on the
/// origin's interim responses meanwhile.
async fn is_wanted(answer: &mut ResponseFuture, on_interim: Option<&OnInterim>) -> bool {
    loop {
        match poll_fn(|cx| answer.poll_informational(cx)).await {
            Some(Ok(interim)) if interim.status() == StatusCode::CONTINUE => return true,
            Some(Ok(interim)) => {
                let interim = response::interim_from_tunnel(&interim.into_parts().0);
                if let (Some(on_interim), Some(interim)) = (on_interim, interim) {
                    on_interim.hear(interim);
                }
            }
            Some(Err(_)) | None => return false,
        }
    }
}

fn lost(error: h2::Error) -> Error {
    let what = "the connection to the other edge node broke";
    Error::from(ErrorKind::Network(what.into())).with_source(error)
}
