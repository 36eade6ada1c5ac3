//! An origin that can misbehave: it speaks bytes, not HTTP.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

use super::PATIENCE;

/// A running origin.
#[derive(Debug)]
pub struct Origin {
    pub address: SocketAddr,
    seen: watch::Receiver<Vec<Seen>>,
}

/// What has come on one connection.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub bytes: String,
    /// Whether the connection has ended.
    pub is_over: bool,
}

/// When an origin answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// As soon as it has seen a request's head.
    Head,
    /// Once it has seen the body to its end.
    Whole,
}

impl Origin {
    /// Answers each connection's first request head with these bytes and closes.
    pub async fn answers(bytes: impl Into<Vec<u8>>) -> Self {
        Self::start(When::Head, bytes.into()).await
    }

    /// Answers `200` to whole requests only, and closes.
    pub async fn takes_uploads() -> Self {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nthanks";
        Self::start(When::Whole, answer.into()).await
    }

    async fn start(when: When, answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("an address");
        let (sender, seen) = watch::channel(Vec::new());
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(serve(tcp, when, answer.clone(), sender.clone()));
            }
        });
        Self { address, seen }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections there have been.
    pub fn count(&self) -> usize {
        self.seen.borrow().len()
    }

    /// Waits until something has come, and gives it.
    pub async fn wait_for(&self, what: &str, is_it: impl Fn(&Seen) -> bool) -> Seen {
        let mut receiver = self.seen.clone();
        let found = timeout(PATIENCE, receiver.wait_for(|seen| seen.iter().any(&is_it))).await;
        let Ok(Ok(seen)) = found else { panic!("{what}: {:?}", self.seen.borrow()) };
        seen.iter().find(|seen| is_it(seen)).cloned().expect("just seen")
    }
}

async fn serve(mut tcp: TcpStream, when: When, answer: Vec<u8>, sender: watch::Sender<Vec<Seen>>) {
    let mut index = 0;
    sender.send_modify(|seen| {
        index = seen.len();
        seen.push(Seen::default());
    });
    let mut bytes = Vec::new();
    while tcp.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let is_time = is_time(when, &text);
        sender.send_modify(|seen| seen[index].bytes = text);
        if is_time {
            let _ = tcp.write_all(&answer).await;
            break;
        }
    }
    let _ = tcp.shutdown().await;
    sender.send_modify(|seen| seen[index].is_over = true);
}

fn is_time(when: When, bytes: &str) -> bool {
    let text = bytes.to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    if when == When::Head {
        return true;
    }
    match head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        Some(length) => length.parse().is_ok_and(|length: usize| body.len() >= length),
        None => !head.contains("transfer-encoding: chunked") || body.ends_with("0\r\n\r\n"),
    }
}

/// An address at which nobody listens.
pub fn nobody() -> SocketAddr {
    super::loopback::free_address()
}
