//! Bodies: that they stream, arrive whole, and wait for who reads them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, request};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio::{sync::mpsc, time::timeout};
use tunnel_proto::edge::Incoming;

use super::{A_WHILE, Seen, Stage, seen, soon, yes};

const UPLOAD_BYTES: usize = 32 << 20;
const PIECE: &[u8] = &[b'p'; 64 * 1024];

/// What a wait between two ends holds at most: windows, sockets, buffers. Loopback sockets alone
/// take several MiB.
const ON_THE_WAY: usize = 48 << 20;

pub fn get(path: &str) -> request::Builder {
    let uri = format!("https://app.example.com{path}");
    Request::get(uri).header("accept-encoding", "identity")
}

pub fn post(path: &str) -> request::Builder {
    get(path).method("POST")
}

pub fn empty() -> Full<Bytes> {
    Full::default()
}

type Frames = StreamBody<
    std::pin::Pin<Box<dyn futures_util::Stream<Item = std::io::Result<Frame<Bytes>>> + Send>>,
>;

/// A body whose frames the test hands over.
pub fn by_hand() -> (mpsc::UnboundedSender<std::io::Result<Frame<Bytes>>>, Frames) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let frames =
        stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    (sender, StreamBody::new(Box::pin(frames)))
}

pub fn data(text: &'static str) -> std::io::Result<Frame<Bytes>> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

/// The next piece of a body; empty at its end.
pub async fn piece(body: &mut Incoming) -> Result<Bytes, super::Problem> {
    match soon(body.frame()).await? {
        Some(frame) => Ok(frame?.into_data().unwrap_or_default()),
        None => Ok(Bytes::new()),
    }
}

/// Pieces without end, each counted when it is taken.
fn counted(pieces: usize) -> (Arc<AtomicUsize>, Frames) {
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    let frames = stream::iter((0..pieces).map(move |_| {
        count.fetch_add(PIECE.len(), Ordering::Relaxed);
        Ok(Frame::data(Bytes::from_static(PIECE)))
    }));
    (taken, StreamBody::new(Box::pin(frames)))
}

/// Waits until a count stands still for a while; whether it did so below the bound.
async fn stands_still(count: &AtomicUsize) -> bool {
    let mut last = usize::MAX;
    loop {
        let now = count.load(Ordering::Relaxed);
        if now == last || now > ON_THE_WAY {
            return now <= ON_THE_WAY;
        }
        last = now;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

pub async fn both_ways(stage: &mut Stage) -> Seen {
    let (sender, body) = by_hand();
    let send = stage.tunnel.send(post("/both").body(body)?);
    let play = async {
        let mut exchange = stage.origin.next().await?;
        exchange.head("200 OK\r\nTransfer-Encoding: chunked").await?;
        exchange.chunk("zero").await?;
        Ok::<_, super::Problem>(exchange)
    };
    let (response, exchange) = soon(async { tokio::join!(send, play) }).await?;
    let (mut body, mut exchange) = (response?.into_body(), exchange?);
    if piece(&mut body).await? != "zero" {
        return seen("mixed up");
    }
    for word in ["one", "two", "three"] {
        sender.send(data(word))?;
        let Ok(chunk) = timeout(A_WHILE, exchange.read_chunk()).await else {
            return seen("no: the upload waits");
        };
        exchange.chunk(chunk?).await?;
        if piece(&mut body).await? != word {
            return seen("mixed up");
        }
    }
    drop(sender);
    soon(exchange.read_chunk()).await??;
    exchange.chunk("").await?;
    if piece(&mut body).await?.is_empty() { yes() } else { seen("mixed up") }
}

pub async fn slow_visitor(stage: &mut Stage) -> Seen {
    let send = stage.tunnel.send(get("/slow").body(empty())?);
    let (response, exchange) = tokio::join!(send, async {
        let mut exchange = stage.origin.next().await?;
        exchange.head("200 OK\r\nTransfer-Encoding: chunked").await?;
        Ok::<_, super::Problem>(exchange)
    });
    let (mut body, mut exchange) = (response?.into_body(), exchange?);
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let writer = tokio::spawn(async move {
        while exchange.chunk(PIECE).await.is_ok() {
            count.fetch_add(PIECE.len(), Ordering::Relaxed);
        }
    });
    let held = stands_still(&written).await;
    let mut left = written.load(Ordering::Relaxed) + (1 << 20);
    while held && left > 0 {
        let data = piece(&mut body).await?;
        left = left.saturating_sub(data.len());
    }
    drop(body);
    soon(writer).await??;
    if held { yes() } else { seen("no: the connector takes all of it") }
}

pub async fn slow_origin(stage: &mut Stage) -> Seen {
    let (taken, body) = counted(usize::MAX);
    let send = tokio::spawn({
        let tunnel = Arc::clone(&stage.tunnel);
        let request = post("/slow").body(body)?;
        async move { tunnel.send(request).await }
    });
    let mut exchange = stage.origin.next().await?;
    let held = stands_still(&taken).await;
    let mut left = taken.load(Ordering::Relaxed) + (1 << 20);
    while held && left > 0 {
        let chunk = soon(exchange.read_chunk()).await??;
        left = left.saturating_sub(chunk.len());
    }
    send.abort();
    soon(exchange.closed()).await?;
    if held { yes() } else { seen("no: the connector takes all of it") }
}

pub async fn upload_with_length(stage: &mut Stage) -> Seen {
    let (_, body) = counted(UPLOAD_BYTES / PIECE.len());
    let request = post("/up").header("content-length", UPLOAD_BYTES).body(body)?;
    let (response, received) = tokio::join!(stage.tunnel.send(request), async {
        let mut exchange = stage.origin.next().await?;
        let length = exchange.values("content-length");
        let data = soon(exchange.read_exactly(UPLOAD_BYTES)).await??;
        exchange.head("200 OK\r\nContent-Length: 0").await?;
        Ok::<_, super::Problem>((length, data))
    });
    response?;
    let (length, data) = received?;
    let whole = data.iter().all(|byte| *byte == b'p');
    let length = length == [UPLOAD_BYTES.to_string().into_bytes()];
    if whole && length { yes() } else { seen("not as it was sent") }
}

pub async fn upload_in_chunks(stage: &mut Stage) -> Seen {
    let (_, body) = counted(UPLOAD_BYTES / PIECE.len());
    let request = post("/up").body(body)?;
    let (response, received) = tokio::join!(stage.tunnel.send(request), async {
        let mut exchange = stage.origin.next().await?;
        let (mut received, mut whole) = (0, true);
        loop {
            let chunk = soon(exchange.read_chunk()).await??;
            if chunk.is_empty() {
                break;
            }
            received += chunk.len();
            whole &= chunk.iter().all(|byte| *byte == b'p');
        }
        exchange.head("200 OK\r\nContent-Length: 0").await?;
        Ok::<_, super::Problem>((received, whole))
    });
    response?;
    if received? == (UPLOAD_BYTES, true) { yes() } else { seen("not as it was sent") }
}

pub async fn download(stage: &mut Stage) -> Seen {
    let send = stage.tunnel.send(get("/down").body(empty())?);
    let play = async {
        let mut exchange = stage.origin.next().await?;
        exchange.head(&format!("200 OK\r\nContent-Length: {UPLOAD_BYTES}")).await?;
        for _ in 0..UPLOAD_BYTES / PIECE.len() {
            exchange.write(PIECE).await?;
        }
        Ok::<_, super::Problem>(())
    };
    let read = async {
        let mut body = send.await?.into_body();
        let (mut received, mut whole) = (0, true);
        loop {
            let data = piece(&mut body).await?;
            if data.is_empty() {
                return Ok::<_, super::Problem>((received, whole));
            }
            received += data.len();
            whole &= data.iter().all(|byte| *byte == b'p');
        }
    };
    let (received, played) = tokio::join!(read, play);
    played?;
    if received? == (UPLOAD_BYTES, true) { yes() } else { seen("not as it was sent") }
}

pub async fn first_event(stage: &mut Stage) -> Seen {
    let head = "200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked";
    let (response, exchange) =
        tokio::join!(stage.tunnel.send(get("/events").body(empty())?), async {
            let mut exchange = stage.origin.next().await?;
            exchange.head(head).await?;
            exchange.chunk("data: 1\n\n").await?;
            Ok::<_, super::Problem>(exchange)
        });
    let (mut body, mut exchange) = (response?.into_body(), exchange?);
    if timeout(A_WHILE, body.frame()).await.is_err() {
        return seen("no: it is held back");
    }
    exchange.chunk("data: 2\n\n").await?;
    exchange.chunk("").await?;
    if piece(&mut body).await? == "data: 2\n\n" { yes() } else { seen("mixed up") }
}

pub async fn first_bytes(stage: &mut Stage) -> Seen {
    let head = "200 OK\r\nContent-Type: text/plain\r\nContent-Length: 18";
    let tunnel = Arc::clone(&stage.tunnel);
    let request = get("/slow").body(empty())?;
    let response = tokio::spawn(async move { tunnel.send(request).await });
    let mut exchange = stage.origin.next().await?;
    exchange.head(head).await?;
    exchange.write("the first").await?;
    let first = async {
        let mut body = response.await??.into_body();
        let first = piece(&mut body).await?;
        Ok::<_, super::Problem>((body, first))
    };
    let mut first = std::pin::pin!(first);
    let at_once = timeout(A_WHILE, &mut first).await;
    exchange.write(" the rest").await?;
    let Ok(first) = at_once else {
        soon(first).await??;
        return seen("no: held back until 4 KiB are there or the end");
    };
    let (mut body, first) = first?;
    let rest = piece(&mut body).await?;
    if first == "the first" && rest == " the rest" { yes() } else { seen("mixed up") }
}

pub async fn early_answer(stage: &mut Stage) -> Seen {
    let (sender, body) = by_hand();
    sender.send(data("some"))?;
    let send = stage.tunnel.send(post("/up").body(body)?);
    let (response, exchange) = tokio::join!(send, async {
        let mut exchange = stage.origin.next().await?;
        exchange.head("413 Content Too Large\r\nContent-Length: 2").await?;
        exchange.write("no").await?;
        exchange.end().await?;
        Ok::<_, super::Problem>(exchange)
    });
    let (response, _exchange) = (response?, exchange?);
    let status = response.status();
    let body = soon(response.into_body().collect()).await??.to_bytes();
    if status == 413 && body == "no" { yes() } else { seen(format!("{status}")) }
}

pub async fn packed(stage: &mut Stage) -> Seen {
    // An empty gzip stream with a name to its file system: 20 bytes that unpack to nothing.
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0";
    let request = Request::get("https://app.example.com/packed").body(empty())?;
    let (response, played) = tokio::join!(stage.tunnel.send(request), async {
        let mut exchange = stage.origin.next().await?;
        exchange.head("200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 20").await?;
        exchange.write(gzip).await?;
        Ok::<_, super::Problem>(())
    });
    played?;
    let response = response?;
    let kept = response.headers().contains_key("content-encoding");
    let body = soon(response.into_body().collect()).await??.to_bytes();
    if kept && body == gzip[..] { seen("stays as it is") } else { seen("is unpacked") }
}
