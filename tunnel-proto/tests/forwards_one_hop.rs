//! What an exchange holds survives the hop between two edge nodes.

#![cfg(feature = "cluster")]
#![expect(clippy::unwrap_used, reason = "a test")]

mod exchange;
mod harness;
mod hop;
mod nodes;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use exchange::{Way as _, ends, plain, plain::echo};
use futures_util::stream;
use harness::{collect, full};
use hop::Hop;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use nodes::{Authority, PATIENCE, TestNode, announced, tunnel};
use tokio::{sync::mpsc, time::timeout};
use tunnel_proto::{
    cluster::MemoryDirectory,
    edge::{EdgeHeaders, Incoming, OriginFailure, ResponseSource},
    limits,
    origin::OriginError,
};

const URL: &str = "https://app.example.com/";

#[tokio::test]
async fn method_target_host_body_and_many_values() {
    plain::method_target_host_body_and_many_values::<Hop>().await;
}

#[tokio::test]
async fn bodies_beyond_every_window_in_both_directions_at_once() {
    plain::bodies_beyond_every_window_in_both_directions_at_once::<Hop>(100).await;
}

#[tokio::test]
async fn long_header_lists_harm_only_their_own_exchange() {
    plain::long_header_lists_harm_only_their_own_exchange::<Hop>().await;
}

#[tokio::test]
async fn trailers_in_both_directions() {
    plain::trailers_in_both_directions::<Hop>().await;
}

#[tokio::test]
async fn head_204_and_304_have_no_body_but_keep_their_headers() {
    plain::head_204_and_304_have_no_body_but_keep_their_headers::<Hop>().await;
}

#[tokio::test]
async fn an_upload_cut_short_reaches_the_origin_as_an_error() {
    ends::an_upload_cut_short_reaches_the_origin_as_an_error::<Hop>().await;
}

#[tokio::test]
async fn a_download_cut_short_reaches_the_visitor_as_an_error() {
    ends::a_download_cut_short_reaches_the_visitor_as_an_error::<Hop>().await;
}

#[tokio::test]
async fn a_visitor_who_leaves_before_the_answer_stops_the_work() {
    ends::a_visitor_who_leaves_before_the_answer_stops_the_work::<Hop>().await;
}

#[tokio::test]
async fn a_visitor_who_leaves_amid_the_answer_stops_the_work() {
    ends::a_visitor_who_leaves_amid_the_answer_stops_the_work::<Hop>().await;
}

#[tokio::test]
async fn what_the_edge_states_arrives_and_what_the_visitor_states_does_not() {
    let Hop { a, b: _b } = Hop::to(echo).await;
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
async fn three_mebibytes_with_a_length() {
    let Hop { a, b: _b } = Hop::to(echo).await;
    let body: Vec<u8> = (0..3 << 20).map(|at: u32| at.to_le_bytes()[(at % 3) as usize]).collect();
    let request = Request::put(URL).body(full(body.clone())).unwrap();
    let response = timeout(PATIENCE, a.cluster.send(tunnel(), request)).await.unwrap().unwrap();
    assert_eq!(response.headers()["content-length"], "3145728");
    let back = timeout(PATIENCE, collect(response.into_body())).await.unwrap().unwrap();
    assert!(back == body, "every byte, in order");
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
    let Hop { a, b: _b } = Hop::to(echo).await;
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

#[tokio::test]
async fn a_reader_who_stops_holds_back_the_origin_and_nobody_else() {
    let Hop { a, b: _b } = Hop::to(|request: Request<Incoming>| async move {
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

#[tokio::test]
async fn a_node_that_is_full_asks_another_that_has_the_tunnel_too() {
    let authority = Authority::new();
    let directory = Arc::new(MemoryDirectory::new());
    let mut a = TestNode::start(&authority, "a", directory.clone()).await;
    let mut b = TestNode::start(&authority, "b", directory.clone()).await;
    a.connect(tunnel(), |_| std::future::pending()).await;
    let get = || Request::get("https://app.example.test/").body(full("")).unwrap();
    let mut stalled = tokio::task::JoinSet::new();
    for _ in 0..limits::CONCURRENT_STREAMS {
        let cluster = Arc::clone(&a.cluster);
        stalled.spawn(async move { cluster.send(tunnel(), get()).await.map(drop) });
    }
    let connection = a.router.tunnel(tunnel()).unwrap().connections().remove(0);
    // One place is the control stream's.
    while connection.in_flight() < limits::CONCURRENT_STREAMS as usize - 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    b.connect(tunnel(), |_| async { Response::new(full("from b")) }).await;
    announced(&directory, tunnel(), 2).await;
    // What the directory said before is still fresh for a moment.
    tokio::time::sleep(limits::LOOKUP_ABSENT_FRESH).await;
    let response = a.cluster.send(tunnel(), get()).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "from b");

    // Nobody else has it any more: it waits for room here.
    b.disconnect().await;
    b.stop_announcing().await;
    let waiting = tokio::spawn({
        let cluster = Arc::clone(&a.cluster);
        async move { cluster.send(tunnel(), get()).await.map(drop) }
    });
    let error = waiting.await.unwrap().unwrap_err();
    assert!(error.is_busy(), "{error}");
    stalled.abort_all();
}
