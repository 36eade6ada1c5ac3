//! SHA-256 and HMAC by the provider that features selected.

#[cfg(not(feature = "ring"))]
use aws_lc_rs::digest;
#[cfg(feature = "ring")]
use ring::digest;

/// The hash of the parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    fixed(context.finish().as_ref())
}

/// RFC 2104. Keys of any length will do.
#[cfg(feature = "acme")]
pub(crate) fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    #[cfg(not(feature = "ring"))]
    use aws_lc_rs::hmac;
    #[cfg(feature = "ring")]
    use ring::hmac;

    fixed(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref())
}

fn fixed(bytes: &[u8]) -> [u8; 32] {
    // INVARIANT: each output of SHA-256 has 32 bytes.
    let mut fixed = [0; 32];
    fixed.copy_from_slice(bytes);
    fixed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..64).step_by(2).map(digits).collect()
    }

    #[test]
    fn agrees_with_the_standards() {
        // FIPS 180-4, the example `abc`.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&[b"a", b"", b"bc"]).to_vec(), bytes(abc));
        // RFC 4231, cases 2 and 6: a short key, and one that is longer than a block.
        #[cfg(feature = "acme")]
        for (key, message, expected) in [
            (
                b"Jefe".as_slice(),
                b"what do ya want for nothing?".as_slice(),
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            assert_eq!(hmac_sha256(key, message).to_vec(), bytes(expected));
        }
    }
}
