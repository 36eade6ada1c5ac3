//! What an exchange holds survives the hop between two edge nodes.

#![cfg(feature = "cluster")]
#![expect(clippy::unwrap_used, reason = "a test")]

mod harness;
mod nodes;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use harness::{collect, full};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use nodes::{Authority, PATIENCE, TestNode, announced, tunnel};
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};
use tunnel_proto::{
    cluster::MemoryDirectory,
    edge::{EdgeHeaders, Incoming, OriginFailure, ResponseSource},
    origin::OriginError,
};

const URL: &str = "https://app.example.com/";

/// Node A without connectors, and B with one that answers with `handler`.
async fn two_nodes<F, Fut>(handler: F) -> (TestNode, TestNode)
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<harness::AnyBody>> + Send + 'static,
{
    let (authority, directory) = (Authority::new(), Arc::new(MemoryDirectory::new()));
    let a = TestNode::start(&authority, "a", Arc::clone(&directory)).await;
    let mut b = TestNode::start(&authority, "b", Arc::clone(&directory)).await;
    b.connect(tunnel(), handler).await;
    announced(&directory, tunnel(), 1).await;
    (a, b)
}

async fn echo(request: Request<Incoming>) -> Response<harness::AnyBody> {
    let (parts, body) = request.into_parts();
    let mut response = Response::new(body.map_err(Into::into).boxed());
    for (name, value) in &parts.headers {
        response.headers_mut().append(name, value.clone());
    }
    let target = parts.uri.path_and_query().unwrap().as_str();
    response.headers_mut().insert("x-method", parts.method.as_str().parse().unwrap());
    response.headers_mut().insert("x-target", target.parse().unwrap());
    response
}

#[tokio::test]
async fn method_target_host_body_and_many_values() {
    let (a, _b) = two_nodes(echo).await;
    let latin1 = HeaderValue::from_bytes(b"caf\xe9").unwrap();
    for (method, body) in
        [(Method::GET, ""), (Method::POST, "hello"), (Method::PUT, "x"), (Method::DELETE, "")]
    {
        let request = Request::builder()
            .method(&method)
            .uri("https://app.example.com/a/b?c=%20d")
            .header("x-many", "1")
            .header("x-many", &latin1)
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(full(body))
            .unwrap();
        let response = timeout(PATIENCE, a.cluster.send(tunnel(), request)).await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
        let headers = response.headers();
        assert_eq!(headers["x-method"], method.as_str());
        assert_eq!(headers["x-target"], "/a/b?c=%20d");
        assert_eq!(headers["host"], "app.example.com");
        assert_eq!(headers["cookie"], "a=1; b=2");
        let many: Vec<_> = headers.get_all("x-many").iter().collect();
        assert_eq!(many, [&HeaderValue::from_static("1"), &latin1]);
        assert_eq!(response.extensions().get(), Some(&ResponseSource::Origin));
        assert_eq!(collect(response.into_body()).await.unwrap(), body);
    }
}

#[tokio::test]
async fn what_the_edge_states_arrives_and_what_the_visitor_states_does_not() {
    let (a, _b) = two_nodes(echo).await;
    let mut stated = HeaderMap::new();
    stated.insert("cf-access-jwt-assertion", HeaderValue::from_static("ours"));
    stated.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.7"));
    stated.insert("x-mine", HeaderValue::from_static("ours"));
    let request = Request::get(URL)
        .header("cf-access-jwt-assertion", "forged")
        .header("cf_access_jwt_assertion", "forged")
        .header("cf-access-authenticated-user-email", "root@example.com")
        .header("x-forwarded-for", "1.2.3.4")
        .header("x_mine", "forged")
        .header("x-own", "1")
        .extension(EdgeHeaders(stated))
        .body(full(""))
        .unwrap();
    let response = a.cluster.send(tunnel(), request).await.unwrap();
    let mut seen: Vec<_> = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    seen.sort_unstable();
    assert_eq!(
        seen,
        [
            ("cf-access-jwt-assertion", "ours"),
            ("host", "app.example.com"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-method", "GET"),
            ("x-mine", "ours"),
            ("x-own", "1"),
            ("x-target", "/"),
        ]
    );
}

#[tokio::test]
async fn bodies_beyond_every_window_in_both_directions_at_once() {
    let (a, _b) = two_nodes(echo).await;
    let chunk = Bytes::from(vec![b'x'; 100_000]);
    let chunks =
        stream::iter((0..100).map(move |_| Ok::<_, std::io::Error>(Frame::data(chunk.clone()))));
    let request = Request::post(URL).body(StreamBody::new(chunks)).unwrap();
    let response = timeout(PATIENCE, a.cluster.send(tunnel(), request)).await.unwrap().unwrap();
    let body = timeout(PATIENCE, collect(response.into_body())).await.unwrap().unwrap();
    assert_eq!(body.len(), 10_000_000);
}

#[tokio::test]
async fn three_mebibytes_with_a_length() {
    let (a, _b) = two_nodes(echo).await;
    let body: Vec<u8> = (0..3 << 20).map(|at: u32| at.to_le_bytes()[(at % 3) as usize]).collect();
    let request = Request::put(URL).body(full(body.clone())).unwrap();
    let response = timeout(PATIENCE, a.cluster.send(tunnel(), request)).await.unwrap().unwrap();
    assert_eq!(response.headers()["content-length"], "3145728");
    let back = timeout(PATIENCE, collect(response.into_body())).await.unwrap().unwrap();
    assert!(back == body, "every byte, in order");
}

#[tokio::test]
async fn trailers_in_both_directions() {
    let (a, _b) = two_nodes(|request: Request<Incoming>| async move {
        let trailers = request.into_body().collect().await.unwrap().trailers().cloned().unwrap();
        let frames = [Frame::data(Bytes::from("data")), Frame::trailers(trailers)].map(Ok);
        Response::new(BodyExt::boxed(StreamBody::new(stream::iter(frames))))
    })
    .await;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Frame::data(Bytes::from("up")), Frame::trailers(trailers.clone())];
    let body = StreamBody::new(stream::iter(frames.map(Ok::<_, std::io::Error>)));
    let request = Request::post(URL).body(body).unwrap();
    let response = timeout(PATIENCE, a.cluster.send(tunnel(), request)).await.unwrap().unwrap();
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers(), Some(&trailers));
    assert_eq!(collected.to_bytes(), "data");
}

#[tokio::test]
async fn head_204_and_304_have_no_body_but_keep_their_headers() {
    let (a, _b) = two_nodes(|request: Request<Incoming>| async move {
        let status: u16 = request.uri().path()[1..].parse().unwrap();
        let mut response = Response::new(full(""));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if status != 204 {
            response.headers_mut().insert("content-length", HeaderValue::from_static("18"));
        }
        response.headers_mut().insert("etag", HeaderValue::from_static("\"x\""));
        response
    })
    .await;
    for (method, status) in [(Method::HEAD, 200), (Method::GET, 204), (Method::GET, 304)] {
        let uri = format!("https://a.test/{status}");
        let request = Request::builder().method(method).uri(uri).body(full("")).unwrap();
        let response = a.cluster.send(tunnel(), request).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["etag"], "\"x\"");
        assert_eq!(response.headers().contains_key("content-length"), status != 204);
        assert!(collect(response.into_body()).await.unwrap().is_empty());
    }
}

/// A body that sends what the test sends.
fn fed() -> (mpsc::UnboundedSender<Bytes>, harness::AnyBody) {
    let (feed, fed) = mpsc::unbounded_channel::<Bytes>();
    let frames = stream::unfold(fed, |mut fed| async move {
        fed.recv().await.map(|data| (Ok(Frame::data(data)), fed))
    });
    (feed, BodyExt::boxed(StreamBody::new(frames)))
}

#[tokio::test]
async fn both_directions_stream_while_the_other_is_open() {
    let (a, _b) = two_nodes(echo).await;
    let (feed, body) = fed();
    let request = Request::post(URL).body(body).unwrap();
    let response = timeout(PATIENCE, a.cluster.send(tunnel(), request)).await.unwrap().unwrap();
    let mut back = response.into_body();
    for word in ["one", "two", "three"] {
        feed.send(word.into()).unwrap();
        let frame = timeout(PATIENCE, back.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), word);
    }
    drop(feed);
    assert!(timeout(PATIENCE, back.frame()).await.unwrap().is_none());
}

#[tokio::test]
async fn why_a_connector_had_no_answer() {
    let (authority, directory) = (Authority::new(), Arc::new(MemoryDirectory::new()));
    let a = TestNode::start(&authority, "a", Arc::clone(&directory)).await;
    let mut b = TestNode::start(&authority, "b", Arc::clone(&directory)).await;
    let failing = tower::service_fn(|_: Request<Incoming>| async {
        let error = OriginError::new(OriginFailure::TimedOut, "for ever");
        Err::<Response<harness::AnyBody>, _>(error)
    });
    b.connect_service(tunnel(), failing).await;
    announced(&directory, tunnel(), 1).await;
    let response =
        a.cluster.send(tunnel(), Request::get(URL).body(full("")).unwrap()).await.unwrap();
    assert_eq!(response.status(), 502);
    let source = response.extensions().get();
    assert_eq!(source, Some(&ResponseSource::Connector(OriginFailure::TimedOut)));
}

struct TellOnDrop(Arc<Notify>);

impl Drop for TellOnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn a_visitor_who_leaves_before_the_answer_stops_the_work_at_the_origin() {
    let (started, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let guard = (Arc::clone(&started), Arc::clone(&dropped));
    let (a, b) = two_nodes(move |_| {
        let (started, dropped) = guard.clone();
        async move {
            let _guard = TellOnDrop(dropped);
            started.notify_one();
            std::future::pending().await
        }
    })
    .await;
    let cluster = Arc::clone(&a.cluster);
    let request = Request::get(URL).body(full("")).unwrap();
    let sending = tokio::spawn(async move { cluster.send(tunnel(), request).await.map(drop) });
    timeout(PATIENCE, started.notified()).await.unwrap();
    sending.abort();
    timeout(PATIENCE, dropped.notified()).await.expect("the service's future is dropped");
    let tunnel = b.router.tunnel(tunnel()).unwrap();
    assert_eq!(tunnel.connections()[0].in_flight(), 0);
}

#[tokio::test]
async fn a_visitor_who_leaves_amid_the_answer_stops_the_work_at_the_origin() {
    let dropped = Arc::new(Notify::new());
    let guard = Arc::clone(&dropped);
    let (a, _b) = two_nodes(move |_| {
        let guard = TellOnDrop(Arc::clone(&guard));
        async move {
            let endless = stream::unfold(guard, |guard| async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                Some((Ok(Frame::data(Bytes::from("tick"))), guard))
            });
            Response::new(BodyExt::boxed(StreamBody::new(endless)))
        }
    })
    .await;
    let request = Request::get(URL).body(full("")).unwrap();
    let mut body = a.cluster.send(tunnel(), request).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    timeout(PATIENCE, dropped.notified()).await.expect("the body is dropped");
}

/// Half a body, then (once told so) an error.
fn cut(told: Arc<Notify>) -> harness::AnyBody {
    let half = stream::iter([Ok(Frame::data(Bytes::from("half")))]);
    let rest = stream::once(async move {
        told.notified().await;
        Err(std::io::Error::other("cut").into())
    });
    BodyExt::boxed(StreamBody::new(half.chain(rest)))
}

#[tokio::test]
async fn a_download_cut_short_is_an_error_for_the_visitor() {
    let told = Arc::new(Notify::new());
    let tell = Arc::clone(&told);
    let (a, _b) = two_nodes(move |_| {
        let body = cut(Arc::clone(&told));
        async { Response::new(body) }
    })
    .await;
    let request = Request::get(URL).body(full("")).unwrap();
    let response = timeout(PATIENCE, a.cluster.send(tunnel(), request)).await.unwrap().unwrap();
    let mut back = response.into_body();
    assert_eq!(back.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
    tell.notify_one();
    assert!(timeout(PATIENCE, back.frame()).await.unwrap().unwrap().is_err());
}

#[tokio::test]
async fn an_upload_cut_short_is_an_error_for_the_origin() {
    let (seen, mut results) = mpsc::unbounded_channel();
    let (a, _b) = two_nodes(move |request: Request<Incoming>| {
        let seen = seen.clone();
        // A task of its own: the handler itself is dropped when the visitor's stream is reset.
        tokio::spawn(async move {
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                seen.send(frame.map(|frame| frame.into_data().unwrap())).unwrap();
            }
        });
        std::future::pending()
    })
    .await;
    let told = Arc::new(Notify::new());
    let request = Request::post(URL).header("content-length", "100");
    let request = request.body(cut(Arc::clone(&told))).unwrap();
    let cluster = Arc::clone(&a.cluster);
    let sending = tokio::spawn(async move { cluster.send(tunnel(), request).await.map(drop) });
    assert_eq!(timeout(PATIENCE, results.recv()).await.unwrap().unwrap().unwrap(), "half");
    told.notify_one();
    assert!(timeout(PATIENCE, results.recv()).await.unwrap().unwrap().is_err());
    assert!(timeout(PATIENCE, sending).await.unwrap().unwrap().is_err());
}

#[tokio::test]
async fn a_reader_who_stops_holds_back_the_origin_and_nobody_else() {
    let (a, _b) = two_nodes(|request: Request<Incoming>| async move {
        if request.uri().path() != "/endless" {
            return Response::new(full("quick"));
        }
        let chunk = Bytes::from(vec![b'x'; 16 * 1024]);
        let endless = stream::unfold(0_usize, move |sent| {
            let chunk = chunk.clone();
            assert!(sent < 16 << 20, "16 MiB sent to a visitor who reads nothing");
            async move { Some((Ok(Frame::data(chunk)), sent + 16 * 1024)) }
        });
        Response::new(BodyExt::boxed(StreamBody::new(endless)))
    })
    .await;
    let endless = Request::get("https://a.test/endless").body(full("")).unwrap();
    let mut stalled = a.cluster.send(tunnel(), endless).await.unwrap().into_body();
    stalled.frame().await.unwrap().unwrap();
    for _ in 0..100 {
        let quick = a.cluster.send(tunnel(), Request::get(URL).body(full("")).unwrap());
        let quick = timeout(PATIENCE, quick).await.expect("in time").unwrap();
        assert_eq!(collect(quick.into_body()).await.unwrap(), "quick");
    }
    // The origin would have panicked, and its stream have ended.
    assert!(stalled.frame().await.unwrap().is_ok());
}
