//! HTTP/2 by hand, so that every rule can be broken.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf},
    sync::watch,
};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const MAX_CONCURRENT_STREAMS: u16 = 3;
pub const INITIAL_WINDOW_SIZE: u16 = 4;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// `:status: 200` and others from HPACK's static table.
pub const STATUS_200: &[u8] = &[0x88];
pub const STATUS_204: &[u8] = &[0x89];
pub const STATUS_304: &[u8] = &[0x8b];

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header field that HPACK leaves as it is (RFC 7541 section 6.2.2).
pub fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        let mut length = text.len();
        // An integer of seven bits and more (RFC 7541 section 5.1); no Huffman code.
        if length < 127 {
            field.push(u8::try_from(length).unwrap());
        } else {
            field.push(127);
            length -= 127;
            while length >= 128 {
                field.push(u8::try_from(length % 128 + 128).unwrap());
                length /= 128;
            }
            field.push(u8::try_from(length).unwrap());
        }
        field.extend(text.as_bytes());
    }
    field
}

/// A visitor's request head.
pub fn get(extra: &[(&str, &str)]) -> Vec<u8> {
    let mut block = vec![0x82, 0x87, 0x84]; // GET, https, /
    block.extend(literal(":authority", "app.example.test"));
    for (name, value) in extra {
        block.extend(literal(name, value));
    }
    block
}

/// One end of a tunnel connection that keeps no rules.
pub struct Peer {
    pub write: WriteHalf<DuplexStream>,
    pub seen: Arc<Seen>,
    read: Option<ReadHalf<DuplexStream>>,
    reading: watch::Sender<bool>,
}

/// What the other side sent.
pub struct Seen {
    frames: Mutex<HashMap<u8, usize>>,
    /// Streams that got HEADERS, in order.
    heads: Mutex<Vec<u32>>,
    data: Mutex<usize>,
    changed: watch::Sender<u64>,
    ended: watch::Sender<bool>,
}

impl Seen {
    pub fn count(&self, kind: u8) -> usize {
        self.frames.lock().unwrap().get(&kind).copied().unwrap_or(0)
    }

    pub fn heads(&self) -> Vec<u32> {
        self.heads.lock().unwrap().clone()
    }

    pub fn data(&self) -> usize {
        *self.data.lock().unwrap()
    }

    pub fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    pub async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let mut changes = self.changed.subscribe();
        while !condition(self) {
            let _ = changes.changed().await;
        }
    }

    pub async fn ended(&self) {
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    fn note(&self, head: [u8; 9]) {
        let kind = head[3];
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        *self.frames.lock().unwrap().entry(kind).or_default() += 1;
        match kind {
            HEADERS => self.heads.lock().unwrap().push(stream),
            DATA => {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                *self.data.lock().unwrap() += length as usize;
            }
            _ => {}
        }
        self.changed.send_modify(|count| *count += 1);
    }
}

impl Peer {
    /// In the place of a connector: the HTTP/2 server. It has read nothing yet.
    pub fn server(io: DuplexStream) -> Self {
        Self::new(io)
    }

    fn new(io: DuplexStream) -> Self {
        let (read, write) = tokio::io::split(io);
        let seen = Arc::new(Seen {
            frames: Mutex::default(),
            heads: Mutex::default(),
            data: Mutex::default(),
            changed: watch::Sender::new(0),
            ended: watch::Sender::new(false),
        });
        Self { write, seen, read: Some(read), reading: watch::Sender::new(true) }
    }

    /// In the place of an edge: the HTTP/2 client. It says its preface and `settings`.
    pub async fn client(io: DuplexStream, settings: &[(u16, u32)]) -> Self {
        let mut peer = Self::new(io);
        peer.write.write_all(PREFACE).await.unwrap();
        peer.settings(settings).await;
        peer.listen(false);
        peer
    }

    /// Reads what comes from now on.
    pub fn listen(&mut self, preface: bool) {
        let mut read = self.read.take().expect("once");
        let seen = Arc::clone(&self.seen);
        let mut reading = self.reading.subscribe();
        tokio::spawn(async move {
            let mut rest = vec![0; 64 * 1024];
            if preface {
                let _ = read.read_exact(&mut rest[..PREFACE.len()]).await;
            }
            let mut head = [0; 9];
            while read.read_exact(&mut head).await.is_ok() {
                let _ = reading.wait_for(|reading| *reading).await;
                let mut left = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                while left > 0 {
                    let part = left.min(rest.len());
                    if read.read_exact(&mut rest[..part]).await.is_err() {
                        break;
                    }
                    left -= part;
                }
                seen.note(head);
            }
            seen.ended.send_replace(true);
            seen.changed.send_modify(|count| *count += 1);
        });
    }

    /// Reads no more.
    pub async fn stop_reading(&mut self) {
        self.reading.send_replace(false);
        tokio::task::yield_now().await;
    }

    pub async fn settings(&mut self, settings: &[(u16, u32)]) {
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        self.send(&frame(SETTINGS, 0, 0, &payload)).await;
    }

    /// Writes; whether the other side still took it.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        !self.seen.has_ended() && self.write.write_all(bytes).await.is_ok()
    }

    /// Sends copies of what `next` makes until the connection ends; returns how many went out.
    pub async fn flood(&mut self, most: usize, mut next: impl FnMut(usize) -> Vec<u8>) -> usize {
        let mut sent = 0;
        while sent < most {
            // A few in one write, as a flood comes.
            let batch: Vec<u8> = (sent..sent + 20).flat_map(&mut next).collect();
            if !self.send(&batch).await {
                break;
            }
            sent += 20;
        }
        sent
    }
}

/// What a recorded connector says to register: its first two messages.
pub fn recorded_registration() -> Vec<u8> {
    first_two(include_bytes!("../vectors/control-stream/ok.c2e.bin"))
}

/// What it says afterwards, up to its leave: the messages before the last that it sends.
pub fn recorded_farewell() -> Vec<u8> {
    let stream: &[u8] = include_bytes!("../vectors/control-stream/ok.c2e.bin");
    let (mut rest, mut messages) = (stream, Vec::new());
    while !rest.is_empty() {
        let words = u32::from_le_bytes(rest[4..8].try_into().unwrap());
        let (message, after) = rest.split_at(8 + 8 * words as usize);
        messages.push(message);
        rest = after;
    }
    // The end of all is an abort, which is no part of it.
    messages[2..messages.len() - 1].concat()
}

/// What a recorded edge answers to that.
pub fn recorded_answer() -> Vec<u8> {
    first_two(include_bytes!("../vectors/control-stream/ok.e2c.bin"))
}

fn first_two(stream: &[u8]) -> Vec<u8> {
    let mut length = 0;
    for _ in 0..2 {
        let words = u32::from_le_bytes(stream[length + 4..length + 8].try_into().unwrap());
        length += 8 + 8 * words as usize;
    }
    stream[..length].to_vec()
}
