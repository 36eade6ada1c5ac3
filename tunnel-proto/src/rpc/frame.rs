//! Cap'n Proto's stream framing, unpacked: a table of segment sizes, then the segments.
//!
//! Source: capnproto.org, "Serialization over a stream". cloudflared writes a message in several
//! pieces, so one message may span many DATA frames and one frame may hold several messages.

use bytes::{Buf, BytesMut};
use capnp::{
    message::{Reader, ReaderOptions},
    serialize::{self, OwnedSegments},
};

use crate::{
    error::{Error, ErrorKind},
    limits,
};

/// Cuts a byte stream into messages.
#[derive(Debug)]
pub(crate) struct FrameDecoder {
    buffer: BytesMut,
    max_message_bytes: usize,
}

impl FrameDecoder {
    pub(crate) fn new(max_message_bytes: usize) -> Self {
        Self { buffer: BytesMut::new(), max_message_bytes }
    }

    /// Appends bytes of the stream. They are bounded by the caller reading [`Self::next`] until
    /// it returns nothing: a partial message is never longer than the limit.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Raises the limit once the peer is known.
    pub(crate) fn set_max_message_bytes(&mut self, max_message_bytes: usize) {
        self.max_message_bytes = max_message_bytes;
    }

    /// Takes the next whole message, if there is one.
    pub(crate) fn next(&mut self) -> Result<Option<Reader<OwnedSegments>>, Error> {
        let Some(length) = self.message_length()? else {
            return Ok(None);
        };
        if self.buffer.len() < length {
            return Ok(None);
        }
        let mut options = ReaderOptions::new();
        options
            .traversal_limit_in_words(Some(length / 8 * limits::RPC_TRAVERSALS))
            .nesting_limit(limits::RPC_NESTING);
        let message = serialize::read_message(&self.buffer[..length], options)?;
        self.buffer.advance(length);
        Ok(Some(message))
    }

    /// Length of the first message with its table, known as soon as the table is there.
    fn message_length(&self) -> Result<Option<usize>, Error> {
        let Some(segments) = self.word(0) else {
            return Ok(None);
        };
        let segments = segments as usize;
        if segments >= limits::RPC_SEGMENTS {
            let what = format!("a message of {segments} segments");
            return Err(Error::from(ErrorKind::Peer(what)).with_limit("RPC_SEGMENTS"));
        }
        let segments = segments + 1;
        let table = (4 * (1 + segments)).next_multiple_of(8);
        let mut length = table as u64;
        for index in 0..segments {
            let Some(words) = self.word(1 + index) else {
                return Ok(None);
            };
            length += u64::from(words) * 8;
        }
        match usize::try_from(length) {
            Ok(length) if length <= self.max_message_bytes => Ok(Some(length)),
            _ => {
                let limit = match self.max_message_bytes {
                    limits::RPC_MESSAGE_BYTES => "RPC_MESSAGE_BYTES",
                    _ => "RPC_MESSAGE_BYTES_ANONYMOUS",
                };
                let what = format!("a message of {length} bytes");
                Err(Error::from(ErrorKind::Peer(what)).with_limit(limit))
            }
        }
    }

    fn word(&self, index: usize) -> Option<u32> {
        let bytes = self.buffer.get(4 * index..4 * index + 4)?;
        bytes.try_into().ok().map(u32::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(decoder: &mut FrameDecoder) -> Vec<usize> {
        std::iter::from_fn(|| decoder.next().unwrap())
            .map(|message| message.size_in_words())
            .collect()
    }

    #[test]
    fn messages_arrive_in_any_pieces() {
        let stream = include_bytes!("../../tests/vectors/control-stream/ok.c2e.bin");
        let mut whole = FrameDecoder::new(1 << 16);
        whole.push(stream);
        let expected = lengths(&mut whole);
        assert!(expected.len() > 5);
        for step in [1, 3, 7, 48, 100] {
            let mut pieces = FrameDecoder::new(1 << 16);
            let mut seen = Vec::new();
            for piece in stream.chunks(step) {
                pieces.push(piece);
                seen.extend(lengths(&mut pieces));
            }
            assert_eq!(seen, expected, "in pieces of {step}");
        }
    }

    #[test]
    fn oversized_tables_are_refused_before_their_content() {
        for table in [[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], [0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f]] {
            let mut decoder = FrameDecoder::new(1 << 16);
            decoder.push(&table);
            assert!(decoder.next().err().unwrap().is_peer_fault());
        }
    }
}
