//! How many connections to an origin are kept, and for how long.

#![expect(clippy::unwrap_used, reason = "a test")]
#![cfg(feature = "http-origin")]

mod harness;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use harness::{collect, full, tunnel};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, time::timeout};
use tower::Service as _;
use tunnel_proto::{
    edge::Tunnel,
    limits,
    origin::{HttpOrigin, HttpOriginBuilder},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A tunnel to an origin with these options, and how many connections the origin has.
async fn origin(
    options: impl FnOnce(HttpOriginBuilder) -> HttpOriginBuilder,
) -> (Arc<Tunnel>, harness::Running, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let origin = options(HttpOrigin::builder(url)).build().unwrap();
    let open = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&open);
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let hello = service_fn(async |_| {
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello"))))
                });
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(io), hello).await;
                count.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    let (tunnel, running) = tunnel(move |request| {
        let mut origin = origin.clone();
        async move {
            match origin.call(request).await {
                Ok(response) => response.map(|body| body.map_err(Into::into).boxed()),
                Err(error) => {
                    Response::builder().status(502).body(full(error.to_string())).unwrap()
                }
            }
        }
    })
    .await;
    (tunnel, running, open)
}

async fn hello(tunnel: &Tunnel, host: &str) {
    let request = Request::get(format!("https://{host}/")).body(full("")).unwrap();
    let response = timeout(PATIENCE, tunnel.send(request)).await.unwrap().unwrap();
    let body = timeout(PATIENCE, collect(response.into_body())).await.unwrap().unwrap();
    assert_eq!(body, "hello", "{host}");
}

#[tokio::test]
async fn connections_of_so_many_hosts_are_kept_and_all_hosts_served() {
    let (tunnel, _running, open) = origin(|options| options.http2(true)).await;
    for number in 0..limits::ORIGIN_HOSTS + 40 {
        hello(&tunnel, &format!("h{number}.example.test")).await;
    }
    let closed = async {
        while open.load(Ordering::Relaxed) > limits::ORIGIN_HOSTS {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let is_closed = timeout(Duration::from_secs(20), closed).await.is_ok();
    assert!(is_closed, "{} connections are kept", open.load(Ordering::Relaxed));
    assert_eq!(open.load(Ordering::Relaxed), limits::ORIGIN_HOSTS, "those of known hosts are");
}

#[tokio::test]
async fn a_time_without_end_is_for_ever() {
    let most = Some(Duration::MAX);
    let (tunnel, _running, open) = origin(|options| {
        options.keep_alive_timeout(most).connect_timeout(most).tcp_keep_alive(most)
    })
    .await;
    for _ in 0..3 {
        hello(&tunnel, "app.example.test").await;
    }
    assert_eq!(open.load(Ordering::Relaxed), 1, "it is kept");
}
