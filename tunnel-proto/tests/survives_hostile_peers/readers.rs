//! Visitors and services that stop reading, or read slowly, through an edge and a connector of ours.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, StreamBody};
use tunnel_proto::{connector::Incoming, edge::Tunnel, limits};

use crate::{
    connector::Endless,
    harness::{self, AnyBody, Running, full},
    measure::{self, alone, clock},
};

const MIB: usize = 1024 * 1024;

static CONTENT: [u8; 32 * MIB] = [7; 32 * MIB];

/// Answers with as many bytes as the path says, of known length or not.
async fn answer(request: Request<Incoming>) -> Response<AnyBody> {
    let path = request.uri().path().to_owned();
    let Some((kind, length)) = path.trim_start_matches('/').split_once('/') else {
        return Response::new(full("hello"));
    };
    // One copy for all, so that what is held is the tunnel's.
    let body = Bytes::from_static(&CONTENT[..length.parse().unwrap()]);
    if kind == "known" {
        return Response::builder().header("content-length", body.len()).body(full(body)).unwrap();
    }
    let frames = (0..body.len() / 8192)
        .map(move |at| Ok(http_body::Frame::data(body.slice(at * 8192..(at + 1) * 8192))));
    Response::new(StreamBody::new(futures_util::stream::iter(frames)).boxed())
}

async fn get(tunnel: &Tunnel, path: &str) -> Response<Incoming> {
    let request = Request::get(format!("https://app.example.test/{path}"));
    tunnel.send(request.body(Empty::new()).unwrap()).await.unwrap()
}

async fn connected() -> (Arc<Tunnel>, Running) {
    harness::tunnel(answer).await
}

#[tokio::test(start_paused = true)]
async fn a_hundred_visitors_who_stop_reading_hold_what_one_connection_may() {
    let _alone = alone().await;
    for kind in ["known", "unknown"] {
        let (tunnel, _connector) = connected().await;
        let before = measure::held();
        measure::reset_peak();
        let path = format!("{kind}/{MIB}");
        let mut stalled = Vec::new();
        for _ in 0..100 {
            stalled.push(get(&tunnel, &path).await);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let first = measure::held() - before;
        // Somebody else asks all the while.
        for _ in 0..20 {
            let quick = get(&tunnel, "").await.into_body().collect();
            let quick = tokio::time::timeout(Duration::from_secs(10), quick).await;
            assert_eq!(quick.expect("in time").unwrap().to_bytes(), "hello");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let then = measure::held() - before;
        tokio::time::sleep(limits::STALL_TIMEOUT).await;
        let last = measure::held() - before;
        println!(
            "100 visitors who stop reading 1 MiB ({kind} length): {first} bytes held at first, {then} after \
             20 s, {last} after 50 s; {} at most",
            measure::peak() - before
        );
        assert!(measure::peak() - before < 48_000_000);
        assert!(then < 24_000_000, "{then}");
        assert!(last < 12_000_000, "{last}");
        let (mut reset, mut whole) = (0, 0);
        for response in stalled {
            match response.into_body().collect().await {
                Ok(body) => {
                    assert_eq!(body.to_bytes().len(), MIB, "nobody takes a part for the whole");
                    whole += 1;
                }
                Err(error) => {
                    assert!(
                        matches!(error.limit(), Some("HELD_BYTES" | "STALL_TIMEOUT")),
                        "{error}"
                    );
                    reset += 1;
                }
            }
        }
        println!("  {reset} were reset, {whole} got all when they came back");
        assert!(whole >= 4, "{reset} reset, {whole} whole");
    }
}

#[tokio::test(start_paused = true)]
async fn a_visitor_who_pauses_for_minutes_loses_nothing() {
    let _alone = alone().await;
    let (tunnel, _connector) = connected().await;
    let mut film = get(&tunnel, &format!("known/{}", 16 * MIB)).await.into_body();
    let mut taken = 0;
    for minutes in [0, 5, 40] {
        tokio::time::sleep(Duration::from_secs(60 * minutes)).await;
        let frame = film.frame().await.unwrap().unwrap_or_else(|error| panic!("{error}"));
        taken += frame.into_data().unwrap().len();
    }
    assert_eq!(taken + film.collect().await.unwrap().to_bytes().len(), 16 * MIB);

    let film = get(&tunnel, &format!("known/{}", 16 * MIB)).await.into_body();
    tokio::time::sleep(limits::STALL_PATIENCE + Duration::from_secs(5)).await;
    let error = film.collect().await.unwrap_err();
    assert_eq!(error.limit(), Some("STALL_PATIENCE"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn visitors_who_stop_amid_an_answer_do_not_keep_all_streams_for_themselves() {
    let _alone = alone().await;
    // One piece is what hyper takes before it waits for the visitor's window.
    for take_one in [false, true] {
        let (after, open) = stop_amid_an_answer(take_one).await;
        println!(
            "999 visitors who stop amid an answer: somebody else is served after {after:?}, {open} are left"
        );
        assert!(after < 2 * limits::STALL_TIMEOUT, "{after:?}");
        assert!((400..=600).contains(&open), "no more go than must: {open} are left");
    }
}

/// Fills a connection with visitors who take one piece of their answer, or none: how long somebody else waits,
/// and how many of them are left.
async fn stop_amid_an_answer(take_one: bool) -> (Duration, usize) {
    let (tunnel, _connector) = harness::tunnel(async |request: Request<Incoming>| {
        if request.uri().path() == "/" {
            return Response::new(full("hello"));
        }
        // Some of it, and no end.
        let first = futures_util::stream::iter([Ok(http_body::Frame::data("some".into()))]);
        let body = futures_util::StreamExt::chain(first, futures_util::stream::pending());
        Response::new(StreamBody::new(body).boxed())
    })
    .await;
    let mut stalled = Vec::new();
    // One stream is the control stream's.
    for _ in 1..limits::CONCURRENT_STREAMS {
        let mut body = get(&tunnel, "events").await.into_body();
        if take_one {
            body.frame().await.unwrap().unwrap();
        }
        stalled.push(body);
    }
    let start = clock();
    let served = loop {
        let request = Request::get("https://app.example.test/").body(Empty::new()).unwrap();
        match tunnel.send(request).await {
            Ok(response) => break response,
            Err(error) => assert!(error.is_busy(), "{error}"),
        }
        assert!(start.elapsed() < Duration::from_secs(600), "nobody makes room");
    };
    assert_eq!(served.into_body().collect().await.unwrap().to_bytes(), "hello");
    let after = start.elapsed();
    tokio::time::sleep(limits::STALL_TIMEOUT).await;
    let open = tunnel.connections()[0].in_flight();
    (after, open)
}

#[tokio::test(start_paused = true)]
async fn visitors_who_do_not_read_short_answers_keep_nobody_waiting() {
    let _alone = alone().await;
    let (tunnel, _connector) = connected().await;
    let mut unread = Vec::new();
    let start = clock();
    for visitor in 0..3 * limits::CONCURRENT_STREAMS {
        let mut body = get(&tunnel, "known/1024").await.into_body();
        if visitor % 2 == 0 {
            // As hyper does before it waits for the visitor's window.
            body.frame().await.unwrap().unwrap();
        }
        unread.push(body);
    }
    assert_eq!(tunnel.connections()[0].in_flight(), 0);
    println!("{} unread answers of 1 KiB, all after {:?}", unread.len(), start.elapsed());
    assert!(start.elapsed() < limits::STALL_GRACE);
}

#[tokio::test(start_paused = true)]
async fn slow_visitors_get_all_of_it_and_leave_room_for_a_fast_one() {
    let _alone = alone().await;
    let (tunnel, _connector) = connected().await;
    let before = measure::held();
    measure::reset_peak();
    let slow: Vec<_> = (0..60)
        .map(|_| {
            let tunnel = Arc::clone(&tunnel);
            tokio::spawn(async move {
                let mut body = get(&tunnel, &format!("unknown/{}", 2 * MIB)).await.into_body();
                let mut taken = 0;
                while let Some(frame) = body.frame().await {
                    taken += frame.unwrap().into_data().unwrap().len();
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                taken
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let start = clock();
    let mut body = get(&tunnel, &format!("known/{}", 32 * MIB)).await.into_body();
    let mut taken = 0;
    while let Some(frame) = body.frame().await {
        taken += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!(taken, 32 * MIB);
    let fast = start.elapsed();
    for slow in slow {
        assert_eq!(slow.await.unwrap(), 2 * MIB);
    }
    println!(
        "60 slow visitors, 32 MiB for a fast one after {fast:?}; all got all of it; {} bytes held at most",
        measure::peak() - before
    );
}

/// What is taken of a body whose reader does not come for it.
async fn ahead(taken: &AtomicUsize) -> usize {
    tokio::time::sleep(Duration::from_secs(1)).await;
    taken.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn streams_that_are_quiet_leave_the_others_their_windows() {
    let _alone = alone().await;
    let window = limits::STREAM_WINDOW as usize;
    let taken = Arc::new(AtomicUsize::new(0));
    let endless = Arc::clone(&taken);
    let (tunnel, _connector) = harness::tunnel(move |request: Request<Incoming>| {
        let endless = Endless(Arc::clone(&endless));
        async move {
            match request.uri().path() {
                "/events" => {
                    Response::new(StreamBody::new(futures_util::stream::pending()).boxed())
                }
                "/download" => Response::new(endless.boxed()),
                _ => {
                    let _unread = request;
                    std::future::pending().await
                }
            }
        }
    })
    .await;
    let mut quiet = Vec::new();
    for _ in 0..200 {
        quiet.push(get(&tunnel, "events").await);
    }
    let download = get(&tunnel, "download").await;
    let down = ahead(&taken).await;
    drop(download);
    let given = Arc::new(AtomicUsize::new(0));
    let upload = Request::post("https://app.example.test/upload").body(Endless(Arc::clone(&given)));
    let upload = tokio::spawn({
        let tunnel = Arc::clone(&tunnel);
        async move { tunnel.send(upload.unwrap()).await.map(drop) }
    });
    let up = ahead(&given).await;
    upload.abort();
    println!("beside 200 quiet streams: {down} bytes of a download, {up} of an upload under way");
    assert!(down >= window, "{down}");
    assert!(up >= window, "{up}");
}
