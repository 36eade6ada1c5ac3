//! Requests and responses.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::{sync::Notify, time::timeout};
use tunnel_proto::edge::{Incoming, ResponseSource};

use super::{PATIENCE, URL, Way, send};
use crate::harness::{AnyBody, collect, full};

/// Answers with the request's own headers and body, and with what its first line said.
pub async fn echo(request: Request<Incoming>) -> Response<AnyBody> {
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

pub async fn method_target_host_body_and_many_values<W: Way>() {
    let way = W::to(echo).await;
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
        let response = send(&way, request).await;
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

pub async fn bodies_beyond_every_window_in_both_directions_at_once<W: Way>(chunks: usize) {
    let way = W::to(echo).await;
    let chunk = Bytes::from(vec![b'x'; 100_000]);
    let frames = stream::iter((0..chunks).map(move |_| Ok(Frame::data(chunk.clone()))));
    let request = Request::post(URL).body(StreamBody::new(frames).boxed()).unwrap();
    let response = send(&way, request).await;
    let body = timeout(PATIENCE, collect(response.into_body())).await.unwrap().unwrap();
    assert_eq!(body.len(), chunks * 100_000);
}

pub async fn trailers_in_both_directions<W: Way>() {
    let way = W::to(|request: Request<Incoming>| async move {
        let trailers = request.into_body().collect().await.unwrap().trailers().cloned().unwrap();
        let frames = [Frame::data(Bytes::from("data")), Frame::trailers(trailers)].map(Ok);
        Response::new(StreamBody::new(stream::iter(frames)).boxed())
    })
    .await;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Frame::data(Bytes::from("up")), Frame::trailers(trailers.clone())].map(Ok);
    let request = Request::post(URL).body(StreamBody::new(stream::iter(frames)).boxed()).unwrap();
    let collected = send(&way, request).await.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers(), Some(&trailers));
    assert_eq!(collected.to_bytes(), "data");
}

pub async fn head_204_and_304_have_no_body_but_keep_their_headers<W: Way>() {
    let way = W::to(|request: Request<Incoming>| async move {
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
        let response = send(&way, request).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["etag"], "\"x\"");
        assert_eq!(response.headers().contains_key("content-length"), status != 204);
        assert!(collect(response.into_body()).await.unwrap().is_empty());
    }
}

/// In a request, in its trailers, in an answer and in its trailers: too long, or longer once encoded than a
/// connection takes.
pub async fn long_header_lists_harm_only_their_own_exchange<W: Way>() {
    let (begun, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let signals = (Arc::clone(&begun), Arc::clone(&finish));
    let way = Arc::new(
        W::to(move |request: Request<Incoming>| {
            let (begun, finish) = signals.clone();
            async move {
                let path = request.uri().path().to_owned();
                let list = request.uri().query().and_then(|query| query.split_once('-'));
                let list = list.map(|(byte, length)| long(byte.parse().unwrap(), length));
                let _ = request.into_body().collect().await;
                let mut response = Response::new(full(""));
                match (path.as_str(), list) {
                    ("/slow", _) => {
                        begun.notify_one();
                        finish.notified().await;
                    }
                    ("/head", Some(list)) => *response.headers_mut() = list,
                    (_, Some(list)) => *response.body_mut() = trailed(list),
                    _ => {}
                }
                response
            }
        })
        .await,
    );
    let slow = tokio::spawn({
        let way = Arc::clone(&way);
        let request = Request::post(format!("{URL}slow")).body(full("order")).unwrap();
        async move { way.send(request).await.map(|response| response.status()) }
    });
    begun.notified().await;
    for byte in [b'a', b'~', 0xF9] {
        for kilobytes in ["60", "150", "500", "1100", "3000"] {
            let mut head = Request::post(URL).body(full("")).unwrap();
            *head.headers_mut() = long(byte, kilobytes);
            let trailers = Request::post(URL).body(trailed(long(byte, kilobytes))).unwrap();
            let asked = |path: &str| {
                let url = format!("{URL}{path}?{byte}-{kilobytes}");
                Request::post(url).body(full("")).unwrap()
            };
            for request in [head, trailers, asked("head"), asked("trailers")] {
                let answer = timeout(PATIENCE, way.send(request)).await.expect("in time");
                if let Ok(response) = answer {
                    let _ = timeout(PATIENCE, response.into_body().collect()).await.expect("too");
                }
            }
        }
    }
    finish.notify_one();
    assert_eq!(timeout(PATIENCE, slow).await.unwrap().unwrap().unwrap(), 200);
    assert!(send(&*way, Request::get(URL).body(full("")).unwrap()).await.status().is_success());
}

/// Headers of so many kilobytes, all of one byte.
fn long(byte: u8, kilobytes: &str) -> HeaderMap {
    let value = HeaderValue::from_bytes(&[byte; 1_000]).unwrap();
    let names = 0..kilobytes.parse::<u32>().unwrap();
    names.map(|at| (format!("x-{at}").parse::<HeaderName>().unwrap(), value.clone())).collect()
}

fn trailed(trailers: HeaderMap) -> AnyBody {
    let frames = [Frame::data(Bytes::from("data")), Frame::trailers(trailers)].map(Ok);
    StreamBody::new(stream::iter(frames)).boxed()
}
