//! Any text as saved revocations: no panic; what is read is written and read again alike, and refuses whom it
//! names.

#![no_main]

use libfuzzer_sys::fuzz_target;
use otp_auth::session::MemoryRevocations;
use otp_auth::timestamp::Timestamp;

fuzz_target!(|text: &str| {
    let Ok(read) = MemoryRevocations::load(text) else { return };
    let saved = read.save();
    let again = MemoryRevocations::load(&saved).expect("what was written");
    assert_eq!(again.save(), saved);
    // A text that lost its end is never taken for the whole.
    for end in 0..saved.len().min(2_000) {
        if saved.is_char_boundary(end) {
            assert!(MemoryRevocations::load(&saved[..end]).is_err(), "{end}");
        }
    }
    again.forget_before(Timestamp::from_unix_millis(u64::MAX));
    assert!(again.save().len() <= saved.len() + 20);
});
