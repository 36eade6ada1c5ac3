//! WebSocket frames by hand, and a server of a well-kept crate.

#![allow(unreachable_pub, reason = "each test uses its own part")]

pub mod cases;
pub mod client;
pub mod server;

/// The two bytes after the header bits, and more, that tell a length in its shortest form.
fn length(bytes: usize, masked: bool) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    match bytes {
        0..=125 => vec![mask | u8::try_from(bytes).unwrap()],
        126..=65_535 => [&[mask | 0x7e], &u16::try_from(bytes).unwrap().to_be_bytes()[..]].concat(),
        _ => [&[mask | 0x7f], &(bytes as u64).to_be_bytes()[..]].concat(),
    }
}

pub const FIN: u8 = 0x80;
pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A frame as a client sends it (RFC 6455 section 5.2).
pub fn frame(bits: u8, payload: &[u8]) -> Vec<u8> {
    masked(bits, &length(payload.len(), true), payload)
}

/// A frame with a length that the test has written.
pub fn masked(bits: u8, length: &[u8], payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = [&[bits], length, &key].concat();
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A frame that a client must not send.
pub fn unmasked(bits: u8, payload: &[u8]) -> Vec<u8> {
    [&[bits], &length(payload.len(), false)[..], payload].concat()
}

pub fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}
