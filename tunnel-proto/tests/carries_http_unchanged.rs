//! What goes in at one end of a tunnel comes out at the other.

#![expect(clippy::unwrap_used, reason = "a test")]

mod harness;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use harness::{AnyBody, collect, full, tunnel};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tunnel_proto::edge::{Incoming, ResponseSource};

const URL: &str = "https://app.example.com/a/b?c=%20d";

async fn echo(request: Request<Incoming>) -> Response<AnyBody> {
    let (parts, body) = request.into_parts();
    let mut response = Response::new(body.map_err(Into::into).boxed());
    response.headers_mut().insert("x-method", parts.method.as_str().parse().unwrap());
    response
        .headers_mut()
        .insert("x-target", parts.uri.path_and_query().unwrap().as_str().parse().unwrap());
    response.headers_mut().insert("x-host", parts.headers["host"].clone());
    if let Some(length) = parts.headers.get("content-length") {
        response.headers_mut().insert("content-length", length.clone());
    }
    response
}

#[tokio::test]
async fn method_target_host_and_body() {
    let (tunnel, _running) = tunnel(echo).await;
    for (method, body) in
        [(Method::GET, ""), (Method::POST, "hello"), (Method::PUT, "x"), (Method::DELETE, "")]
    {
        let request = Request::builder().method(&method).uri(URL).body(full(body)).unwrap();
        let response = tunnel.send(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-method"], method.as_str());
        assert_eq!(response.headers()["x-target"], "/a/b?c=%20d");
        assert_eq!(response.headers()["x-host"], "app.example.com");
        assert_eq!(response.extensions().get(), Some(&ResponseSource::Origin));
        assert_eq!(collect(response.into_body()).await.unwrap(), body);
    }
}

#[tokio::test]
async fn bodies_beyond_every_window_in_both_directions_at_once() {
    let (tunnel, _running) = tunnel(echo).await;
    let chunk = Bytes::from(vec![b'x'; 100_000]);
    let chunks =
        stream::iter((0..300).map(move |_| Ok::<_, std::io::Error>(Frame::data(chunk.clone()))));
    let request = Request::post(URL).body(StreamBody::new(chunks)).unwrap();
    let response = tunnel.send(request).await.unwrap();
    assert_eq!(collect(response.into_body()).await.unwrap().len(), 30_000_000);
}

#[tokio::test]
async fn many_values_of_a_name_and_bytes_outside_ascii() {
    let (tunnel, _running) = tunnel(|request: Request<Incoming>| async move {
        let mut response = Response::new(full(""));
        for value in request.headers().get_all("x-many") {
            response.headers_mut().append("x-back", value.clone());
        }
        response.headers_mut().append("set-cookie", HeaderValue::from_static("a=1"));
        response.headers_mut().append("set-cookie", HeaderValue::from_static("b=2"));
        response
    })
    .await;
    let latin1 = HeaderValue::from_bytes(b"caf\xe9").unwrap();
    let request =
        Request::get(URL).header("x-many", "1").header("x-many", &latin1).body(full("")).unwrap();
    let response = tunnel.send(request).await.unwrap();
    let back: Vec<_> = response.headers().get_all("x-back").iter().collect();
    assert_eq!(back, [&HeaderValue::from_static("1"), &latin1]);
    assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
}

#[tokio::test]
async fn trailers_in_both_directions() {
    let (tunnel, _running) = tunnel(|request: Request<Incoming>| async move {
        let trailers = request.into_body().collect().await.unwrap().trailers().cloned().unwrap();
        let frames = [Frame::data(Bytes::from("data")), Frame::trailers(trailers)].map(Ok);
        Response::new(BodyExt::boxed(StreamBody::new(stream::iter(frames))))
    })
    .await;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Frame::data(Bytes::from("up")), Frame::trailers(trailers.clone())];
    let body = StreamBody::new(stream::iter(frames.map(Ok::<_, std::io::Error>)));
    let response = tunnel.send(Request::post(URL).body(body).unwrap()).await.unwrap();
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers(), Some(&trailers));
    assert_eq!(collected.to_bytes(), "data");
}

#[tokio::test]
async fn head_204_and_304_have_no_body_but_keep_their_headers() {
    let (tunnel, _running) = tunnel(|request: Request<Incoming>| async move {
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
        let response = tunnel.send(request).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["etag"], "\"x\"");
        assert_eq!(response.headers().contains_key("content-length"), status != 204);
        assert!(collect(response.into_body()).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn the_first_event_arrives_while_the_second_is_still_to_come() {
    let (tunnel, _running) = tunnel(|_| async {
        let first = stream::once(async { Ok(Frame::data(Bytes::from("data: 1\n\n"))) });
        Response::new(BodyExt::boxed(StreamBody::new(first.chain(stream::pending()))))
    })
    .await;
    let response = tunnel.send(Request::get(URL).body(full("")).unwrap()).await.unwrap();
    let mut body = response.into_body();
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "data: 1\n\n");
}

/// A hundred visitors who stop reading, on one connection: what the origin can get rid of meanwhile is
/// what edge and connector hold for them.
#[tokio::test(start_paused = true)]
async fn a_crowd_that_stops_reading_is_not_held_in_memory() {
    let produced = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&produced);
    let endless = move |_| {
        let counter = Arc::clone(&counter);
        let chunks = stream::repeat_with(move || {
            counter.fetch_add(16 * 1024, Ordering::Relaxed);
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Frame::data(Bytes::from_static(
                &[b'x'; 16 * 1024],
            )))
        });
        std::future::ready(Response::new(BodyExt::boxed(StreamBody::new(chunks))))
    };
    let (tunnel, _running) = tunnel(endless).await;
    let mut stalled = Vec::new();
    for _ in 0..100 {
        let request = Request::get(URL).body(full("")).unwrap();
        stalled.push(tunnel.send(request).await.unwrap());
    }
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let held = produced.load(Ordering::Relaxed);
    assert!(held <= 28 << 20, "{} MiB are held", held >> 20);

    // Whoever reads goes on, and a lone reader has the whole window again.
    let mut reader = stalled.pop().unwrap().into_body();
    let before = produced.load(Ordering::Relaxed);
    for _ in 0..200 {
        reader.frame().await.unwrap().unwrap();
    }
    assert!(produced.load(Ordering::Relaxed) > before);
    drop(stalled);
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let before = produced.load(Ordering::Relaxed);
    for _ in 0..400 {
        reader.frame().await.unwrap().unwrap();
    }
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let read_ahead = produced.load(Ordering::Relaxed) - before;
    assert!(read_ahead >= 1 << 20, "{} KiB", read_ahead >> 10);
}

/// Neither end takes an identity, a length or a host from trailers.
#[tokio::test]
async fn trailers_smuggle_nothing() {
    let forged = || {
        let mut trailers = HeaderMap::new();
        for name in
            ["cf-access-jwt-assertion", "x-forwarded-for", "content-length", "x-stated", "x-sum"]
        {
            trailers.insert(http::HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        trailers
    };
    let (tunnel, _running) = tunnel(move |request: Request<Incoming>| async move {
        let seen = request.into_body().collect().await.unwrap();
        let mut names: Vec<_> = seen.trailers().unwrap().keys().map(ToString::to_string).collect();
        names.sort();
        let frames = [Ok(Frame::data(names.join(" ").into())), Ok(Frame::trailers(forged()))];
        Response::new(BodyExt::boxed(StreamBody::new(stream::iter(frames))))
    })
    .await;
    let frames = [Ok::<_, std::io::Error>(Frame::data("x".into())), Ok(Frame::trailers(forged()))];
    let mut stated = HeaderMap::new();
    stated.insert("x-stated", HeaderValue::from_static("by the edge"));
    let request = Request::post(URL)
        .extension(tunnel_proto::edge::EdgeHeaders(stated))
        .body(StreamBody::new(stream::iter(frames)))
        .unwrap();
    let response = tunnel.send(request).await.unwrap().into_body().collect().await.unwrap();
    let mut names: Vec<_> = response.trailers().unwrap().keys().map(ToString::to_string).collect();
    names.sort();
    assert_eq!(names, ["x-stated", "x-sum"], "what an origin may say");
    assert_eq!(response.to_bytes(), "x-sum", "what a visitor may say");
}
