//! The client that plays a script and keeps what comes back.

use std::{fmt::Write as _, io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::tcp::OwnedWriteHalf,
    time::timeout,
};

use super::{
    cases::{Case, End, Step},
    server::Ends,
};
use crate::rig::front::Visitor;

const PATIENCE: Duration = Duration::from_secs(60);

/// All that can be told of one connection from outside.
#[derive(Debug, PartialEq, Eq)]
pub struct Transcript {
    /// Status line and `Sec-WebSocket-Accept` of the handshake.
    pub handshake: String,
    /// Every byte of every frame.
    pub bytes: Vec<u8>,
    /// How the bytes ended for the client.
    pub end: &'static str,
    /// How they ended for the server.
    pub server: &'static str,
}

/// Plays a case against whoever listens there.
pub async fn play(case: &Case, address: SocketAddr, ends: &Ends) -> Transcript {
    let path = format!("/{}", case.number);
    let told = ends.of(&path);
    let played = async {
        let mut visitor = Visitor::dial(address).await.unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: app.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        visitor.write(head).await.unwrap();
        let head = visitor.head().await.unwrap();
        let mut lines = head.lines();
        let mut handshake = lines.next().unwrap().to_owned();
        for line in lines.filter(|line| line.to_lowercase().starts_with("sec-websocket")) {
            handshake += &line.to_lowercase();
        }
        let (bytes, end) = converse(case, visitor).await;
        let server = told.await.expect("the server tells the end");
        Transcript { handshake, bytes, end, server }
    };
    let played = timeout(PATIENCE, played).await;
    played.unwrap_or_else(|_| panic!("`{}` does not come to an end", case.name))
}

async fn converse(case: &Case, visitor: Visitor) -> (Vec<u8>, &'static str) {
    let mut bytes = visitor.io.buffer().to_vec();
    let (mut reader, mut writer) = visitor.io.into_inner().into_split();
    if let End::Abort { after } = case.end {
        send(&case.steps, &mut writer).await.unwrap();
        // What was sent before has been answered, so it is not the abort that decides what arrives.
        while bytes.len() < after {
            assert_ne!(reader.read_buf(&mut bytes).await.unwrap(), 0);
        }
        let tcp = reader.reunite(writer).unwrap();
        tcp.set_zero_linger().unwrap();
        return (bytes, "aborted");
    }
    let script = async {
        // A server that has heard enough need not take the rest.
        let _ = send(&case.steps, &mut writer).await;
        if case.end == End::HalfClose {
            let _ = writer.shutdown().await;
        }
    };
    let listen = async {
        loop {
            match reader.read_buf(&mut bytes).await {
                Ok(0) => return "an end",
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return "a reset",
                Err(error) => panic!("{error}"),
            }
        }
    };
    let ((), end) = tokio::join!(script, listen);
    (bytes, end)
}

async fn send(steps: &[Step], writer: &mut OwnedWriteHalf) -> io::Result<()> {
    for step in steps {
        match step {
            Step::Send(bytes) => writer.write_all(bytes).await?,
            Step::Dribble(bytes) => {
                for byte in bytes {
                    writer.write_all(&[*byte]).await?;
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    Ok(())
}

impl Transcript {
    /// The code of the server's close frame, if there is one and nothing after it.
    pub fn close_code(&self) -> Option<u16> {
        let (opcode, payload) = self.frames().pop()?;
        let code = payload.first_chunk()?;
        (opcode & 15 == super::CLOSE).then_some(u16::from_be_bytes(*code))
    }

    /// First byte and payload of each whole frame.
    pub fn frames(&self) -> Vec<(u8, &[u8])> {
        let mut frames = Vec::new();
        let mut rest = &self.bytes[..];
        while let [bits, length, after @ ..] = rest {
            let (length, after) = match length {
                126 => match after.split_first_chunk() {
                    Some((length, after)) => (u16::from_be_bytes(*length).into(), after),
                    None => break,
                },
                127 => match after.split_first_chunk() {
                    Some((length, after)) => (u64::from_be_bytes(*length), after),
                    None => break,
                },
                length => (u64::from(*length), after),
            };
            let Some((payload, after)) = after.split_at_checked(usize::try_from(length).unwrap())
            else {
                break;
            };
            frames.push((*bits, payload));
            rest = after;
        }
        frames
    }

    /// For people.
    pub fn words(&self) -> String {
        let mut words = format!("{};", self.handshake);
        for (bits, payload) in self.frames().iter().take(8) {
            write!(words, " {bits:02x} with {} bytes;", payload.len()).unwrap();
        }
        let (code, bytes) = (self.close_code(), self.bytes.len());
        write!(words, " {bytes} bytes; close {code:?}; {}; server: {}", self.end, self.server)
            .unwrap();
        words
    }
}
