//! Any bytes as a file of expectations and as an audit record: no panic.

#![no_main]

use access_policy::{AuditRecord, Engine, Policies, Suite};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let json = r#"[{"domain": "app.example.com", "policies": [{"name": "p", "decision": "allow",
        "include": [{"email_domain": {"domain": "example.com"}}, {"ip": {"ip": "192.0.2.0/24"}}]}]}]"#;
    let engine = Engine::compile(Policies::from_json(json).unwrap()).unwrap();
    if let Ok(suite) = Suite::from_json(text) {
        let _ = suite.run(&engine).to_string();
    }
    if let Ok(record) = serde_json::from_str::<AuditRecord>(text) {
        let _ = record.replay(&engine);
    }
});
