//! Exchanges that end before their time.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};
use tunnel_proto::edge::Incoming;

use super::{PATIENCE, URL, Way, send};
use crate::harness::{AnyBody, full};

/// Half a body, then (once told so) an error.
fn cut(go_on: Arc<Notify>) -> AnyBody {
    let half = stream::iter([Ok(Frame::data(Bytes::from("half")))]);
    let rest = stream::once(async move {
        go_on.notified().await;
        Err(std::io::Error::other("cut").into())
    });
    BodyExt::boxed(StreamBody::new(half.chain(rest)))
}

pub async fn an_upload_cut_short_reaches_the_origin_as_an_error<W: Way>() {
    let (seen, mut results) = mpsc::unbounded_channel();
    let way = W::to(move |request: Request<Incoming>| {
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
    let go_on = Arc::new(Notify::new());
    let request = Request::post(URL).header("content-length", "100");
    let request = request.body(cut(Arc::clone(&go_on))).unwrap();
    let sending = tokio::spawn(async move { way.send(request).await.map(drop) });
    assert_eq!(timeout(PATIENCE, results.recv()).await.unwrap().unwrap().unwrap(), "half");
    go_on.notify_one();
    let rest = timeout(PATIENCE, results.recv()).await.unwrap();
    assert!(matches!(rest, Some(Err(_))), "the origin took half an upload for a whole one");
    assert!(timeout(PATIENCE, sending).await.unwrap().unwrap().is_err());
}

pub async fn a_body_unlike_its_length_is_the_callers_fault<W: Way>() {
    let way = W::to(async |request: Request<Incoming>| {
        let _ = request.into_body().collect().await;
        Response::new(full("whatever"))
    })
    .await;
    for (body, length, says) in
        [("half", "8", "shorter"), ("whole", "3", "longer"), ("", "8", "shorter")]
    {
        let frames = [Ok(Frame::data(Bytes::from(body)))];
        let body = BodyExt::boxed(StreamBody::new(stream::iter(frames)));
        let request = Request::post(URL).header("content-length", length).body(body).unwrap();
        let error = timeout(PATIENCE, way.send(request)).await.unwrap().unwrap_err();
        assert!(error.is_caller_fault() && error.to_string().contains(says), "{error}");
    }
}

pub async fn a_download_cut_short_reaches_the_visitor_as_an_error<W: Way>() {
    let go_on = Arc::new(Notify::new());
    let told = Arc::clone(&go_on);
    let way = W::to(move |_| {
        let body = cut(Arc::clone(&told));
        async { Response::new(body) }
    })
    .await;
    let mut body = send(&way, Request::get(URL).body(full("")).unwrap()).await.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
    go_on.notify_one();
    assert!(timeout(PATIENCE, body.frame()).await.unwrap().unwrap().is_err());
}

struct TellOnDrop(Arc<Notify>);

impl Drop for TellOnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

pub async fn a_visitor_who_leaves_before_the_answer_stops_the_work<W: Way>() {
    let (started, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let guard = (Arc::clone(&started), Arc::clone(&dropped));
    let way = W::to(move |_| {
        let (started, dropped) = guard.clone();
        async move {
            let _guard = TellOnDrop(dropped);
            started.notify_one();
            std::future::pending().await
        }
    })
    .await;
    let way = Arc::new(way);
    let sending = tokio::spawn({
        let way = Arc::clone(&way);
        async move { way.send(Request::get(URL).body(full("")).unwrap()).await.map(drop) }
    });
    timeout(PATIENCE, started.notified()).await.unwrap();
    sending.abort();
    timeout(PATIENCE, dropped.notified()).await.expect("the service's future is dropped");
    assert_eq!(way.connection().in_flight(), 0);
}

pub async fn a_visitor_who_leaves_amid_the_answer_stops_the_work<W: Way>() {
    let dropped = Arc::new(Notify::new());
    let guard = Arc::clone(&dropped);
    let way = W::to(move |_| {
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
    let mut body = send(&way, Request::get(URL).body(full("")).unwrap()).await.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    timeout(PATIENCE, dropped.notified()).await.expect("the body is dropped");
}
