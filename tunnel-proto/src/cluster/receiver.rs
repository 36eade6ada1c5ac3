//! Answering other nodes' requests from this node's own tunnels.

use std::{
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, server::SendResponse};
use http::{Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{Semaphore, mpsc, oneshot, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig, server::TlsStream};
use tracing::debug;

use super::{
    node::NodeName,
    wire::{self, Asked, Refusal},
};
use crate::{
    edge::{OnInterim, Router, Tunnel, Upgrade},
    error::{Error, ErrorKind, one_line},
    limits,
    net::{body::Incoming, held::Held, inbound::Inbound, io::TunnelIo, relay::relay, upload},
    stream::response,
    telemetry::ByteCount,
};

/// Answers other nodes from the connections that serve at this one, and from nowhere else: a
/// request never hops twice.
#[derive(Clone)]
pub struct Receiver {
    router: Arc<Router>,
    tls: TlsAcceptor,
    admits: Arc<dyn Fn(&NodeName) -> bool + Send + Sync>,
}

impl Receiver {
    /// Takes requests for the tunnels of `router` from nodes that `admits` says yes to.
    ///
    /// `config` must ask for client certificates and verify them against the authority of the nodes.
    /// Whoever shows none is turned away here, too, as is a certificate none of whose DNS names is
    /// admitted. The ALPN names of `config` are replaced by the nodes' own.
    ///
    /// # Security
    ///
    /// An admitted node is believed about everything: who the visitor is, and that he may pass. If the
    /// authority also signs other certificates, `admits` must tell nodes apart by their names.
    pub fn new(
        router: Arc<Router>,
        config: &ServerConfig,
        admits: impl Fn(&NodeName) -> bool + Send + Sync + 'static,
    ) -> Self {
        let mut config = config.clone();
        config.alpn_protocols = vec![wire::ALPN.to_vec()];
        Self { router, tls: Arc::new(config).into(), admits: Arc::new(admits) }
    }

    /// Accepts connections until `shutdown` resolves, then lets requests in flight finish.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes every connection.
    pub async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) {
        let handshakes = Arc::new(Semaphore::new(limits::NODE_HANDSHAKES));
        let (stop, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let permit = tokio::select! {
                permit = Arc::clone(&handshakes).acquire_owned() => permit,
                () = &mut shutdown => break,
            };
            let tcp = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((tcp, _)) => tcp,
                    Err(error) => {
                        // Out of file descriptors, for instance: others may be closed soon.
                        debug!(%error, "can't accept a node's connection");
                        sleep(limits::REFUSAL_LINGER).await;
                        continue;
                    }
                },
                Some(_) = connections.join_next() => continue,
                () = &mut shutdown => break,
            };
            let (receiver, mut stopped) = (self.clone(), stopped.clone());
            connections.spawn(async move {
                let _ = tcp.set_nodelay(true);
                let greeted = timeout(limits::NODE_DIAL_TIMEOUT, receiver.tls.accept(tcp)).await;
                drop(permit);
                let served = match greeted {
                    Ok(Ok(tls)) => {
                        let stopped = async move { drop(stopped.wait_for(|stop| *stop).await) };
                        receiver.serve(tls, stopped).await
                    }
                    Ok(Err(error)) => Err(Error::broken(error)),
                    Err(_) => Err(ErrorKind::Network("no TLS within three seconds".into()).into()),
                };
                if let Err(error) = served {
                    debug!(error = one_line(&error), "a node's connection ended");
                }
            });
        }
        drop(listener);
        stop.send_replace(true);
        while connections.join_next().await.is_some() {}
    }

    /// Serves one connection that has finished TLS, until the other node closes it, or until `shutdown`
    /// resolves and the requests in flight are answered.
    ///
    /// For listeners that tell nodes apart from others by ALPN; the name to offer is [`Receiver::ALPN`].
    ///
    /// # Errors
    ///
    /// A peer that shows no certificate of an admitted node, or speaks another protocol, is a
    /// [peer's fault](Error::is_peer_fault); else what ended the connection.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    pub async fn serve<T>(
        &self,
        tls: TlsStream<T>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), Error>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let node = self.admit(&tls)?;
        debug!(%node, "an edge node connected");
        let handshake = timeout(limits::NODE_DIAL_TIMEOUT, Inbound::handshake(tls)).await;
        let mut connection = handshake
            .map_err(|_| Error::from(ErrorKind::Network("a node is silent after TLS".into())))??;
        let mut silence = pin!(connection.silence());
        let mut shutdown = pin!(shutdown);
        let mut is_leaving = false;
        // Dropped with the connection: work for a node that is gone ends.
        let mut requests = JoinSet::new();
        loop {
            tokio::select! {
                accepted = connection.next(requests.len()) => match accepted {
                    Some(Ok((request, respond))) => {
                        let (router, held) = (Arc::clone(&self.router), connection.held().clone());
                        requests.spawn(answer(router, request, respond, held));
                    }
                    Some(Err(error)) => return Err(error),
                    None => return Ok(()),
                },
                Some(_) = requests.join_next() => {}
                () = &mut shutdown, if !is_leaving => {
                    is_leaving = true;
                    connection.graceful_shutdown();
                }
                error = &mut silence => return Err(error),
            }
        }
    }

    /// The protocol's name in ALPN.
    pub const ALPN: &'static [u8] = wire::ALPN;

    /// The name of the node at the other end.
    fn admit<T>(&self, tls: &TlsStream<T>) -> Result<NodeName, Error> {
        let session = tls.get_ref().1;
        if session.alpn_protocol() != Some(wire::ALPN) {
            return Err(peer("a client that is not an edge node").into());
        }
        let Some(certificate) = session.peer_certificates().and_then(<[_]>::first) else {
            return Err(peer("a node without a certificate").into());
        };
        let certificate = webpki::EndEntityCert::try_from(certificate)
            .map_err(|error| Error::from(peer("an unreadable certificate")).with_source(error))?;
        certificate
            .valid_dns_names()
            .filter_map(|name| name.parse().ok())
            .find(|name| (self.admits)(name))
            .ok_or_else(|| peer("a certificate of no node that is admitted").into())
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

/// Answers one request from a tunnel of this node.
async fn answer(
    router: Arc<Router>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    held: Held,
) {
    let (parts, body) = request.into_parts();
    let length = parts.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let body = Incoming::new(&held, body, length, None, None);
    let asked = wire::open_request(Request::from_parts(parts, ()));
    let answered = match asked.and_then(|(tunnel, asked)| {
        router.tunnel(tunnel).map(|tunnel| (tunnel, asked)).ok_or(Refusal::Offline)
    }) {
        Ok((tunnel, Asked::Http(head))) => http(&tunnel, head, body, &mut respond).await,
        Ok((tunnel, Asked::WebSocket(request))) => {
            let opened = unless_left(tunnel.upgrade(request), &mut respond).await;
            websocket(opened, body, &mut respond).await
        }
        Ok((tunnel, Asked::Tcp { destination, source })) => {
            let opened = unless_left(tunnel.tcp(destination, source), &mut respond).await;
            tcp(opened, body, &mut respond).await
        }
        Err(refusal) => refuse(refusal, &mut respond),
    };
    if let Err(error) = answered {
        debug!(error = one_line(&error), "an answer did not reach the other node whole");
    }
}

async fn http(
    tunnel: &Tunnel,
    mut head: Request<()>,
    body: Incoming,
    respond: &mut SendResponse<Bytes>,
) -> Result<(), Error> {
    let (wish, mut wished) = oneshot::channel();
    let body = Awaited { body, wish: Some(wish) };
    // Of one request, `limits::INTERIM_RESPONSES` are heard at most.
    let (hear, mut heard) = mpsc::unbounded_channel();
    head.extensions_mut().insert(OnInterim::new(move |interim| drop(hear.send(interim))));
    let mut sending = pin!(tunnel.send(head.map(|()| body)));
    let mut is_wished = false;
    let response = loop {
        tokio::select! {
            biased;
            wish = &mut wished, if !is_wished => {
                is_wished = true;
                if wish.is_ok() {
                    respond.send_informational(go_on())?;
                }
            }
            Some(interim) = heard.recv() => tell(interim, respond)?,
            response = &mut sending => break response,
            // The visitor left: dropping the call cancels it at the origin.
            _ = poll_fn(|cx| respond.poll_reset(cx)) => return Ok(()),
        }
    };
    // Those that came together with it.
    while let Ok(interim) = heard.try_recv() {
        tell(interim, respond)?;
    }
    match response {
        Ok(response) => send_response(response, respond).await,
        Err(error) => refuse(Refusal::of(&error), respond),
    }
}

fn tell(interim: Response<()>, respond: &mut SendResponse<Bytes>) -> Result<(), Error> {
    let (parts, ()) = interim.into_parts();
    match response::interim_to_tunnel(parts.status, parts.headers) {
        Some(head) => Ok(respond.send_informational(head)?),
        None => Ok(()),
    }
}

async fn websocket(
    opened: Option<Result<Upgrade, Error>>,
    body: Incoming,
    respond: &mut SendResponse<Bytes>,
) -> Result<(), Error> {
    match opened {
        Some(Ok(Upgrade::Accepted(response, io))) => {
            let Ok(head) = wire::response(response.into_parts().0) else {
                return refuse(Refusal::Peer, respond);
            };
            join(respond.send_response(head, false)?, body, io).await
        }
        Some(Ok(Upgrade::Declined(response))) => send_response(response, respond).await,
        Some(Err(error)) => refuse(Refusal::of(&error), respond),
        None => Ok(()),
    }
}

async fn tcp(
    opened: Option<Result<TunnelIo, Error>>,
    body: Incoming,
    respond: &mut SendResponse<Bytes>,
) -> Result<(), Error> {
    match opened {
        Some(Ok(io)) => join(respond.send_response(wire::flow(), false)?, body, io).await,
        Some(Err(error)) => refuse(Refusal::of(&error), respond),
        None => Ok(()),
    }
}

/// Carries bytes between the other node and a stream of a tunnel.
async fn join(send: SendStream<Bytes>, body: Incoming, io: TunnelIo) -> Result<(), Error> {
    relay(TunnelIo::new(body, send, true), io).await.map(drop).map_err(Error::broken)
}

/// Waits, but no longer than the other node does.
async fn unless_left<T>(
    opening: impl Future<Output = Result<T, Error>>,
    respond: &mut SendResponse<Bytes>,
) -> Option<Result<T, Error>> {
    tokio::select! {
        opened = opening => Some(opened),
        _ = poll_fn(|cx| respond.poll_reset(cx)) => None,
    }
}

fn refuse(refusal: Refusal, respond: &mut SendResponse<Bytes>) -> Result<(), Error> {
    debug!(?refusal, "no answer for another node");
    respond.send_response(wire::refusal(refusal), true).map(drop).map_err(Error::from)
}

async fn send_response(
    response: Response<Incoming>,
    respond: &mut SendResponse<Bytes>,
) -> Result<(), Error> {
    let (parts, body) = response.into_parts();
    let is_empty = body.is_end_stream();
    let Ok(head) = wire::response(parts) else {
        return refuse(Refusal::Peer, respond);
    };
    let mut stream = respond.send_response(head, is_empty)?;
    if is_empty {
        Ok(())
    } else {
        upload::send(body, &mut stream, &ByteCount::default(), &[], None).await
    }
}

/// `100 Continue`: send the body.
fn go_on() -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::CONTINUE;
    head
}

/// A request body that tells when it is first read. That is once a connection has been found for the
/// request; before, the first node can still take the request elsewhere.
struct Awaited {
    body: Incoming,
    wish: Option<oneshot::Sender<()>>,
}

impl Body for Awaited {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(wish) = self.wish.take() {
            let _ = wish.send(());
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn peer(what: &str) -> ErrorKind {
    ErrorKind::Peer(what.into())
}
