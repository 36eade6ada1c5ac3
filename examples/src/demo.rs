//! A web server to try things out with: one page that says who is looking.

use std::{convert::Infallible, fmt::Write as _};

use bytes::Bytes;
use http::{HeaderMap, Response, header};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// The demo origin's page for a request with these headers.
pub fn page(headers: &HeaderMap) -> Response<Full<Bytes>> {
    let value = |name: &str| {
        headers.get(name).map(|value| escape(&String::from_utf8_lossy(value.as_bytes())))
    };
    let email = value("cf-access-authenticated-user-email").unwrap_or_else(|| "nobody".into());
    let mut rows = String::new();
    for name in headers.keys() {
        if let Some(value) = value(name.as_str()) {
            let _ = write!(rows, "<tr><th>{name}<td>{}", shorten(&value));
        }
    }
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content='width=device-width'><title>Demo origin</title>\
         <style>:root{{color-scheme:light dark;font-family:system-ui,sans-serif}}\
         body{{max-width:44rem;margin:3rem auto;padding:0 1rem;line-height:1.5}}\
         th{{text-align:left;padding-right:1rem;vertical-align:top;white-space:nowrap}}\
         td{{word-break:break-all}}</style>\
         <h1>It works</h1><p>You are <strong>{email}</strong>, and this page came through the \
         tunnel. The headers that the origin sees:<table>{rows}</table></html>"
    );
    let mut response = Response::new(Full::from(html));
    let html_type = header::HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, html_type);
    response
}

/// Serves the page over HTTP/1.1 until the runtime ends: for cloudflared, which needs a port.
pub async fn serve(listener: TcpListener) {
    while let Ok((tcp, _)) = listener.accept().await {
        let service = service_fn(async |request: http::Request<hyper::body::Incoming>| {
            Ok::<_, Infallible>(page(request.headers()))
        });
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new();
            let _ = connection.serve_connection(TokioIo::new(tcp), service).await;
        });
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(120) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
