//! The key URI of authenticator apps.

use std::fmt::Write as _;

use zeroize::Zeroizing;

use super::Totp;
use crate::error::Error;
use crate::secret::Secret;

pub(super) fn write(totp: &Totp, issuer: &str, account: &str) -> Result<Secret, Error> {
    let is_good =
        |text: &str| (1..=128).contains(&text.len()) && !text.chars().any(char::is_control);
    if !is_good(issuer) {
        return Err(Error::setting("issuer", "it must be 1 to 128 bytes without controls"));
    }
    if !is_good(account) {
        return Err(Error::setting("account", "it must be 1 to 128 bytes without controls"));
    }
    let (issuer, account) = (percent_encoded(issuer), percent_encoded(account));
    let secret = base32(totp.secret.expose());
    let (hash, digits) = (totp.hash.as_str(), totp.length.digits());
    let mut uri = Zeroizing::new(String::with_capacity(1_024));
    // Writing to a string does not fail.
    let _written = write!(
        uri,
        "otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}&algorithm={hash}&digits={digits}&period=30",
        &*secret
    );
    Ok(Secret::new(uri.as_bytes().to_vec()))
}

/// RFC 4648 section 6, without padding.
pub(super) fn base32(bytes: &[u8]) -> Zeroizing<String> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = Zeroizing::new(String::with_capacity(bytes.len().div_ceil(5) * 8));
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[(held >> bits & 31) as usize]));
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(char::from(ALPHABET[(held << (5 - bits) & 31) as usize]));
    }
    text
}

/// RFC 3986 section 2.3: only unreserved characters stand for themselves.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _written = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
