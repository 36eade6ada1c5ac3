//! Heads: statuses, headers, trailers, interim answers.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::{sync::oneshot, time::timeout};
use tunnel_proto::edge::OnInterim;

use super::{
    A_WHILE, Problem, Seen, Stage,
    bodies::{by_hand, data, empty, get, post},
    front, seen, soon, yes,
};

pub async fn response_trailers(stage: &mut Stage) -> Seen {
    let request = get("/trailers").header("te", "trailers").body(empty())?;
    let (response, played) = tokio::join!(stage.tunnel.send(request), async {
        let mut exchange = stage.origin.next().await?;
        exchange.head("200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked").await?;
        exchange.chunk("data").await?;
        exchange.write("0\r\nX-Sum: 7\r\n\r\n").await?;
        Ok::<_, Problem>(())
    });
    played?;
    let body = soon(response?.into_body().collect()).await??;
    match body.trailers() {
        Some(trailers) if trailers.get("x-sum").is_some_and(|sum| sum == "7") => yes(),
        _ => seen("lost"),
    }
}

pub async fn request_trailers(stage: &mut Stage) -> Seen {
    let mut kept = Vec::new();
    for announced in [true, false] {
        let (sender, body) = by_hand();
        sender.send(data("data"))?;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("7"));
        sender.send(Ok(Frame::trailers(trailers)))?;
        drop(sender);
        let mut request = post("/trailers");
        if announced {
            request = request.header("trailer", "x-sum");
        }
        let (response, trailers) = tokio::join!(stage.tunnel.send(request.body(body)?), async {
            let mut exchange = stage.origin.next().await?;
            while !soon(exchange.read_chunk()).await??.is_empty() {}
            exchange.head("204 No Content").await?;
            Ok::<_, Problem>(exchange.trailers)
        });
        response?;
        kept.push(trailers?.to_lowercase() == "x-sum: 7\r\n");
    }
    match kept[..] {
        [true, true] => yes(),
        [true, false] => seen("yes, if announced in `Trailer`"),
        _ => seen("lost"),
    }
}

pub async fn expect_continue(stage: &mut Stage) -> Seen {
    let front = front::Front::start(Arc::clone(&stage.tunnel)).await;
    let mut visitor = front.dial().await?;
    let head = "POST /up HTTP/1.1\r\nHost: app.example.com\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    visitor.write(head).await?;
    let (told, asked) = tokio::join!(timeout(A_WHILE, visitor.line()), stage.origin.next());
    let mut exchange = asked?;
    let told = matches!(told, Ok(Ok(line)) if line.starts_with("HTTP/1.1 100"));
    visitor.write("body").await?;
    let body = soon(exchange.read_exactly(4)).await??;
    exchange.head("204 No Content").await?;
    let asked = !exchange.values("expect").is_empty();
    match (told, asked) {
        _ if body != b"body" => seen("mixed up"),
        (true, false) => seen("the edge says to go on; the origin is not asked"),
        (true, true) => seen("the edge says to go on, and the origin is asked"),
        (false, _) => seen("the visitor is not told to go on"),
    }
}

pub async fn early_hints(stage: &mut Stage) -> Seen {
    let (heard, hears) = oneshot::channel();
    let heard = Mutex::new(Some(heard));
    let on_interim = OnInterim::new(move |interim| {
        if let Some(heard) = heard.lock().unwrap().take() {
            let _ = heard.send(interim);
        }
    });
    let request = get("/hints").extension(on_interim).body(empty())?;
    let (response, hint) = tokio::join!(stage.tunnel.send(request), async {
        let mut exchange = stage.origin.next().await?;
        exchange.write("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n").await?;
        let hint = timeout(A_WHILE, hears).await;
        exchange.head("200 OK\r\nContent-Length: 0").await?;
        Ok::<_, Problem>(hint)
    });
    let status = response?.status();
    match hint? {
        _ if status != 200 => seen(format!("the answer is {status}")),
        Ok(Ok(hint)) if hint.status() == 103 && hint.headers().contains_key("link") => {
            seen("yes, before the answer")
        }
        _ => seen("swallowed"),
    }
}

/// The answer to a request, as the visitor sees it.
async fn answer(
    stage: &mut Stage,
    method: &str,
    head: &str,
) -> Result<(u16, HeaderMap, usize), Problem> {
    let request = get("/bodiless").method(method).body(empty())?;
    let (response, played) = tokio::join!(stage.tunnel.send(request), async {
        let mut exchange = stage.origin.next().await?;
        exchange.head(head).await?;
        Ok::<_, Problem>(exchange)
    });
    let (response, _exchange) = (response?, played?);
    let (parts, body) = response.into_parts();
    let body = soon(body.collect()).await??.to_bytes();
    Ok((parts.status.as_u16(), parts.headers, body.len()))
}

pub async fn head(stage: &mut Stage) -> Seen {
    let (status, headers, body) =
        answer(stage, "HEAD", "200 OK\r\nContent-Length: 18\r\nETag: \"x\"").await?;
    let length = headers.get("content-length").is_some_and(|length| length == "18");
    match (status, length, body) {
        (200, true, 0) => seen("yes, with the length"),
        (200, false, 0) => seen("without the length"),
        _ => seen("mixed up"),
    }
}

pub async fn no_content(stage: &mut Stage) -> Seen {
    let (status, headers, body) = answer(stage, "GET", "204 No Content\r\nETag: \"x\"").await?;
    let tag = headers.get("etag").is_some_and(|tag| tag == "\"x\"");
    let framed =
        headers.contains_key("content-length") || headers.contains_key("transfer-encoding");
    if (status, tag, framed, body) == (204, true, false, 0) { yes() } else { seen("mixed up") }
}

pub async fn not_modified(stage: &mut Stage) -> Seen {
    let head = "304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 18";
    let (status, headers, body) = answer(stage, "GET", head).await?;
    let length = headers.get("content-length").is_some_and(|length| length == "18");
    match (status, headers.contains_key("etag"), length, body) {
        (304, true, true, 0) => seen("yes, with the length"),
        (304, true, false, 0) => seen("without the length"),
        _ => seen("mixed up"),
    }
}

/// Sends a request and answers it, raw both ways.
async fn exchange(
    stage: &mut Stage,
    request: http::request::Builder,
    head: &[u8],
) -> Result<(super::origin::Exchange, http::Response<tunnel_proto::edge::Incoming>), Problem> {
    let (response, exchange) = tokio::join!(stage.tunnel.send(request.body(empty())?), async {
        let mut exchange = stage.origin.next().await?;
        exchange.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n").await?;
        exchange.write(head).await?;
        exchange.write(b"\r\n").await?;
        Ok::<_, Problem>(exchange)
    });
    Ok((exchange?, response?))
}

pub async fn bytes_outside_ascii(stage: &mut Stage) -> Seen {
    let latin = HeaderValue::from_bytes(b"caf\xe9")?;
    let utf8 = HeaderValue::from_bytes("早い".as_bytes())?;
    let request = get("/").header("x-latin", &latin).header("x-utf8", &utf8);
    let head = [b"X-Latin: caf\xe9\r\nX-Utf8: ".as_slice(), "早い\r\n".as_bytes()].concat();
    let (exchange, response) = exchange(stage, request, &head).await?;
    let up = exchange.values("x-latin") == [latin.as_bytes()]
        && exchange.values("x-utf8") == [utf8.as_bytes()];
    let down = response.headers().get("x-latin") == Some(&latin)
        && response.headers().get("x-utf8") == Some(&utf8);
    match (up, down) {
        (true, true) => seen("kept both ways"),
        (up, down) => seen(format!("kept on the way up: {up}, on the way down: {down}")),
    }
}

pub async fn equal_names(stage: &mut Stage) -> Seen {
    let mut request = get("/");
    let mut head = String::new();
    for number in 0..100 {
        request = request.header("x-many", number);
        write!(head, "Set-Cookie: c{number}=1\r\n")?;
    }
    let (exchange, response) = exchange(stage, request, head.as_bytes()).await?;
    let up: Vec<_> = (0..100).map(|number: u8| number.to_string().into_bytes()).collect();
    let down: Vec<_> =
        (0..100).map(|number| HeaderValue::try_from(format!("c{number}=1")).unwrap()).collect();
    let got = exchange.values("x-many");
    let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().cloned().collect();
    match (got == up, cookies == down) {
        (true, true) => seen("all, in order, both ways"),
        _ => seen(format!("{} up, {} down, or not in order", got.len(), cookies.len())),
    }
}

pub async fn empty_values(stage: &mut Stage) -> Seen {
    let (exchange, response) =
        exchange(stage, get("/").header("x-empty", ""), b"X-Empty:\r\n").await?;
    let up = exchange.values("x-empty") == [b""];
    let down = response.headers().get("x-empty").is_some_and(HeaderValue::is_empty);
    if up && down { seen("kept both ways") } else { seen("lost") }
}

pub async fn path(stage: &mut Stage) -> Seen {
    let path = "/a%2Fb//c/../d;e=%20%C3%A9?x=%26&y=a+b&&z={}|'";
    let (exchange, _) = exchange(stage, get(path), b"").await?;
    let line = exchange.request_line();
    if line == format!("GET {path} HTTP/1.1") { yes() } else { seen(format!("no: `{line}`")) }
}

pub async fn added(stage: &mut Stage) -> Seen {
    let request = http::Request::get("https://app.example.com/").header("x-own", "1");
    let (exchange, _) = exchange(stage, request, b"").await?;
    let names = exchange.names();
    let added: Vec<_> =
        names.iter().filter(|name| *name != "host" && *name != "x-own").cloned().collect();
    if added.is_empty() { seen("none") } else { seen(format!("`{}`", added.join("`, `"))) }
}
