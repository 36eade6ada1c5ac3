//! Exchanges that end before their time, seen from the other side.

use std::{io, sync::Arc};

use http_body_util::BodyExt as _;
use tokio::time::timeout;

use super::{
    PATIENCE, Problem, Seen, Stage,
    bodies::{by_hand, data, empty, get, piece, post},
    seen, soon,
};

pub async fn visitor_leaves_early(stage: &mut Stage) -> Seen {
    let tunnel = Arc::clone(&stage.tunnel);
    let request = get("/leave").body(empty())?;
    let send = tokio::spawn(async move { tunnel.send(request).await });
    let mut exchange = stage.origin.next().await?;
    send.abort();
    let told = timeout(PATIENCE, exchange.closed()).await.is_ok();
    if told { seen("the origin is told") } else { seen("the origin is not told") }
}

pub async fn visitor_leaves_late(stage: &mut Stage) -> Seen {
    let (response, exchange) = tokio::join!(stage.tunnel.send(get("/").body(empty())?), async {
        let mut exchange = stage.origin.next().await?;
        exchange.head("200 OK\r\nTransfer-Encoding: chunked").await?;
        exchange.chunk("some").await?;
        Ok::<_, Problem>(exchange)
    });
    let (mut body, mut exchange) = (response?.into_body(), exchange?);
    piece(&mut body).await?;
    drop(body);
    let told = timeout(PATIENCE, exchange.closed()).await.is_ok();
    if told { seen("the origin is told") } else { seen("the origin is not told") }
}

pub async fn upload_breaks_off(stage: &mut Stage) -> Seen {
    let (sender, body) = by_hand();
    let tunnel = Arc::clone(&stage.tunnel);
    let request = post("/up").body(body)?;
    let send = tokio::spawn(async move { tunnel.send(request).await });
    sender.send(data("some"))?;
    let mut exchange = stage.origin.next().await?;
    let some = soon(exchange.read_chunk()).await??;
    sender.send(Err(io::ErrorKind::ConnectionReset.into()))?;
    let next = soon(exchange.read_chunk()).await?;
    send.abort();
    match next {
        _ if some != b"some" => seen("mixed up"),
        Err(_) => seen("the origin sees it"),
        Ok(_) => seen("the origin takes it for whole"),
    }
}

async fn breaks_off(stage: &mut Stage, head: &str, part: &str) -> Seen {
    let (response, played) = tokio::join!(stage.tunnel.send(get("/").body(empty())?), async {
        let mut exchange = stage.origin.next().await?;
        exchange.head(head).await?;
        exchange.write(part).await?;
        Ok::<_, Problem>(())
    });
    played?;
    // A connector that holds the part back may answer with an error of its own.
    let Ok(response) = response else {
        return seen("the visitor sees it");
    };
    if response.status() != 200 {
        return seen("the visitor gets another answer");
    }
    let mut body = response.into_body();
    match soon(async { (&mut body).collect().await }).await? {
        Err(_) => seen("the visitor sees it"),
        Ok(_) => seen("the visitor takes it for whole"),
    }
}

pub async fn length_breaks_off(stage: &mut Stage) -> Seen {
    breaks_off(stage, "200 OK\r\nContent-Length: 8", "some").await
}

pub async fn chunks_break_off(stage: &mut Stage) -> Seen {
    breaks_off(stage, "200 OK\r\nTransfer-Encoding: chunked", "4\r\nsome\r\n").await
}
