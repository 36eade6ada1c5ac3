//! One registered connection of a connector.

use std::{
    error::Error as StdError,
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Response, header};
use http_body::Body;
use tokio::{sync::watch, task::AbortHandle, time::timeout};
use tracing::debug;

use super::{control::ControlStream, driver::Driver};
use crate::{
    error::{Error, ErrorKind},
    id::ConnectionId,
    limits,
    net::{
        body::{AbortOnDrop, Incoming},
        upload,
    },
    rpc::{
        registration::{Registered, Registration},
        server::ServerEvent,
    },
    stream::{request, response},
};

/// A registered connection. Clones are handles to the same one; it closes with the last of them.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

/// Where a connection is in its life. It only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Takes requests.
    Serving,
    /// The connector took its leave: requests in flight finish, no new ones start.
    Draining,
    /// Gone.
    Closed,
}

struct Shared {
    registration: Registration,
    registered: Registered,
    requests: SendRequest<Bytes>,
    phase: watch::Sender<Phase>,
    in_flight: watch::Sender<usize>,
    sent: AtomicUsize,
    driver: Driver,
}

/// One request's place in the count, from before it is sent until its response body is dropped.
struct InFlight(Arc<Shared>);

impl InFlight {
    /// Takes a place unless the connection is full: no more streams than the connector allows,
    /// beside the control stream.
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let allowed = shared.requests.current_max_send_streams();
        let allowed = allowed.saturating_sub(1).min(limits::CONCURRENT_STREAMS as usize);
        let taken = shared.in_flight.send_if_modified(|count| {
            let is_free = *count < allowed;
            *count += usize::from(is_free);
            is_free
        });
        taken.then(|| Self(Arc::clone(shared)))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.send_modify(|count| *count -= 1);
    }
}

impl Connection {
    pub(super) fn new(
        registration: Registration,
        registered: Registered,
        requests: SendRequest<Bytes>,
        in_flight: watch::Sender<usize>,
        control: ControlStream,
        driver: Driver,
    ) -> Self {
        let ended = driver.ended();
        let closer = driver.closer();
        let shared = Arc::new(Shared {
            registration,
            registered,
            requests,
            phase: watch::Sender::new(Phase::Serving),
            in_flight,
            sent: AtomicUsize::new(0),
            driver,
        });
        tokio::spawn(supervise(
            shared.phase.clone(),
            shared.in_flight.subscribe(),
            shared.registered.connection_id,
            control,
            ended,
            closer,
        ));
        Self { shared }
    }

    /// Sends a request and waits for the head of the response.
    ///
    /// The request's host is its URI's authority or else its `Host` header; the path must be in
    /// origin form. Identity headers go into [`EdgeHeaders`](super::EdgeHeaders). The response's
    /// extensions hold a [`ResponseSource`](super::ResponseSource).
    ///
    /// # Errors
    ///
    /// [`Error::is_busy`] if no stream came free within ten seconds. A request that can't travel
    /// is the [caller's fault](Error::is_caller_fault), an unreadable answer the
    /// [peer's](Error::is_peer_fault).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future resets the stream; the connector then cancels its work at the origin.
    pub async fn send<B>(&self, request: Request<B>) -> Result<Response<Incoming>, Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let ready = self.ready().await?;
        ready.send(request).await
    }

    /// Waits for room for one more request, which has not been touched yet.
    pub(super) async fn ready(&self) -> Result<Ready, Error> {
        if self.phase() != Phase::Serving {
            return Err(ErrorKind::Network("the connection takes no more requests".into()).into());
        }
        let in_flight = timeout(limits::STREAM_WAIT, self.place())
            .await
            .map_err(|_| Error::from(ErrorKind::Busy))?;
        let requests = self.shared.requests.clone().ready().await?;
        Ok(Ready { requests, in_flight })
    }

    async fn place(&self) -> InFlight {
        let mut changes = self.shared.in_flight.subscribe();
        loop {
            if let Some(in_flight) = InFlight::take(&self.shared) {
                return in_flight;
            }
            // The sender lives as long as `self`.
            let _ = changes.changed().await;
        }
    }

    /// Hangs up. Requests in flight fail.
    pub fn close(&self) {
        self.shared.driver.closer().abort();
    }

    /// Waits until the connection reaches a phase or has gone past it.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only watches.
    pub async fn reached(&self, phase: Phase) {
        let mut phases = self.shared.phase.subscribe();
        let _ = phases.wait_for(|now| *now >= phase).await;
    }

    /// Where the connection is in its life.
    pub fn phase(&self) -> Phase {
        *self.shared.phase.borrow()
    }

    /// What the connector said when it registered.
    pub fn registration(&self) -> &Registration {
        &self.shared.registration
    }

    /// What the edge answered.
    pub fn registered(&self) -> &Registered {
        &self.shared.registered
    }

    /// Requests that wait, run or still send their bodies.
    pub fn in_flight(&self) -> usize {
        *self.shared.in_flight.borrow()
    }

    /// Requests sent so far.
    pub fn sent(&self) -> usize {
        self.shared.sent.load(Ordering::Relaxed)
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.shared.registered.connection_id)
            .field("connector", &self.shared.registration.connector_id)
            .field("index", &self.shared.registration.connection_index)
            .field("phase", &self.phase())
            .finish_non_exhaustive()
    }
}

/// Room for one request on a connection.
pub(crate) struct Ready {
    requests: SendRequest<Bytes>,
    in_flight: InFlight,
}

impl Ready {
    pub(crate) async fn send<B>(mut self, request: Request<B>) -> Result<Response<Incoming>, Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
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
        self.in_flight.0.sent.fetch_add(1, Ordering::Relaxed);
        let upload = has_body.then(|| {
            let task = tokio::spawn(async move {
                if let Err(error) = upload::send(body, &mut stream).await {
                    debug!(%error, "a request body did not reach the connector");
                }
            });
            AbortOnDrop(task.abort_handle())
        });
        let (parts, body) = answer.await?.into_parts();
        let response = response::from_tunnel(&parts)?;
        let length = content_length(response.headers());
        let in_flight = self.in_flight;
        let body = Incoming::new(body, length, upload, Some(Box::new(in_flight)));
        Ok(response.map(|()| body))
    }
}

fn content_length(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Moves the phase along as control stream and connection end.
async fn supervise(
    phase: watch::Sender<Phase>,
    mut in_flight: watch::Receiver<usize>,
    id: ConnectionId,
    mut control: ControlStream,
    ended: impl Future<Output = Option<String>>,
    closer: AbortHandle,
) {
    let mut ended = pin!(ended);
    let reason = tokio::select! {
        () = leave(id, &mut control) => {
            phase.send_replace(Phase::Draining);
            // Keep answering on the control stream while the last requests finish, then hang up:
            // cloudflared waits for that.
            let drained = async {
                let _ = in_flight.wait_for(|count| *count == 0).await;
                let _ = timeout(limits::REFUSAL_LINGER, control.closed()).await;
            };
            tokio::select! {
                () = drained => {
                    closer.abort();
                    None
                }
                reason = &mut ended => reason,
            }
        }
        reason = &mut ended => reason,
    };
    let reason = reason.as_deref().unwrap_or("closed by the edge");
    debug!(connection = %id, reason, "the connection ended");
    phase.send_replace(Phase::Closed);
}

/// Returns once the connector takes its leave, or can no longer say anything.
async fn leave(id: ConnectionId, control: &mut ControlStream) {
    loop {
        match control.next().await {
            Ok(Some(ServerEvent::LocalConfiguration(json))) => {
                debug!(connection = %id, bytes = json.len(), "the connector told its rules");
            }
            Ok(Some(ServerEvent::Register(_) | ServerEvent::Closed)) => {}
            Ok(Some(ServerEvent::Unregister)) => {
                debug!(connection = %id, "the connector takes its leave");
                return;
            }
            Ok(None) => return,
            Err(error) => {
                debug!(connection = %id, %error, "the control stream broke");
                return;
            }
        }
    }
}
