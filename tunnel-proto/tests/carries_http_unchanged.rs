//! What goes in at one end of a tunnel comes out at the other.

#![expect(clippy::unwrap_used, reason = "a test")]

mod exchange;
mod harness;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use exchange::{Direct, plain};
use futures_util::{StreamExt as _, stream};
use harness::{full, tunnel};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tunnel_proto::edge::Incoming;

const URL: &str = "https://app.example.com/a/b?c=%20d";

#[tokio::test]
async fn method_target_host_body_and_many_values() {
    plain::method_target_host_body_and_many_values::<Direct>().await;
}

#[tokio::test]
async fn bodies_beyond_every_window_in_both_directions_at_once() {
    plain::bodies_beyond_every_window_in_both_directions_at_once::<Direct>(300).await;
}

#[tokio::test]
async fn long_header_lists_harm_only_their_own_exchange() {
    plain::long_header_lists_harm_only_their_own_exchange::<Direct>().await;
}

#[tokio::test]
async fn trailers_in_both_directions() {
    plain::trailers_in_both_directions::<Direct>().await;
}

#[tokio::test]
async fn head_204_and_304_have_no_body_but_keep_their_headers() {
    plain::head_204_and_304_have_no_body_but_keep_their_headers::<Direct>().await;
}

#[tokio::test]
async fn each_cookie_that_is_set_stays_a_header_of_its_own() {
    let (tunnel, _running) = tunnel(|_| async {
        let mut response = Response::new(full(""));
        response.headers_mut().append("set-cookie", HeaderValue::from_static("a=1"));
        response.headers_mut().append("set-cookie", HeaderValue::from_static("b=2"));
        response
    })
    .await;
    let response = tunnel.send(Request::get(URL).body(full("")).unwrap()).await.unwrap();
    assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
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
