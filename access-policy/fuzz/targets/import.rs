//! Any bytes as a configuration: no panic; what is read is written and read again alike, and if it
//! compiles, it decides.

#![no_main]

use access_policy::{Engine, Mode, Policies, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Policies::import(bytes, Mode::Strict);
    let Ok(import) = Policies::import(bytes, Mode::Lenient) else { return };
    let written = serde_json::to_vec(&import.policies).unwrap();
    let again = Policies::import(&written, Mode::Lenient).unwrap();
    assert_eq!(again.policies, import.policies);
    let Ok(engine) = Engine::compile(import.policies) else { return };
    let request = Request::new("app.example.com", "/").unwrap();
    let decision = engine.decide(&request);
    let _ = (decision.explain().to_string(), decision.visitor_reason());
    if bytes.len() < 4_096 {
        let _ = (engine.lint(), engine.why_not(&request));
    }
});
