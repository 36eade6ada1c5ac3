#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cert_manager::fuzz::stored(data));
