//! Requests that leave a tunnel for web servers of every kind.

#![expect(clippy::unwrap_used, reason = "a test")]
#![cfg(feature = "ingress")]

mod harness;
mod ingress_harness;

use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use ingress_harness::{
    Authority, ask, environment, get, http_mirror, https_mirror, serve, serve_connection, text,
};
use tunnel_proto::{
    edge::ResponseSource,
    ingress::{Environment, Ingress},
    origin::OriginFailure,
};

const APP: &str = "https://app.example.com/a%20b?c=d";

/// The one rule for everything, in YAML's flow style.
fn single(service: &str, options: &str) -> String {
    format!("ingress: [{{service: \"{service}\", originRequest: {{{options}}}}}]")
}

#[tokio::test]
async fn requests_go_where_their_rule_leads() {
    let (port, connections) = http_mirror().await;
    let yaml = format!(
        "ingress:\n  - hostname: app.example.com\n    service: http://127.0.0.1:{port}\n  \
         - {{hostname: hello.example.com, service: hello_world}}\n  - service: http_status:451\n"
    );
    let (tunnel, _running) = serve(&Ingress::from_yaml(&yaml, Environment::new()).unwrap()).await;
    for _ in 0..3 {
        let (status, source, body) = get(&tunnel, APP).await;
        assert_eq!((status, source), (200, Some(ResponseSource::Origin)));
        assert_eq!(body, "HTTP/1.1 app.example.com /a%20b?c=d\n", "nothing is added");
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1, "the connection is used again");
    let (status, _, body) = get(&tunnel, "https://hello.example.com/").await;
    assert!(status == 200 && body.contains("The tunnel works"), "{status} {body}");
    let answer = get(&tunnel, "https://other.example.com/").await;
    assert_eq!(answer, (451, Some(ResponseSource::Origin), String::new()));
}

#[tokio::test]
async fn rules_change_while_running_and_a_bad_push_changes_nothing() {
    let ingress = Ingress::empty(Environment::new());
    let (tunnel, _running) = serve(&ingress).await;
    assert_eq!(get(&tunnel, APP).await.0, 503);
    ingress.replace(br#"{"ingress": [{"service": "http_status:201"}]}"#).unwrap();
    assert_eq!(get(&tunnel, APP).await.0, 201);
    for bad in [
        r#"{"ingress": [{"service": "http_status:1"}]}"#,
        r#"{"ingress": [{"service": "https://a.test"}]}"#,
        "{}",
        "",
    ] {
        assert!(ingress.replace(bad.as_bytes()).unwrap_err().is_caller_fault(), "{bad}");
        assert_eq!(get(&tunnel, APP).await.0, 201);
    }
    assert_eq!(ingress.configuration().unwrap().rules().len(), 1);
}

#[tokio::test]
async fn an_origin_that_is_not_there_is_told_apart_from_its_own_502() {
    let (listener, closed) = (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), "/no/such.sock");
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    for service in [format!("http://127.0.0.1:{port}"), format!("unix:{closed}")] {
        let ingress = Ingress::from_yaml(&single(&service, ""), Environment::new()).unwrap();
        let (tunnel, _running) = serve(&ingress).await;
        let (status, source, _) = get(&tunnel, APP).await;
        let unreachable = Some(ResponseSource::Connector(OriginFailure::Unreachable));
        assert_eq!((status, source), (502, unreachable), "{service}");
    }
}

#[tokio::test]
async fn the_host_header_is_replaced_and_the_visitors_passed_on() {
    let (port, _) = http_mirror().await;
    let yaml = single(&format!("http://127.0.0.1:{port}"), "httpHostHeader: \"inner.test:81\"");
    let (tunnel, _running) = serve(&Ingress::from_yaml(&yaml, Environment::new()).unwrap()).await;
    let (_, _, body) = get(&tunnel, APP).await;
    assert_eq!(body, "HTTP/1.1 inner.test:81 /a%20b?c=d\nx-forwarded-host: app.example.com\n");
}

#[tokio::test]
async fn http2_without_tls() {
    let (port, connections) = http_mirror().await;
    let yaml = single(&format!("http://127.0.0.1:{port}"), "http2Origin: true");
    let (tunnel, _running) = serve(&Ingress::from_yaml(&yaml, Environment::new()).unwrap()).await;
    for _ in 0..2 {
        let (_, _, body) = get(&tunnel, APP).await;
        assert_eq!(body, "HTTP/2.0 app.example.com /a%20b?c=d\n");
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn tls_is_checked_against_the_name_and_the_authority() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, &authority.pem).unwrap();
    let pool = format!("caPool: {}", file.display());
    let port = https_mirror(authority.server("origin.test", &["h2", "http/1.1"])).await;
    let service = format!("https://127.0.0.1:{port}");
    let unreachable = Some(ResponseSource::Connector(OriginFailure::Unreachable));
    for (options, host, expected) in [
        (format!("{pool}, originServerName: origin.test"), "app.test", Ok("HTTP/1.1 app.test")),
        (
            format!("{pool}, originServerName: origin.test, http2Origin: true"),
            "app.test",
            Ok("HTTP/2.0 app.test"),
        ),
        (format!("{pool}, matchSNItoHost: true"), "origin.test", Ok("HTTP/1.1 origin.test")),
        (format!("{pool}, matchSNItoHost: true"), "app.test", Err(())),
        (pool.clone(), "app.test", Err(())),
        ("originServerName: origin.test".into(), "app.test", Err(())),
        ("noTLSVerify: true".into(), "app.test", Ok("HTTP/1.1 app.test")),
        ("noTLSVerify: true, http2Origin: true".into(), "app.test", Ok("HTTP/2.0 app.test")),
    ] {
        let ingress = Ingress::from_yaml(&single(&service, &options), environment()).unwrap();
        let (tunnel, _running) = serve(&ingress).await;
        let (status, source, body) = get(&tunnel, &format!("https://{host}/")).await;
        match expected {
            Ok(start) => assert!(body.starts_with(start), "{options}: {status} {source:?} {body}"),
            Err(()) => assert_eq!((status, source), (502, unreachable), "{options}: {body}"),
        }
    }
}

#[tokio::test]
async fn a_connection_made_for_one_host_is_never_used_for_another() {
    let tls = Authority::new().server("origin.test", &["h2", "http/1.1"]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // Tells for which name the connection was made, and its number.
    tokio::spawn(async move {
        let mut number = 0;
        while let Ok((io, _)) = listener.accept().await {
            let Ok(io) = tls.accept(io).await else { continue };
            number += 1;
            let name = io.get_ref().1.server_name().unwrap_or("nobody").to_owned();
            let service = hyper::service::service_fn(move |request: Request<_>| {
                let _: &Request<hyper::body::Incoming> = &request;
                let host = request.headers().get("host").map(|host| host.to_str().unwrap());
                let host = host.or(request.uri().host()).unwrap();
                let told = format!("{name} {host} {number}");
                async { Ok::<_, std::convert::Infallible>(http::Response::new(told)) }
            });
            let io = hyper_util::rt::TokioIo::new(io);
            tokio::spawn(async move {
                let executor = hyper_util::rt::TokioExecutor::new();
                let _ = hyper_util::server::conn::auto::Builder::new(executor)
                    .serve_connection(io, service)
                    .await;
            });
        }
    });
    let mut first = 1;
    for (options, named) in [
        ("noTLSVerify: true, matchSNItoHost: true", None),
        ("noTLSVerify: true, matchSNItoHost: true, http2Origin: true", None),
        (
            "noTLSVerify: true, originServerName: origin.test, http2Origin: true",
            Some("origin.test"),
        ),
    ] {
        let yaml = single(&format!("https://127.0.0.1:{port}"), options);
        let (tunnel, _running) = serve(&Ingress::from_yaml(&yaml, environment()).unwrap()).await;
        for _ in 0..3 {
            for (at, host) in ["a.test", "b.test"].iter().enumerate() {
                let (_, _, body) = get(&tunnel, &format!("https://{host}/")).await;
                let number = first + at;
                assert_eq!(body, format!("{} {host} {number}", named.unwrap_or(host)), "{options}");
            }
        }
        first += 2;
    }
}

#[tokio::test]
async fn an_origin_without_http2_is_spoken_to_in_http1() {
    let authority = Authority::new();
    let port = https_mirror(authority.server("origin.test", &["http/1.1"])).await;
    let options = "noTLSVerify: true, http2Origin: true";
    let yaml = single(&format!("https://127.0.0.1:{port}"), options);
    let (tunnel, _running) = serve(&Ingress::from_yaml(&yaml, environment()).unwrap()).await;
    assert!(get(&tunnel, APP).await.2.starts_with("HTTP/1.1 app.example.com /a%20b?c=d\n"));
}

#[tokio::test]
async fn authorities_that_can_not_be_used_are_named_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for (file, words) in
        [(&folder.path().join("none.pem"), "can't be read"), (&empty, "no certificate")]
    {
        let yaml = format!(
            "ingress:\n  - service: https://a.test\n    originRequest:\n      caPool: {}\n",
            file.display()
        );
        let error = Ingress::from_yaml(&yaml, environment()).unwrap_err();
        let problems = std::error::Error::source(&error).unwrap().to_string();
        assert!(
            problems.starts_with("line 4: `ingress[0].originRequest.caPool` names"),
            "{problems}"
        );
        assert!(problems.contains(words), "{problems}");
    }
    let error = Ingress::from_yaml(&single("https://a.test", ""), Environment::new()).unwrap_err();
    let problems = std::error::Error::source(&error).unwrap().to_string();
    assert!(problems.contains("`ingress[0].service` needs TLS"), "{problems}");
}

#[cfg(unix)]
#[tokio::test]
async fn unix_sockets_with_and_without_tls() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, &authority.pem).unwrap();
    let (plain, sealed) = (folder.path().join("a.sock"), folder.path().join("b.sock"));
    let listener = tokio::net::UnixListener::bind(&plain).unwrap();
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            tokio::spawn(serve_connection(io));
        }
    });
    let listener = tokio::net::UnixListener::bind(&sealed).unwrap();
    let tls = authority.server("app.example.com", &[]);
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                if let Ok(io) = tls.accept(io).await {
                    serve_connection(io).await;
                }
            });
        }
    });
    let pool = format!("caPool: {}", file.display());
    for (service, options) in [
        (format!("unix:{}", plain.display()), ""),
        (format!("unix+tls:{}", sealed.display()), pool.as_str()),
    ] {
        let ingress = Ingress::from_yaml(&single(&service, options), environment()).unwrap();
        let (tunnel, _running) = serve(&ingress).await;
        let (_, _, body) = get(&tunnel, APP).await;
        assert_eq!(body, "HTTP/1.1 app.example.com /a%20b?c=d\n", "{service}");
    }
}

#[tokio::test]
async fn without_chunks_a_body_gets_a_length_or_411_and_never_goes_unframed() {
    let (port, _) = http_mirror().await;
    let yaml = single(&format!("http://127.0.0.1:{port}"), "disableChunkedEncoding: true");
    let (tunnel, _running) = serve(&Ingress::from_yaml(&yaml, Environment::new()).unwrap()).await;
    let post = |pieces: usize| {
        let piece = Bytes::from(vec![b'x'; 65_536]);
        let frames = (0..pieces).map(move |_| Ok::<_, std::io::Error>(Frame::data(piece.clone())));
        Request::post(APP).body(StreamBody::new(stream::iter(frames))).unwrap()
    };
    let body = text(tunnel.send(post(2)).await.unwrap()).await;
    assert!(
        body.contains("content-length: 131072\n") && !body.contains("transfer-enc"),
        "{body:.200}"
    );
    let response = tunnel.send(post(17)).await.unwrap();
    assert_eq!(response.status(), 411);
    assert!(
        response.into_body().collect().await.unwrap().to_bytes().starts_with(b"The origin needs")
    );
    // A length that is known goes through, whatever it is.
    let request = Request::post(APP).body(Full::from(vec![b'x'; 2_000_000])).unwrap();
    let (status, _, body) = ask(&tunnel, request).await;
    assert!(status == 200 && body.contains("content-length: 2000000\n"), "{status}");
}
