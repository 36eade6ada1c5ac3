//! The echo server: tungstenite's reading of the protocol, whatever carries it.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    sync::oneshot,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async_with_config,
    tungstenite::{
        Error, Message,
        error::ProtocolError,
        handshake::server::{ErrorResponse, Request, Response},
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

/// The longest message that the server takes.
pub const MESSAGE_BYTES: usize = 4 << 20;

/// Where the ends of connections are told, by the path of the handshake.
#[derive(Debug, Clone, Default)]
pub struct Ends(Arc<Mutex<HashMap<String, oneshot::Sender<&'static str>>>>);

impl Ends {
    /// Tells how the connection with this path ends.
    pub fn of(&self, path: &str) -> oneshot::Receiver<&'static str> {
        let (sender, receiver) = oneshot::channel();
        self.0.lock().unwrap().insert(path.into(), sender);
        receiver
    }

    fn tell(&self, path: &str, end: &'static str) {
        if let Some(sender) = self.0.lock().unwrap().remove(path) {
            let _ = sender.send(end);
        }
    }
}

/// Listens on loopback.
pub async fn listen(ends: Ends) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tcp.set_nodelay(true).unwrap();
            let ends = ends.clone();
            tokio::spawn(async move {
                let mut path = String::new();
                #[expect(clippy::result_large_err, reason = "the crate's signature")]
                let read = |request: &Request, response: Response| -> Result<_, ErrorResponse> {
                    path = request.uri().path().into();
                    Ok(response)
                };
                let socket = accept_hdr_async_with_config(tcp, read, Some(config())).await;
                echo(socket.unwrap(), &path, &ends).await;
            });
        }
    });
    address
}

pub fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES))
        .max_frame_size(Some(MESSAGE_BYTES))
}

/// Sends each message back; says what is wrong in a close frame; then waits for the other side, so that
/// nothing sent is lost.
pub async fn echo<S>(mut socket: WebSocketStream<S>, path: &str, ends: &Ends)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let end = loop {
        match socket.next().await {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                if socket.send(message).await.is_err() {
                    break "gone";
                }
            }
            Some(Ok(_)) => {}
            None | Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) => break "closed",
            Some(Err(error)) => break complain(&mut socket, &error).await,
        }
    };
    let mut io = socket.into_inner();
    let _ = io.shutdown().await;
    let mut rest = [0; 4096];
    while matches!(io.read(&mut rest).await, Ok(1..)) {}
    ends.tell(path, end);
}

async fn complain<S>(socket: &mut WebSocketStream<S>, error: &Error) -> &'static str
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (code, end) = match error {
        Error::Io(_) | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            return "gone";
        }
        Error::Utf8(_) => (CloseCode::Invalid, "not UTF-8"),
        Error::Capacity(_) => (CloseCode::Size, "too long"),
        _ => (CloseCode::Protocol, "against the protocol"),
    };
    let frame = CloseFrame { code, reason: end.into() };
    let _ = socket.send(Message::Close(Some(frame))).await;
    end
}
