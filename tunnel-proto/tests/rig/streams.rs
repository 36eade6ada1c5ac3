//! WebSockets and TCP flows: bytes both ways, and how each direction ends.

use std::net::{IpAddr, Ipv4Addr};

use http::Request;
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};
use tunnel_proto::{
    TunnelIo,
    edge::{Tunnel, Upgrade},
};

use super::{A_WHILE, Problem, Seen, Stage, origin::Exchange, seen, soon, yes};

/// The row of [`tcp_service`], which takes a connector that leads to a TCP service.
pub const TCP_SERVICE: &str = "TCP service (`cloudflared access`): a message of 40,000 bytes";

const MEBIBYTE: usize = 1 << 20;

const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn handshake() -> Result<Request<()>, http::Error> {
    Request::get("https://app.example.com/socket")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-version", "13")
        .body(())
}

pub async fn open(stage: &mut Stage) -> Result<(TunnelIo, Exchange), Problem> {
    let upgrade = stage.tunnel.upgrade(handshake()?);
    let agree = async {
        let mut exchange = stage.origin.next().await?;
        exchange.write(AGREED).await?;
        Ok::<_, Problem>(exchange)
    };
    let (upgrade, exchange) = soon(async { tokio::join!(upgrade, agree) }).await?;
    match upgrade? {
        Upgrade::Accepted(_, io) => Ok((io, exchange?)),
        Upgrade::Declined(response) => Err(format!("declined with {}", response.status()).into()),
    }
}

pub async fn frame(stage: &mut Stage) -> Seen {
    let (io, mut exchange) = open(stage).await?;
    // A binary frame of 1 MiB as a visitor sends it, and the same unmasked.
    let size = (MEBIBYTE as u64).to_be_bytes();
    let head = |mask: u8| [&[0x82, 127 | mask], &size[..]].concat();
    let up = [head(0x80), vec![1, 2, 3, 4], vec![b'u'; MEBIBYTE]].concat();
    let down = [head(0), vec![b'd'; MEBIBYTE]].concat();
    let (mut reader, mut writer) = tokio::io::split(io);
    let mut received = vec![0; down.len()];
    let visit = async {
        tokio::try_join!(writer.write_all(&up), reader.read_exact(&mut received)).map(drop)
    };
    let play = async {
        let data = exchange.read_exactly(up.len()).await?;
        exchange.write(&down).await?;
        Ok(data)
    };
    let ((), data) = soon(async { tokio::try_join!(visit, play) }).await??;
    if data == up && received == down { yes() } else { seen("not as it was sent") }
}

pub async fn visitor_ends(stage: &mut Stage) -> Seen {
    let (mut io, mut exchange) = open(stage).await?;
    io.write_all(b"last").await?;
    io.shutdown().await?;
    exchange.read_exactly(4).await?;
    let hears = matches!(timeout(A_WHILE, exchange.read(&mut [0; 1])).await, Ok(Ok(0)));
    let wrote = exchange.write("bye").await.is_ok();
    drop(exchange);
    let mut rest = Vec::new();
    let ended = soon(io.read_to_end(&mut rest)).await?.is_ok();
    match (hears, wrote && ended && rest == b"bye") {
        (true, true) => yes(),
        (false, true) => seen("the origin can go on, but hears of it at its own end only"),
        (_, false) => seen("no: the whole stream ends"),
    }
}

pub async fn origin_ends(stage: &mut Stage) -> Seen {
    let (mut io, mut exchange) = open(stage).await?;
    exchange.write("last").await?;
    exchange.end().await?;
    let mut rest = Vec::new();
    let ended = soon(io.read_to_end(&mut rest)).await?.is_ok();
    let _ = io.write_all(b"late").await;
    let _ = io.shutdown().await;
    let late =
        matches!(timeout(A_WHILE, exchange.read_exactly(4)).await, Ok(Ok(data)) if data == b"late");
    match (ended && rest == b"last", late) {
        (true, true) => yes(),
        (true, false) => seen("no: the whole stream ends"),
        (false, _) => seen("no: it breaks off"),
    }
}

pub async fn declined(stage: &mut Stage) -> Seen {
    let (upgrade, played) = tokio::join!(stage.tunnel.upgrade(handshake()?), async {
        let mut exchange = stage.origin.next().await?;
        exchange.head("403 Forbidden\r\nX-Why: no\r\nContent-Length: 5").await?;
        exchange.write("sorry").await?;
        Ok::<_, Problem>(exchange)
    });
    let _exchange = played?;
    let Upgrade::Declined(response) = upgrade? else {
        return seen("mixed up");
    };
    let whole = response.status() == 403 && response.headers()["x-why"] == "no";
    let body = soon(response.into_body().collect()).await??.to_bytes();
    if whole && body == "sorry" { seen("its answer arrives") } else { seen("mixed up") }
}

pub async fn tcp(stage: &mut Stage) -> Seen {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let visitor = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    let flow = stage.tunnel.tcp(listener.local_addr()?, visitor);
    let (flow, accepted) = soon(async { tokio::join!(flow, listener.accept()) }).await?;
    let (mut flow, (mut origin, _)) = (flow?, accepted?);
    let sent = vec![b't'; MEBIBYTE];
    let (wrote, read) = tokio::join!(
        async {
            flow.write_all(&sent).await?;
            flow.shutdown().await
        },
        async {
            let mut data = vec![0; MEBIBYTE];
            origin.read_exact(&mut data).await.map(|_| data)
        }
    );
    wrote?;
    if read? != sent {
        return seen("not as it was sent");
    }
    let hears = matches!(timeout(A_WHILE, origin.read(&mut [0; 1])).await, Ok(Ok(0)));
    let _ = origin.write_all(b"bye").await;
    drop(origin);
    let mut rest = Vec::new();
    let ended = soon(flow.read_to_end(&mut rest)).await?.is_ok();
    match (hears, ended && rest == b"bye") {
        (true, true) => yes(),
        (false, true) => seen("the origin can go on, but hears of it at its own end only"),
        (_, false) => seen("no: the whole stream ends"),
    }
}

/// Sends one message to a TCP service, which listens there.
pub async fn tcp_service(tunnel: &Tunnel, listener: TcpListener) -> Seen {
    let upgrade = tunnel.upgrade(handshake()?);
    let (upgrade, accepted) = soon(async { tokio::join!(upgrade, listener.accept()) }).await?;
    let Upgrade::Accepted(_, mut io) = upgrade? else {
        return seen("declined");
    };
    let (mut service, _) = accepted?;
    // Masked with zeros, so that the payload stands there as it is.
    let head = [&[0x82, 0xfe], &40_000_u16.to_be_bytes()[..], &[0; 4]].concat();
    io.write_all(&[head, vec![b'm'; 40_000]].concat()).await?;
    let mut received = vec![0; 40_000];
    let mut arrived = 0;
    while arrived < received.len() {
        match timeout(A_WHILE, service.read(&mut received[arrived..])).await {
            Ok(read) => arrived += read?,
            Err(_) => return seen(format!("truncated after {arrived} bytes")),
        }
    }
    if received.iter().all(|byte| *byte == b'm') { yes() } else { seen("not as it was sent") }
}
