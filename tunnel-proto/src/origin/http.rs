//! An origin that speaks HTTP.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header, uri};
use http_body::Body;
use hyper_util::{client::legacy::Client, rt::TokioIo};
use tower_service::Service;
use tracing::debug;

use super::{
    OriginError, OriginFailure,
    body::{OriginBody, RequestBody},
    dial::{self, Dial, Used},
    http_builder::HttpOriginBuilder,
};
use crate::{
    error::Error,
    limits,
    net::{body::Incoming, interim::Interim, relay::relay, upgrade::OnUpgrade},
    state::hosts::KnownHosts,
};

/// A web server on the connector's side, such as `http://10.0.0.5:8080`.
///
/// A WebSocket and interim responses pass. Connections are kept and used again. The request's `Host`, method, path and headers arrive as
/// the visitor sent them; nothing is added unless an option of the [builder](Self::builder) says
/// so. In particular no `Accept-Encoding` is, which cloudflared adds.
#[derive(Debug, Clone)]
pub struct HttpOrigin(pub(super) Arc<Server>);

/// One for all clones: a service is cloned for each request.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) clients: Clients,
    /// If the request's host stands for the connection: it is the name that TLS asks for, or HTTP/2's
    /// `:authority`.
    pub(super) hosts: Option<Hosts>,
    pub(super) scheme: uri::Scheme,
    /// As given, for people.
    pub(super) authority: uri::Authority,
    pub(super) host_header: Option<HeaderValue>,
    /// Whether the server reads bodies of known length only.
    pub(super) needs_length: bool,
}

/// What speaks to the origin, and keeps its connections.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) main: Client<Dial, RequestBody>,
    /// Speaks HTTP/1.1, for what HTTP/2 does not carry here: a WebSocket.
    pub(super) http1: Option<Client<Dial, RequestBody>>,
}

/// Hosts that have connections of their own.
#[derive(Debug)]
pub(super) struct Hosts {
    pub(super) known: Mutex<KnownHosts>,
    /// For the others: keeps none.
    pub(super) single: Clients,
}

impl Hosts {
    /// Whether connections for a host are kept.
    fn keeps(&self, host: &uri::Authority) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.handle_request(host.as_str(), now())
    }
}

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

impl HttpOrigin {
    /// Points to an origin: `http://` with a host and perhaps a port, and no path.
    ///
    /// # Errors
    ///
    /// Anything else is the caller's fault, with what would be right.
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::builder(url).build()
    }

    /// Starts with where the origin is: `http://`, `https://`, `unix:` or `unix+tls:`.
    pub fn builder(url: impl Into<String>) -> HttpOriginBuilder {
        HttpOriginBuilder::new(url.into())
    }

    /// The origin's host and port as given; `localhost` for a Unix socket.
    pub fn authority(&self) -> &str {
        self.0.authority.as_str()
    }

    /// Sends a request that is not a visitor's.
    #[cfg(feature = "ingress")]
    pub(crate) async fn send(
        &self,
        request: Request<RequestBody>,
    ) -> Result<Response<OriginBody>, OriginError> {
        self.0.send(request).await
    }
}

impl Server {
    async fn send(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<OriginBody>, OriginError> {
        let on_upgrade = request.extensions_mut().remove::<OnUpgrade>();
        if let Some(interim) = request.extensions_mut().remove::<Interim>() {
            hyper::ext::on_informational(&mut request, move |head| {
                interim.send(head.status(), head.headers().clone());
            });
        }
        self.state_host(&mut request);
        let target = self.target(&request);
        let target = target.map_err(|error| OriginError::new(OriginFailure::Unknown, error))?;
        let single = self
            .hosts
            .as_ref()
            .filter(|hosts| target.authority().is_some_and(|host| !hosts.keeps(host)));
        let Clients { main, http1 } = single.map_or(&self.clients, |hosts| &hosts.single);
        *request.uri_mut() = target;
        let speaks_http2 = http1.is_some();
        let http1 = http1.as_ref().filter(|_| on_upgrade.is_some());
        if speaks_http2 && http1.is_none() {
            // HTTP/2 states the host in `:authority`; hyper makes it `Host` where it speaks HTTP/1.1.
            request.headers_mut().remove(header::HOST);
        }
        let client = http1.unwrap_or(main);
        let mut response = request_twice(client, request).await.map_err(failed)?;
        if let Some(used) = response.extensions_mut().remove::<Used>() {
            used.set();
        }
        match (response.status(), on_upgrade) {
            (StatusCode::SWITCHING_PROTOCOLS, Some(on_upgrade)) => Ok(join(response, on_upgrade)),
            (StatusCode::SWITCHING_PROTOCOLS, None) => {
                Err(OriginError::new(OriginFailure::BrokeOff, "an upgrade that nobody asked for"))
            }
            _ => {
                let version = response.version();
                Ok(response.map(|body| OriginBody::stream(body, version)))
            }
        }
    }

    fn state_host(&self, request: &mut Request<RequestBody>) {
        if let Some(host) = &self.host_header
            && let Some(given) = request.headers_mut().insert(header::HOST, host.clone())
        {
            request.headers_mut().insert(FORWARDED_HOST, given);
        }
    }

    fn target(&self, request: &Request<RequestBody>) -> Result<Uri, http::Error> {
        let authority = match request.headers().get(header::HOST) {
            Some(host) if self.hosts.is_some() => {
                uri::Authority::from_maybe_shared(Bytes::copy_from_slice(host.as_bytes()))?
            }
            _ => self.authority.clone(),
        };
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        Uri::builder().scheme(self.scheme.clone()).authority(authority).path_and_query(path).build()
    }
}

impl Service<Request<Incoming>> for HttpOrigin {
    type Response = Response<OriginBody>;
    type Error = OriginError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, OriginError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OriginError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let server = Arc::clone(&self.0);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let is_framed = body.is_end_stream() || body.size_hint().exact().is_some();
            let body = if server.needs_length && !is_framed {
                match whole(body).await? {
                    Some(body) => RequestBody::Whole(Some(body).filter(|body| !body.is_empty())),
                    None => return Ok(length_required()),
                }
            } else {
                RequestBody::Stream(body)
            };
            server.send(Request::from_parts(parts, body)).await
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "a shell: whose connections are still kept")]
fn now() -> Instant {
    Instant::now()
}

/// Joins the origin's end of a WebSocket to the visitor's; the bytes are theirs alone.
fn join(
    mut response: Response<hyper::body::Incoming>,
    on_upgrade: OnUpgrade,
) -> Response<OriginBody> {
    let origin = hyper::upgrade::on(&mut response);
    tokio::spawn(async move {
        match (origin.await, on_upgrade.await) {
            (Ok(origin), Ok(visitor)) => {
                if let Err(error) = relay(visitor, TokioIo::new(origin)).await {
                    debug!(%error, "a WebSocket broke off");
                }
            }
            (Err(error), _) => debug!(%error, "an origin agreed to a WebSocket and broke off"),
            (_, Err(error)) => debug!(%error, "a visitor left before the WebSocket"),
        }
    });
    response.map(|_| OriginBody::empty())
}

/// Sends a request, and once more if the kept connection it went over turns out to be closed. hyper does
/// that by itself for what it has not begun to write; what it has written may have arrived, so the
/// request must be idempotent and without a body (RFC 9110 section 9.2.2).
async fn request_twice(
    client: &Client<Dial, RequestBody>,
    request: Request<RequestBody>,
) -> Result<Response<hyper::body::Incoming>, hyper_util::client::legacy::Error> {
    let (parts, body) = request.into_parts();
    let is_repeatable = parts.method.is_idempotent() && body.is_end_stream();
    let spare = is_repeatable.then(|| parts.clone());
    match (client.request(Request::from_parts(parts, body)).await, spare) {
        (Err(error), Some(spare)) if dial::is_stale(&error) => {
            debug!(%error, "a request is sent once more to an origin");
            client.request(Request::from_parts(spare, RequestBody::Whole(None))).await
        }
        (answer, _) => answer,
    }
}

fn failed(error: hyper_util::client::legacy::Error) -> OriginError {
    let failure = if error.is_connect() { dial::failure(&error) } else { OriginFailure::BrokeOff };
    OriginError::new(failure, error)
}

/// Reads a body to its end, if that is within the bound. Trailers have no place beside a length.
async fn whole(mut body: Incoming) -> Result<Option<Bytes>, OriginError> {
    let mut whole = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|error| OriginError::new(OriginFailure::Unknown, error))?;
        if let Ok(data) = frame.into_data() {
            if whole.len() + data.len() > limits::BUFFERED_REQUEST_BYTES {
                return Ok(None);
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(Some(whole.freeze()))
}

/// cloudflared would write the body unframed into a connection that it uses again: what the
/// visitor sent would be the next visitor's request.
fn length_required() -> Response<OriginBody> {
    let text = format!(
        "The origin needs a Content-Length, or at most {} bytes (BUFFERED_REQUEST_BYTES).\n",
        limits::BUFFERED_REQUEST_BYTES
    );
    let mut response = Response::new(OriginBody::whole(text));
    *response.status_mut() = StatusCode::LENGTH_REQUIRED;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}
