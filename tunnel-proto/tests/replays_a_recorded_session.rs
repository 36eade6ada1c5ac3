//! A connection that cloudflared once held, replayed through the edge's half.
//!
//! The recording holds what the connector sent. HTTP/2 lets it answer only streams that are open,
//! so the player lets a frame go once the edge has opened its stream.

#![expect(clippy::unwrap_used, reason = "a test")]

mod harness;

use std::collections::HashSet;

use harness::{collect, full};
use http::Request;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tunnel_proto::edge::{Acceptor, Phase, ResponseSource};

const RECORDED: &[u8] = include_bytes!("vectors/h2/session.c2e.bin");
const EXCHANGES: &str = include_str!("vectors/h2/exchanges.json");

struct Frame<'a> {
    kind: u8,
    flags: u8,
    stream: u32,
    bytes: &'a [u8],
}

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;

fn frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let head: [u8; 9] = bytes.get(..9)?.try_into().unwrap();
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
    Some(Frame { kind: head[3], flags: head[4], stream, bytes: bytes.get(..9 + length)? })
}

/// Plays the connector's part until the recording or the edge ends.
async fn play(mut io: DuplexStream) {
    let mut recording = RECORDED;
    let mut heard = Vec::new();
    let mut open = HashSet::from([0]);
    io.read_exact(&mut [0; 24]).await.unwrap(); // the client's preface
    loop {
        while let Some(next) = frame(recording) {
            if !open.contains(&next.stream) {
                break;
            }
            recording = &recording[next.bytes.len()..];
            // These answer what the recorded edge sent, not what this one sends.
            if !(matches!(next.kind, SETTINGS | PING) && next.flags & ACK != 0)
                && io.write_all(next.bytes).await.is_err()
            {
                return;
            }
        }
        let mut buffer = [0; 4096];
        let Ok(length @ 1..) = io.read(&mut buffer).await else { return };
        heard.extend(&buffer[..length]);
        while let Some(next) = frame(&heard) {
            if next.kind == HEADERS {
                open.insert(next.stream);
            }
            if next.kind == SETTINGS && next.flags & ACK == 0 {
                io.write_all(&[0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0]).await.unwrap();
            }
            let length = next.bytes.len();
            heard.drain(..length);
        }
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().map(|digit| digit.to_digit(16).unwrap().try_into().unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

#[tokio::test]
async fn every_recorded_answer_is_understood() {
    let (edge_io, connector_io) = tokio::io::duplex(1 << 20);
    let player = tokio::spawn(play(connector_io));
    // The recorded secret is 00 01 .. 1f.
    let acceptor = Acceptor::new(|registration: &tunnel_proto::edge::Registration| {
        assert!(registration.credentials.secret().expose().iter().copied().eq(0..32));
        let id = tunnel_proto::ConnectionId::from_bytes([1; 16]);
        Ok(tunnel_proto::edge::Registered::new(id, "test"))
    });
    let connection = acceptor.accept(edge_io).await.unwrap();
    assert_eq!(connection.registration().version, "DEV");

    let exchanges: Value = serde_json::from_str(EXCHANGES).unwrap();
    let mut exchanges: Vec<_> = exchanges.as_array().unwrap().iter().collect();
    exchanges.sort_by_key(|exchange| exchange["stream"].as_u64());
    let (mut understood, mut next_stream) = (0, 3);
    for exchange in exchanges {
        // The client numbers its streams without a gap, so each exchange gets its own again.
        assert_eq!(exchange["stream"].as_u64().unwrap(), next_stream);
        next_stream += 2;
        let name = text(exchange, "name");
        let method = if name.starts_with("head") { "HEAD" } else { "GET" };
        let request = Request::builder().method(method).uri("https://app.example.com/");
        let result = connection.send(request.body(full("")).unwrap()).await;
        let is_http = exchange["decoded_user_headers"].is_array();
        let Ok(response) = result else {
            assert!(!is_http, "{name}: {result:?}");
            continue;
        };
        let status = exchange["response_headers"][0][1].as_str().unwrap();
        assert_eq!(response.status().as_str(), status, "{name}");
        understood += 1;
        if is_http {
            assert_eq!(response.extensions().get(), Some(&ResponseSource::Origin), "{name}");
        }
        // Recorded WebSocket and TCP streams stay open; their bytes are not a response body.
        let is_upgrade = ["websocket", "ws", "tcp"].iter().any(|kind| name.contains(kind));
        if is_http && !is_upgrade {
            let body = collect(response.into_body()).await.unwrap();
            assert_eq!(*body, unhex(text(exchange, "body_hex")), "{name}");
        }
    }
    assert!(understood >= 12, "{understood}");
    // The recording ends with the connector's leave.
    connection.reached(Phase::Closed).await;
    drop(player);
}
