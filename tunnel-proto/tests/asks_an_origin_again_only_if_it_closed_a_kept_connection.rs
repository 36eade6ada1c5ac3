//! An origin may close a connection that it kept while the next request is on its way.

#![expect(clippy::unwrap_used, reason = "a test")]
#![cfg(feature = "http-origin")]

mod harness;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use harness::{collect, full, tunnel};
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tower::Service as _;
use tunnel_proto::{edge::Tunnel, origin::HttpOrigin};

const PATIENCE: Duration = Duration::from_secs(20);

/// Reads one request, with a body if it states its length.
async fn read(io: &mut BufReader<TcpStream>) -> io::Result<()> {
    let (mut length, mut line) = (0, String::new());
    while line != "\r\n" {
        line.clear();
        if io.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    io.read_exact(&mut vec![0; length]).await.map(drop)
}

/// Answers so many requests on each of its connections, and closes it once it has read one more.
async fn answer(mut left: usize, io: TcpStream, seen: &AtomicUsize) -> io::Result<()> {
    let mut io = BufReader::new(io);
    loop {
        read(&mut io).await?;
        seen.fetch_add(1, Ordering::Relaxed);
        if left == 0 {
            return Ok(());
        }
        left -= 1;
        io.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await?;
    }
}

/// A tunnel to an origin whose connections answer so many requests each, the last for ever; and how
/// many requests the origin has seen.
async fn origin(answers: &'static [usize]) -> (Arc<Tunnel>, harness::Running, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = HttpOrigin::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    tokio::spawn(async move {
        let mut answers = answers.iter();
        while let Ok((io, _)) = listener.accept().await {
            let (left, count) = (answers.next().copied().unwrap_or(usize::MAX), Arc::clone(&count));
            tokio::spawn(async move { answer(left, io, &count).await });
        }
    });
    let (tunnel, running) = tunnel(move |request| {
        let mut origin = origin.clone();
        async move {
            match origin.call(request).await {
                Ok(response) => response.map(|body| body.map_err(Into::into).boxed()),
                Err(_) => Response::builder().status(502).body(full("")).unwrap(),
            }
        }
    })
    .await;
    (tunnel, running, seen)
}

async fn send(tunnel: &Tunnel, method: Method, body: &'static str) -> u16 {
    let request = Request::builder().method(method).uri("https://app.example.com/");
    let sent = tunnel.send(request.body(full(body)).unwrap());
    let response = timeout(PATIENCE, sent).await.unwrap().unwrap();
    let status = response.status().as_u16();
    timeout(PATIENCE, collect(response.into_body())).await.unwrap().unwrap();
    status
}

#[tokio::test]
async fn what_may_be_repeated_is_asked_again_once() {
    let (tunnel, _running, seen) = origin(&[1]).await;
    assert_eq!(send(&tunnel, Method::GET, "").await, 200);
    assert_eq!(send(&tunnel, Method::GET, "").await, 200, "over a new connection");
    assert_eq!(seen.load(Ordering::Relaxed), 3);
    // The new connection is closed as well: that is an answer.
    let (tunnel, _running, seen) = origin(&[1, 0]).await;
    assert_eq!(send(&tunnel, Method::GET, "").await, 200);
    assert_eq!(send(&tunnel, Method::GET, "").await, 502);
    assert_eq!(seen.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn what_must_not_be_repeated_is_asked_once() {
    for (method, body) in [(Method::POST, ""), (Method::POST, "order"), (Method::PUT, "page")] {
        let (tunnel, _running, seen) = origin(&[1]).await;
        assert_eq!(send(&tunnel, Method::GET, "").await, 200);
        assert_eq!(send(&tunnel, method, body).await, 502);
        assert_eq!(seen.load(Ordering::Relaxed), 2);
    }
}

#[tokio::test]
async fn a_connection_that_is_closed_at_once_is_not_tried_again() {
    let (tunnel, _running, seen) = origin(&[0]).await;
    assert_eq!(send(&tunnel, Method::GET, "").await, 502);
    assert_eq!(seen.load(Ordering::Relaxed), 1);
}
