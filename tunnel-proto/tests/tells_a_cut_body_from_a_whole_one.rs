//! A body that ends too early never looks complete, and nobody works for a visitor who left.

#![expect(clippy::unwrap_used, reason = "a test")]

mod exchange;
mod harness;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use exchange::{Direct, ends};
use futures_util::stream;
use harness::{collect, full, tunnel};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::{sync::Notify, time::timeout};
use tower::Service as _;
use tunnel_proto::{edge::Incoming, origin::HttpOrigin};

const URL: &str = "https://app.example.com/";
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn an_upload_cut_short_reaches_the_origin_as_an_error() {
    ends::an_upload_cut_short_reaches_the_origin_as_an_error::<Direct>().await;
}

#[tokio::test]
async fn a_body_unlike_its_length_is_the_callers_fault() {
    ends::a_body_unlike_its_length_is_the_callers_fault::<Direct>().await;
}

#[tokio::test]
async fn a_download_cut_short_reaches_the_visitor_as_an_error() {
    ends::a_download_cut_short_reaches_the_visitor_as_an_error::<Direct>().await;
}

#[tokio::test]
async fn a_visitor_who_leaves_before_the_answer_stops_the_work() {
    ends::a_visitor_who_leaves_before_the_answer_stops_the_work::<Direct>().await;
}

#[tokio::test]
async fn a_visitor_who_leaves_amid_the_answer_stops_the_work() {
    ends::a_visitor_who_leaves_amid_the_answer_stops_the_work::<Direct>().await;
}

#[tokio::test]
async fn a_download_shorter_than_its_length_is_an_error() {
    let (tunnel, _running) = tunnel(|_| async {
        let frames = stream::iter([Ok(Frame::data(Bytes::from("four")))]);
        let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
        response.headers_mut().insert("content-length", "5".parse().unwrap());
        response
    })
    .await;
    let response = tunnel.send(Request::get(URL).body(full("")).unwrap()).await.unwrap();
    assert!(timeout(PATIENCE, collect(response.into_body())).await.unwrap().is_err());
}

/// An origin that speaks HTTP/2, sends half a body and resets the stream once told so.
async fn resetting_origin(reason: h2::Reason, go_on: Arc<Notify>) -> HttpOrigin {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(tcp).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            let is_whole = request.uri().path() == "/whole";
            send.send_data(Bytes::from("half"), is_whole).unwrap();
            let go_on = Arc::clone(&go_on);
            tokio::spawn(async move {
                if !is_whole {
                    go_on.notified().await;
                    send.send_reset(reason);
                }
            });
        }
    });
    HttpOrigin::builder(format!("http://{address}")).http2(true).build().unwrap()
}

#[tokio::test]
async fn a_download_that_an_http2_origin_resets_reaches_the_visitor_as_an_error() {
    for reason in [h2::Reason::NO_ERROR, h2::Reason::CANCEL, h2::Reason::INTERNAL_ERROR] {
        let go_on = Arc::new(Notify::new());
        let origin = resetting_origin(reason, Arc::clone(&go_on)).await;
        let (tunnel, _running) = tunnel(move |request| {
            let mut origin = origin.clone();
            async move {
                origin.call(request).await.unwrap().map(|body| body.map_err(Into::into).boxed())
            }
        })
        .await;
        let get = |path| Request::get(format!("https://app.example.com/{path}")).body(full(""));
        let cut = tunnel.send(get("cut").unwrap()).await.unwrap();
        let mut cut = cut.into_body();
        assert_eq!(cut.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
        go_on.notify_one();
        let end = timeout(PATIENCE, cut.frame()).await.unwrap();
        assert!(matches!(end, Some(Err(_))), "{reason}: a part was taken for the whole");
        let whole = tunnel.send(get("whole").unwrap()).await.unwrap();
        let whole = timeout(PATIENCE, collect(whole.into_body())).await.unwrap();
        assert_eq!(whole.unwrap(), "half", "{reason}");
    }
}

#[tokio::test]
async fn stalled_readers_do_not_stop_the_others() {
    static SENT: AtomicUsize = AtomicUsize::new(0);
    let (tunnel, _running) = tunnel(|request: Request<Incoming>| async move {
        if request.uri().path() == "/endless" {
            // Tiny frames, which h2 charges against a budget of the whole connection.
            let endless = stream::repeat_with(|| {
                SENT.fetch_add(1, Ordering::Relaxed);
                Ok(Frame::data(Bytes::from("data: 1\n\n")))
            });
            return Response::new(BodyExt::boxed(StreamBody::new(endless)));
        }
        Response::new(full("quick"))
    })
    .await;
    let mut stalled = Vec::new();
    for _ in 0..6 {
        let endless = Request::get("https://a.test/endless").body(full("")).unwrap();
        stalled.push(tunnel.send(endless).await.unwrap());
    }
    // Until their windows are full: 1 MiB each, in frames of nine bytes. Left in `h2`, they would
    // use up what it allows a whole connection.
    let mut before = usize::MAX;
    while before != SENT.load(Ordering::Relaxed) {
        before = SENT.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    for _ in 0..50 {
        let quick = tunnel.send(Request::get(URL).body(full("")).unwrap());
        let quick = timeout(PATIENCE, quick).await.expect("in time").expect("an answer");
        assert_eq!(collect(quick.into_body()).await.unwrap(), "quick");
    }
    assert_eq!(tunnel.connections().len(), 1);
}

/// A visitor who sends an upload in single bytes to an origin that does not read it: what is unread
/// must not use up what `h2` allows a whole connection, whether or not the length is known.
#[tokio::test]
async fn uploads_in_single_bytes_do_not_stop_the_others() {
    static SENT: AtomicUsize = AtomicUsize::new(0);
    let (tunnel, _running) = tunnel(|request: Request<Incoming>| async move {
        if request.method() == http::Method::POST {
            let _unread = request.into_body();
            std::future::pending::<()>().await;
        }
        Response::new(full("quick"))
    })
    .await;
    let mut uploads = Vec::new();
    for known in [true, false, true] {
        let single = stream::repeat_with(|| {
            SENT.fetch_add(1, Ordering::Relaxed);
            Ok::<_, io::Error>(Frame::data(Bytes::from_static(b"x")))
        });
        let mut request = Request::post(URL);
        if known {
            request = request.header("content-length", "100000000");
        }
        let request = request.body(StreamBody::new(single)).unwrap();
        let tunnel = Arc::clone(&tunnel);
        uploads.push(tokio::spawn(async move { tunnel.send(request).await.map(drop) }));
    }
    // 263,173 unread frames of one byte are what a budget of 64 MiB allows.
    while SENT.load(Ordering::Relaxed) < 1_500_000 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let quick = tunnel.send(Request::get(URL).body(full("")).unwrap());
    let quick = timeout(PATIENCE, quick).await.expect("in time").expect("an answer");
    assert_eq!(collect(quick.into_body()).await.unwrap(), "quick");
    assert_eq!(tunnel.connections().len(), 1);
    assert!(uploads.iter().all(|upload| !upload.is_finished()), "nothing was cut off");
    for upload in uploads {
        upload.abort();
    }
}
