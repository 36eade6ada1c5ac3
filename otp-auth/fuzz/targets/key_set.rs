//! Any text as a key set: no panic; what is read is written and read again alike, and a key verifies no
//! signature of noise.

#![no_main]

use libfuzzer_sys::fuzz_target;
use otp_auth::keys::{FindKey, PublicKeySet, RemoteKeys};
use otp_auth::timestamp::Timestamp;

fuzz_target!(|text: &str| {
    let now = Timestamp::from_unix_secs(1_790_000_000);
    let remote = RemoteKeys::new();
    let is_taken = remote.handle_document(text, now).is_ok();
    let Ok(keys) = PublicKeySet::from_json(text) else {
        assert!(!is_taken);
        return;
    };
    assert!(is_taken);
    assert_eq!(PublicKeySet::from_json(&keys.to_json()).as_ref(), Ok(&keys));
    for key in keys.keys() {
        assert_eq!(remote.find_key(key.kid()).as_ref(), Some(key));
        assert!(key.verify_signature(b"message", &[1; 64]).is_err());
        assert!(key.verify_signature(b"message", &[1; 256]).is_err());
        let _ = (key.algorithm().as_str(), format!("{key:?}"));
    }
});
