//! Text of ASCII, eight bytes at a time.

/// Eight bytes that are looked at together. Answers have the highest bit of each byte for which they
/// hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes(u64);

impl Bytes {
    /// The answer that holds for all.
    pub(crate) const ALL: u64 = 0x8080_8080_8080_8080;
    /// The answer that holds for the first.
    pub(crate) const FIRST: u64 = 0x80;

    #[inline]
    pub(crate) fn new(bytes: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(bytes))
    }

    /// Fewer than eight bytes, filled up with letters at their end.
    #[inline]
    fn of_few(bytes: &[u8]) -> Self {
        let letters = repeat(b'a');
        let (word, bits) = bytes
            .iter()
            .fold((0, 0_u32), |(word, bits), byte| (word | u64::from(*byte) << bits, bits + 8));
        Self(word | letters.checked_shl(bits).unwrap_or(0))
    }

    /// Which bytes are this one of ASCII.
    #[inline]
    pub(crate) fn are(self, byte: u8) -> u64 {
        let differing = self.0 ^ repeat(byte);
        !((differing | Self::ALL) - repeat(1)) & !differing & Self::ALL
    }

    /// Which bytes lie between these two of ASCII, both included.
    #[inline]
    pub(crate) fn are_in(self, first: u8, last: u8) -> u64 {
        let spread = self.0 | Self::ALL;
        (spread - repeat(first)) & !(spread - repeat(last + 1)) & !self.0 & Self::ALL
    }
}

#[inline]
fn repeat(byte: u8) -> u64 {
    u64::from(byte) * 0x0101_0101_0101_0101
}

/// Looks at a text word by word. With each word comes what is known of the byte before it: nothing if it is the
/// one that was looked at last, else the answer to go by. The last word overlaps the one before if the length is no
/// multiple of eight; then the byte before it has been looked at with those that follow, and counts as no match.
#[inline]
pub(crate) fn each(bytes: &[u8], mut look: impl FnMut(Bytes, Option<u64>)) {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        look(Bytes::new(*word), None);
    }
    if let (Some(last), false) = (bytes.last_chunk::<8>(), rest.is_empty()) {
        look(Bytes::new(*last), Some(0));
    } else if !rest.is_empty() {
        look(Bytes::of_few(rest), None);
    }
}
