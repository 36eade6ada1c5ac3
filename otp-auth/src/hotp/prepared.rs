//! HMAC-SHA-1 of eight bytes: two compressions, and nothing else.

use sha1::Sha1;
use sha1::block_api::compress;
use sha1::digest::Digest;
use zeroize::Zeroizing;

/// The states of SHA-1 after the padded key (RFC 2104 section 4): what depends on the key alone.
///
/// The general HMAC copies buffers and counts bytes around the same two compressions; for a message of one
/// counter that is half of the time.
#[derive(Clone)]
pub(super) struct PreparedSha1 {
    inner: Zeroizing<State>,
    outer: Zeroizing<State>,
}

type State = [u32; 5];

impl PreparedSha1 {
    pub(super) fn new(key: &[u8]) -> Self {
        let mut padded = Zeroizing::new([0; BLOCK]);
        if key.len() > BLOCK {
            padded[..DIGEST].copy_from_slice(&Sha1::digest(key));
        } else {
            padded[..key.len()].copy_from_slice(key);
        }
        let keyed = |pad: u8| {
            let block = Zeroizing::new(padded.map(|byte| byte ^ pad));
            let mut state = Zeroizing::new(START);
            compress(&mut state, &[*block]);
            state
        };
        Self { inner: keyed(0x36), outer: keyed(0x5c) }
    }

    pub(super) fn of_counter(&self, counter: u64) -> [u8; DIGEST] {
        let mut block = [0; BLOCK];
        block[..8].copy_from_slice(&counter.to_be_bytes());
        let inner = finish(*self.inner, block, 8);
        let mut block = [0; BLOCK];
        block[..DIGEST].copy_from_slice(&inner);
        finish(*self.outer, block, DIGEST)
    }
}

/// FIPS 180-4 section 5.1.1: one bit, zeros, and the length in bits, with the key's block before it.
fn finish(mut state: State, mut block: [u8; BLOCK], length: usize) -> [u8; DIGEST] {
    block[length] = 0x80;
    let bits = (BLOCK + length) as u64 * 8;
    block[BLOCK - 8..].copy_from_slice(&bits.to_be_bytes());
    compress(&mut state, &[block]);
    let mut digest = [0; DIGEST];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

/// FIPS 180-4 section 5.3.1.
const START: State = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

const BLOCK: usize = 64;
const DIGEST: usize = 20;

#[cfg(test)]
mod tests {
    use hmac::digest::KeyInit;
    use hmac::{Hmac, Mac};

    use super::*;

    #[test]
    fn agrees_with_the_general_hmac_for_keys_of_every_length() {
        for length in 0..=140_u8 {
            let key: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(37) ^ length).collect();
            let prepared = PreparedSha1::new(&key);
            for counter in [0, 1, u64::from(length) << 40, u64::MAX] {
                let mut general = Hmac::<Sha1>::new_from_slice(&key).unwrap();
                general.update(&counter.to_be_bytes());
                let expected = general.finalize().into_bytes();
                assert_eq!(prepared.of_counter(counter)[..], expected[..], "{length} bytes");
            }
        }
    }
}
