//! An authority asks any node, also one that did not order.
#![cfg(all(feature = "acme", any(feature = "ring", feature = "aws-lc-rs")))]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]
#![allow(clippy::disallowed_methods, reason = "the authority lives by the real clock")]

#[path = "support/pebble.rs"]
mod pebble;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cert_manager::{
    Resolver,
    acme::{Challenge, Http01, Solver, TlsAlpn01},
    presets,
    rustls::server::Acceptor,
    storage::{Entry, Key, MemoryStore, Storage, Version, Work},
};
use pebble::{Pebble, Settings};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::LazyConfigAcceptor;

const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";

fn challenge(kind: &str, name: &str, token: &str) -> Challenge {
    let text = format!(
        r#"{{"kind":"{kind}","name":"{name}","token":"{token}","key_authorization":"{token}.x"}}"#
    );
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn what_one_node_shows_over_http_all_answer_until_it_is_withdrawn() {
    let store = Arc::new(Watched::default());
    let (one, other) = (Http01::shared(store.clone()), Http01::shared(store.clone()));
    let challenge = challenge("http-01", "a.example", TOKEN);
    one.present(&challenge).await.unwrap();
    let path = challenge.http_path();
    assert_eq!(other.find(&path).await, Some(format!("{TOKEN}.x")));
    assert_eq!(other.answer(&path), None, "it is in the store alone");
    let looks = store.looks();
    assert_eq!(one.find(&path).await, Some(format!("{TOKEN}.x")));
    assert_eq!(store.looks(), looks, "its own answers cost no look");
    for odd in ["", "short", "../../../../etc/passwd", &"x".repeat(257), "a/b/c/d/e/f/g/h/i/j/k"] {
        assert_eq!(other.find(&format!("/.well-known/acme-challenge/{odd}")).await, None);
    }
    assert_eq!(other.find("/index.html").await, None);
    assert_eq!(store.looks(), looks, "what can be no token costs no look");
    one.withdraw(&challenge).await.unwrap();
    assert_eq!(other.find(&path).await, None);
    assert_eq!(one.find(&path).await, None);
    assert_eq!(store.inner.list("").await.unwrap(), []);
}

#[tokio::test]
async fn what_one_node_shows_in_handshakes_all_answer_until_it_is_withdrawn() {
    let store = Arc::new(MemoryStore::new());
    let node = || TlsAlpn01::shared(Resolver::new(), store.clone());
    let (one, other) = (node(), node());
    let first = challenge("tls-alpn-01", "a.example", TOKEN);
    one.present(&first).await.unwrap();
    let config = other.find("A.example").await.unwrap();
    assert_eq!(config.alpn_protocols, [presets::ACME_TLS_ALPN]);
    assert!(other.find("b.example").await.is_none());
    // Another node takes the order over, and the first one comes late to take its answer away.
    let second = challenge("tls-alpn-01", "a.example", "another-token-of-the-authority");
    other.present(&second).await.unwrap();
    one.withdraw(&first).await.unwrap();
    assert!(one.find("a.example").await.is_some());
    other.withdraw(&second).await.unwrap();
    assert!(one.find("a.example").await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_holds_an_authority_up_for_five_seconds_at_most() {
    let store = Arc::new(Watched { hangs: true, ..Watched::default() });
    let node = Http01::shared(store.clone());
    let start = tokio::time::Instant::now();
    let mut strangers = Vec::new();
    for at in 0..100 {
        let node = node.clone();
        let path = format!("/.well-known/acme-challenge/a-token-of-nobody-{at}");
        strangers.push(tokio::spawn(async move { node.find(&path).await }));
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(store.looks(), 8, "the others wait for their turn");
    for stranger in strangers {
        assert_eq!(stranger.await.unwrap(), None);
    }
    assert_eq!(start.elapsed(), Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs pebble"]
async fn pebble_asks_the_node_that_did_not_order() {
    let pebble = Pebble::start(&Settings::default());
    let store = pebble.store("both");
    let ordering = pebble.account_in(&store).solver(Http01::shared(store.clone())).build().unwrap();
    let answering = Http01::shared(store.clone());
    let listener = TcpListener::bind(("127.0.0.1", pebble.http)).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 2048];
            let count = stream.read(&mut buffer).await.unwrap();
            let head = String::from_utf8_lossy(&buffer[..count]).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default();
            let body = answering.find(path).await.unwrap_or_default();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let certificate = ordering.obtain(&["a.example".parse().unwrap()]).await.unwrap();
    assert_eq!(certificate.names()[0].as_str(), "a.example");

    let ordering = TlsAlpn01::shared(Resolver::new(), store.clone());
    let acme = pebble.account_in(&store).solver(ordering).build().unwrap();
    let answering = TlsAlpn01::shared(Resolver::new(), store.clone());
    let listener = TcpListener::bind(("127.0.0.1", pebble.tls)).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = LazyConfigAcceptor::new(Acceptor::default(), stream);
            let Ok(start) = acceptor.await else { continue };
            let name = start.client_hello().server_name().unwrap_or_default().to_owned();
            let Some(config) = answering.find(&name).await else { continue };
            let _ = start.into_stream(Arc::new(config)).await;
        }
    });
    let certificate = acme.obtain(&["b.example".parse().unwrap()]).await.unwrap();
    assert_eq!(certificate.names()[0].as_str(), "b.example");
}

/// Counts looks, and never answers if told so.
#[derive(Debug, Default)]
struct Watched {
    inner: MemoryStore,
    looks: AtomicUsize,
    hangs: bool,
}

impl Watched {
    fn looks(&self) -> usize {
        self.looks.load(Ordering::Relaxed)
    }
}

impl Storage for Watched {
    fn get<'a>(&'a self, key: &'a Key) -> Work<'a, Option<Entry>> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        if self.hangs { Box::pin(std::future::pending()) } else { self.inner.get(key) }
    }

    fn put<'a>(
        &'a self,
        key: &'a Key,
        value: &'a [u8],
        expected: Option<Version>,
    ) -> Work<'a, Version> {
        self.inner.put(key, value, expected)
    }

    fn delete<'a>(&'a self, key: &'a Key, version: Version) -> Work<'a, ()> {
        self.inner.delete(key, version)
    }

    fn list<'a>(&'a self, folder: &'a str) -> Work<'a, Vec<Key>> {
        self.inner.list(folder)
    }
}
