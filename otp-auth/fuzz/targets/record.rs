//! Any bytes as a stored challenge, and any text as nonce and cookies: no panic; a record that is read is
//! written alike.

#![no_main]

use libfuzzer_sys::fuzz_target;
use otp_auth::challenge::{Challenge, ChallengeId, DeviceCookie, FlowCookie};

fuzz_target!(|data: &[u8]| {
    let id: ChallengeId = "AAAAAAAAAAAAAAAAAAAAAA".parse().expect("16 zero bytes");
    if let Ok(challenge) = Challenge::from_bytes(id, data) {
        let written = challenge.to_bytes();
        assert_eq!(Challenge::from_bytes(id, &written).as_ref(), Ok(&challenge));
        let _ = (challenge.expires(), challenge.is_dead_at(challenge.issued()), format!("{challenge:?}"));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(id) = text.parse::<ChallengeId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(cookie) = text.parse::<FlowCookie>() {
        assert_eq!(cookie.expose(), text);
    }
    if let Ok(cookie) = text.parse::<DeviceCookie>() {
        assert_eq!(cookie.expose(), text);
    }
});
