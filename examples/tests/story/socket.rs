//! An origin with WebSockets: it agrees to every handshake and echoes what follows, byte by byte.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// A running origin.
#[derive(Debug)]
pub struct SocketOrigin {
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const PAGE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage";

impl SocketOrigin {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("an address");
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(serve(tcp, Arc::clone(&seen)));
            }
        });
        Self { address, heads }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The request heads so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("nobody panicked").clone()
    }
}

async fn serve(mut tcp: TcpStream, heads: Arc<Mutex<Vec<String>>>) {
    let mut head = String::new();
    loop {
        let Ok(byte) = tcp.read_u8().await else { return };
        head.push(char::from(byte));
        if !head.ends_with("\r\n\r\n") {
            continue;
        }
        let is_handshake = head.to_lowercase().contains("\r\nupgrade: websocket\r\n");
        heads.lock().expect("nobody panicked").push(std::mem::take(&mut head));
        if is_handshake {
            break;
        }
        if tcp.write_all(PAGE.as_bytes()).await.is_err() {
            return;
        }
    }
    if tcp.write_all(SWITCH.as_bytes()).await.is_ok() {
        let (mut read, mut write) = tcp.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    }
}
