//! TCP services behind a WebSocket: what `cloudflared access tcp` and its kin speak to.

use std::{
    future::pending,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use ring::digest;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
    time::{Instant, interval_at},
};
use tower_service::Service;
use tracing::debug;

use super::{
    OriginError,
    body::OriginBody,
    dial::{self, Dial, Target, TcpSettings},
    frames::{self, Piece, Unframer},
    transport::Transport,
};
use crate::{
    error::{Error, ErrorKind},
    limits,
    net::{body::Incoming, upgrade::OnUpgrade},
};

/// A TCP service such as an SSH server, for visitors who speak WebSocket: `cloudflared access tcp`,
/// `ssh`, `rdp` and `smb`.
///
/// The bytes of their messages go to the service, and its bytes come back in binary messages.
/// Messages may have any size and any number of parts, of which no more than a part is held. A quiet
/// WebSocket is pinged every 54 seconds. A visitor without a WebSocket gets 400.
#[derive(Debug, Clone)]
pub struct TcpOrigin {
    dial: Dial,
}

impl TcpOrigin {
    /// Leads to a host, a name or an address, and a port. A TCP connection may take 30 seconds.
    ///
    /// # Errors
    ///
    /// What is no host is the caller's fault.
    pub fn new(host: &str, port: u16) -> Result<Self, Error> {
        Self::with_settings(host, port, TcpSettings::DEFAULT)
    }

    pub(crate) fn with_settings(
        host: &str,
        port: u16,
        settings: TcpSettings,
    ) -> Result<Self, Error> {
        let target = target(host, port).ok_or_else(|| {
            let what = format!("`{}:{port}` is not a host and a port", host.escape_debug());
            Error::from(ErrorKind::Caller(what))
        })?;
        Ok(Self { dial: Dial::new(Target::Tcp(target), settings) })
    }
}

impl Service<Request<Incoming>> for TcpOrigin {
    type Response = Response<OriginBody>;
    type Error = OriginError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, OriginError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OriginError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let dial = self.dial.clone();
        Box::pin(async move {
            answer(request, |_| async move {
                let connecting = dial.connect(Uri::from_static("/")).await;
                connecting.map_err(|error| OriginError::new(dial::failure(&*error), error))
            })
            .await
        })
    }
}

/// The address of a TCP connection as the connector below takes it.
pub(super) fn target(host: &str, port: u16) -> Option<Uri> {
    let is_plain = !host.is_empty() && !host.contains(['/', '@', '?', '#', '[', ']']) && port != 0;
    let authority =
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    format!("http://{authority}/").parse().ok().filter(|_| is_plain)
}

/// Answers a WebSocket once the service is connected, and carries it.
pub(super) async fn answer<C, F>(
    mut request: Request<Incoming>,
    connect: C,
) -> Result<Response<OriginBody>, OriginError>
where
    C: FnOnce(HeaderMap) -> F,
    F: Future<Output = Result<Transport, OriginError>>,
{
    let on_upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).map(accept);
    let (Some(on_upgrade), Some(accept)) = (on_upgrade, key) else {
        return Ok(not_a_websocket());
    };
    let service = connect(request.into_parts().0.headers).await?;
    tokio::spawn(async move {
        match on_upgrade.await {
            Ok(visitor) => {
                if let Err(error) = carry(visitor, service).await {
                    debug!(%error, "a TCP service's WebSocket broke off");
                }
            }
            Err(error) => debug!(%error, "a visitor left before the WebSocket"),
        }
    });
    let mut response = Response::new(OriginBody::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

/// RFC 6455 section 4.2.2.
fn accept(key: &HeaderValue) -> HeaderValue {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes().trim_ascii());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = Bytes::from(STANDARD.encode(hash.finish()));
    // Base64 is always a valid value.
    HeaderValue::from_maybe_shared(accept).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn not_a_websocket() -> Response<OriginBody> {
    let text = "A TCP service is here. Reach it with `cloudflared access tcp`.\n";
    let mut response = Response::new(OriginBody::whole(text));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// What one direction asks the other to say.
enum Say {
    Pong(BytesMut),
    /// The last word.
    Close(Bytes),
}

/// Carries a WebSocket's messages to a TCP connection and back until either has ended.
async fn carry<V, S>(visitor: V, service: S) -> io::Result<()>
where
    V: AsyncRead + AsyncWrite,
    S: AsyncRead + AsyncWrite,
{
    let (mut from_visitor, mut to_visitor) = tokio::io::split(visitor);
    let (mut from_service, mut to_service) = tokio::io::split(service);
    let (say, said) = mpsc::channel(4);
    let there = async {
        unwrap(&mut from_visitor, &mut to_service, say).await?;
        // All has been delivered; the way back ends by itself.
        pending::<io::Result<()>>().await
    };
    let back = wrap(&mut from_service, &mut to_visitor, said);
    tokio::select! {
        ended = there => ended?,
        ended = back => ended?,
    }
    // What the visitor sent is with the service, so this is an orderly end on both sides.
    to_visitor.shutdown().await?;
    to_service.shutdown().await
}

/// Messages to bytes, until the visitor closes.
async fn unwrap<R, W>(from: &mut R, to: &mut W, say: mpsc::Sender<Say>) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut unframer = Unframer::default();
    let mut input = BytesMut::new();
    loop {
        input.reserve(limits::TCP_CHUNK_BYTES);
        let is_end = from.read_buf(&mut input).await? == 0;
        loop {
            let piece = match unframer.next_piece(&mut input) {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) => {
                    debug!(%error, "a visitor broke the WebSocket protocol");
                    let close = frames::control(frames::CLOSE, &PROTOCOL_ERROR.to_be_bytes());
                    let _ = say.send(Say::Close(close)).await;
                    return Ok(());
                }
            };
            match piece {
                Piece::Data(data) => to.write_all(&data).await?,
                Piece::Ping(payload) => {
                    let _ = say.send(Say::Pong(payload)).await;
                }
                Piece::Pong => {}
                Piece::Close(payload) => {
                    to.flush().await?;
                    let close = frames::control(frames::CLOSE, &payload);
                    let _ = say.send(Say::Close(close)).await;
                    return Ok(());
                }
            }
        }
        if is_end {
            return to.flush().await;
        }
    }
}

/// Bytes to messages, until the service closes or the visitor has.
async fn wrap<R, W>(from: &mut R, to: &mut W, mut said: mpsc::Receiver<Say>) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; frames::HEAD_BYTES + limits::TCP_CHUNK_BYTES];
    let mut ping = interval_at(first_ping(), limits::WEBSOCKET_PING_INTERVAL);
    loop {
        tokio::select! {
            read = from.read(&mut buffer[frames::HEAD_BYTES..]) => {
                let read = read?;
                if read == 0 {
                    let close = frames::control(frames::CLOSE, &NORMAL.to_be_bytes());
                    return to.write_all(&close).await;
                }
                let frame = &mut buffer[..frames::HEAD_BYTES + read];
                let start = frames::frame_in_place(frame);
                to.write_all(&frame[start..]).await?;
                to.flush().await?;
            }
            say = said.recv() => match say {
                Some(Say::Pong(payload)) => {
                    to.write_all(&frames::control(frames::PONG, &payload)).await?;
                    to.flush().await?;
                }
                Some(Say::Close(close)) => return to.write_all(&close).await,
                // The visitor is gone without a word.
                None => return Ok(()),
            },
            _ = ping.tick() => {
                to.write_all(&frames::control(frames::PING, &[])).await?;
                to.flush().await?;
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a shell; tokio's clock, so tests can pause it")]
fn first_ping() -> Instant {
    Instant::now() + limits::WEBSOCKET_PING_INTERVAL
}

/// RFC 6455 section 7.4.1.
const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    #[test]
    fn the_accept_of_the_standard() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_websocket_is_pinged() {
        let (mut visitor, theirs) = duplex(1024);
        let (_service, ours) = duplex(1024);
        tokio::spawn(carry(theirs, ours));
        let start = first_ping();
        let mut ping = [0; 4];
        visitor.read_exact(&mut ping).await.unwrap();
        assert_eq!(ping, [0x89, 0, 0x89, 0]);
        assert_eq!(first_ping().duration_since(start), 2 * limits::WEBSOCKET_PING_INTERVAL);
    }

    #[tokio::test]
    async fn a_visitor_who_breaks_the_protocol_is_told() {
        let (mut visitor, theirs) = duplex(1024);
        let (mut service, ours) = duplex(1024);
        let carried = tokio::spawn(carry(theirs, ours));
        visitor.write_all(&[0x82, 0x01, b'x']).await.unwrap();
        let mut close = Vec::new();
        visitor.read_to_end(&mut close).await.unwrap();
        assert_eq!(close, [0x88, 2, 3, 234]);
        assert_eq!(service.read(&mut [0; 8]).await.unwrap(), 0);
        carried.await.unwrap().unwrap();
    }
}
