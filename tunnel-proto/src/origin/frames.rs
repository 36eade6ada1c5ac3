//! WebSocket frames as they come, without waiting for the end of a message or even of a frame.
//!
//! A core: bytes in, pieces out. Libraries give whole frames or messages, so they need a bound on
//! either, and what travels here is TCP: one message may hold a gigabyte. RFC 6455.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// Takes a visitor's frames apart.
///
/// Feed [`next_piece`](Self::next_piece) with what arrived until it gives nothing, then with more.
#[derive(Debug, Default)]
pub(super) struct Unframer {
    /// Inside a message that goes on in the next frame.
    is_fragmented: bool,
    frame: Option<Payload>,
}

/// The data frame whose payload comes next.
#[derive(Debug)]
struct Payload {
    left: u64,
    mask: [u8; 4],
}

/// What a visitor said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Bytes for the service, of any part of a message.
    Data(BytesMut),
    /// To be answered with a pong of the same bytes.
    Ping(BytesMut),
    Pong,
    /// To be answered with the same bytes; the last thing said.
    Close(BytesMut),
}

/// What RFC 6455 forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a WebSocket frame with reserved bits")]
    Reserved,
    #[error("a WebSocket frame without a mask")]
    Unmasked,
    #[error("a WebSocket frame of an unknown kind")]
    Kind,
    #[error("a WebSocket control frame that is too long or in parts")]
    Control,
    #[error("a WebSocket frame whose message has not begun, or not ended")]
    Fragment,
    #[error("a WebSocket frame with an impossible length")]
    Length,
}

/// RFC 6455 section 5.2.
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// RFC 6455 section 5.5: a control frame's payload.
const CONTROL_BYTES: usize = 125;

impl Unframer {
    /// Takes the next piece out of `input`; none if more bytes are needed.
    ///
    /// # Errors
    ///
    /// Whatever the standard forbids. Nothing after it means anything.
    pub(super) fn next_piece(&mut self, input: &mut BytesMut) -> Result<Option<Piece>, FrameError> {
        loop {
            if let Some(payload) = &mut self.frame {
                if payload.left > 0 {
                    return Ok(payload.take(input).map(Piece::Data));
                }
                self.frame = None;
            }
            let Some(head) = Head::parse(input)? else {
                return Ok(None);
            };
            if head.is_control() {
                return head.take_control(input);
            }
            // RFC 6455 section 5.4: a continuation continues, and nothing else does.
            if (head.kind == CONTINUATION) != self.is_fragmented {
                return Err(FrameError::Fragment);
            }
            self.is_fragmented = !head.is_final;
            input.advance(head.bytes);
            self.frame = Some(Payload { left: head.length, mask: head.mask });
        }
    }
}

impl Payload {
    fn take(&mut self, input: &mut BytesMut) -> Option<BytesMut> {
        if input.is_empty() {
            return None;
        }
        let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
        let mut data = input.split_to(here);
        unmask(&mut data, self.mask);
        self.left -= here as u64;
        self.mask.rotate_left(here % 4);
        Some(data)
    }
}

struct Head {
    is_final: bool,
    kind: u8,
    length: u64,
    mask: [u8; 4],
    /// The head's own bytes.
    bytes: usize,
}

impl Head {
    /// Reads a head without taking it; none if it is not whole.
    fn parse(input: &[u8]) -> Result<Option<Self>, FrameError> {
        let [first, second, rest @ ..] = input else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(FrameError::Reserved);
        }
        // RFC 6455 section 5.1: a client masks, or is hung up on.
        if second & 0x80 == 0 {
            return Err(FrameError::Unmasked);
        }
        let is_final = first & 0x80 != 0;
        let kind = first & 0x0f;
        let (length, rest) = match second & 0x7f {
            126 => match rest.split_first_chunk() {
                Some((length, rest)) => (u16::from_be_bytes(*length).into(), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            length => (length.into(), rest),
        };
        if !matches!(kind, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG) {
            return Err(FrameError::Kind);
        }
        if kind >= CLOSE && (!is_final || length > CONTROL_BYTES as u64) {
            return Err(FrameError::Control);
        }
        if length >> 63 != 0 {
            return Err(FrameError::Length);
        }
        let Some((mask, rest)) = rest.split_first_chunk() else {
            return Ok(None);
        };
        let bytes = input.len() - rest.len();
        Ok(Some(Self { is_final, kind, length, mask: *mask, bytes }))
    }

    fn is_control(&self) -> bool {
        self.kind >= CLOSE
    }

    /// Takes a whole control frame.
    fn take_control(&self, input: &mut BytesMut) -> Result<Option<Piece>, FrameError> {
        let length = usize::try_from(self.length).map_err(|_| FrameError::Control)?;
        if input.len() < self.bytes + length {
            return Ok(None);
        }
        input.advance(self.bytes);
        let mut payload = input.split_to(length);
        unmask(&mut payload, self.mask);
        Ok(Some(match self.kind {
            CLOSE => Piece::Close(payload),
            PING => Piece::Ping(payload),
            _ => Piece::Pong,
        }))
    }
}

fn unmask(data: &mut [u8], mask: [u8; 4]) {
    let (chunks, rest) = data.as_chunks_mut::<4>();
    for chunk in chunks {
        *chunk = (u32::from_ne_bytes(*chunk) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// Room to leave in front of a payload for [`frame_in_place`].
pub(super) const HEAD_BYTES: usize = 4;

/// Puts a binary frame's head in front of the payload that begins at [`HEAD_BYTES`], and tells where
/// the frame begins. At most 65,535 bytes of payload.
pub(super) fn frame_in_place(buffer: &mut [u8]) -> usize {
    let length = buffer.len() - HEAD_BYTES;
    match u8::try_from(length) {
        Ok(short) if short < 126 => {
            buffer[2] = 0x80 | BINARY;
            buffer[3] = short;
            2
        }
        _ => {
            buffer[0] = 0x80 | BINARY;
            buffer[1] = 126;
            let length = u16::try_from(length).unwrap_or(u16::MAX);
            buffer[2..4].copy_from_slice(&length.to_be_bytes());
            0
        }
    }
}

/// A control frame of at most 125 bytes.
pub(super) fn control(kind: u8, payload: &[u8]) -> Bytes {
    let payload = &payload[..payload.len().min(CONTROL_BYTES)];
    let mut frame = BytesMut::with_capacity(2 + payload.len());
    frame.put_u8(0x80 | kind);
    frame.put_u8(u8::try_from(payload.len()).unwrap_or_default());
    frame.put_slice(payload);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A client's frame.
    fn frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![first];
        let length = payload.len();
        if let Ok(length @ 0..126) = u8::try_from(length) {
            frame.push(0x80 | length);
        } else if let Ok(length) = u16::try_from(length) {
            frame.push(0x80 | 0x7e);
            frame.extend(length.to_be_bytes());
        } else {
            frame.push(0x80 | 0x7f);
            frame.extend((length as u64).to_be_bytes());
        }
        frame.extend(mask);
        frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
        frame
    }

    /// Everything that comes out when `wire` arrives in steps of `step` bytes.
    fn pieces(wire: &[u8], step: usize) -> Result<(Vec<u8>, Vec<Piece>), FrameError> {
        let (mut unframer, mut input) = (Unframer::default(), BytesMut::new());
        let (mut data, mut others) = (Vec::new(), Vec::new());
        for chunk in wire.chunks(step) {
            input.extend_from_slice(chunk);
            while let Some(piece) = unframer.next_piece(&mut input)? {
                match piece {
                    Piece::Data(bytes) => data.extend(bytes),
                    other => others.push(other),
                }
            }
        }
        Ok((data, others))
    }

    #[test]
    fn what_the_standard_forbids() {
        let mask = [1, 2, 3, 4];
        let together = |frames: &[Vec<u8>]| frames.concat();
        for (wire, error) in [
            (frame(0xc2, b"x", mask), FrameError::Reserved),
            (vec![0x82, 0x01, b'x'], FrameError::Unmasked),
            (frame(0x83, b"x", mask), FrameError::Kind),
            (frame(0x8b, b"x", mask), FrameError::Kind),
            (frame(0x09, b"x", mask), FrameError::Control),
            (frame(0x89, &[0; 126], mask), FrameError::Control),
            (frame(0x80, b"x", mask), FrameError::Fragment),
            (together(&[frame(0x02, b"x", mask), frame(0x82, b"x", mask)]), FrameError::Fragment),
            (vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], FrameError::Length),
        ] {
            assert_eq!(pieces(&wire, 1), Err(error), "{wire:?}");
        }
    }

    #[test]
    fn control_frames_between_fragments() {
        let mask = [9, 8, 7, 6];
        let wire = [
            frame(0x01, b"he", mask),
            frame(0x89, b"ping", mask),
            frame(0x00, b"", mask),
            frame(0x8a, b"pong", mask),
            frame(0x80, b"llo", mask),
            frame(0x82, b" you", mask),
            frame(0x88, &[3, 232], mask),
        ]
        .concat();
        for step in 1..wire.len() {
            let (data, others) = pieces(&wire, step).unwrap();
            assert_eq!(data, b"hello you");
            let [Piece::Ping(ping), Piece::Pong, Piece::Close(code)] = &others[..] else {
                panic!("{others:?}");
            };
            assert_eq!((&ping[..], &code[..]), (&b"ping"[..], &[3, 232][..]));
        }
    }

    #[test]
    fn a_payload_gets_its_head_in_place() {
        for (length, expected) in [
            (0, &[0x82, 0][..]),
            (1, &[0x82, 1]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (65_535, &[0x82, 126, 255, 255]),
        ] {
            let mut buffer = vec![7; HEAD_BYTES + length];
            let start = frame_in_place(&mut buffer);
            assert_eq!(&buffer[start..HEAD_BYTES], expected, "{length}");
        }
    }

    proptest! {
        #[test]
        fn payloads_of_any_size_come_out_whatever_the_cuts(
            sizes in prop::collection::vec(0_usize..70_000, 1..6),
            mask in any::<[u8; 4]>(),
            step in 1_usize..40_000,
        ) {
            let mut sent = Vec::new();
            let mut wire = Vec::new();
            let last = sizes.len() - 1;
            for (at, size) in sizes.iter().enumerate() {
                let payload: Vec<u8> = (0..=255).cycle().skip(at).take(*size).collect();
                let kind = if at == 0 { 0x02 } else { 0x00 };
                let end = if at == last { 0x80 } else { 0x00 };
                wire.extend(frame(kind | end, &payload, mask));
                sent.extend(payload);
            }
            let (data, others) = pieces(&wire, step).unwrap();
            prop_assert!(data == sent && others.is_empty());
        }

        #[test]
        fn garbage_never_panics(wire in prop::collection::vec(any::<u8>(), 0..600), step in 1_usize..50) {
            let _ = pieces(&wire, step);
        }
    }
}
