//! Every case in `tests/data/decisions` comes out as its table says. A case needs no Rust: add a
//! line to a table, or a table to the folder.
//!
//! A table is a list of groups: a configuration in Cloudflare's JSON, and requests in the form of
//! expectation files. Where a case names no host it is `app.example.com`.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{fs, path::Path};

use access_policy::{Engine, Mode, Policies, Suite};
use serde_json::{Value, json};

#[test]
fn decisions_match_the_tables() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decisions");
    let mut cases = 0;
    let mut failures = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let groups: Vec<Value> = serde_json::from_str(&fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for mut group in groups {
            let name = group["name"].as_str().unwrap().to_owned();
            let object = group.as_object_mut().unwrap();
            object.remove("name");
            let requests = object.remove("requests").unwrap();
            let text = group.to_string();
            if is_beyond_this_build(&text) {
                continue;
            }
            // Lenient, because some groups are about policies without rules.
            let import = Policies::import(text.as_bytes(), Mode::Lenient)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            let engine =
                Engine::compile(import.policies).unwrap_or_else(|error| panic!("{name}: {error}"));
            let suite = suite(&requests);
            cases += suite.expectations.len();
            for failure in suite.run(&engine).failures {
                failures.push(format!("{name}: {}\n{}", failure.problem, failure.explanation));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {cases} cases:\n{}", failures.len(), failures.join("\n\n"));
    assert!(cases >= 750, "the tables have shrunk to {cases} cases");
}

fn suite(requests: &Value) -> Suite {
    let mut expectations = Vec::new();
    for request in requests.as_array().unwrap() {
        if is_beyond_this_build(&request.to_string()) {
            continue;
        }
        let mut request = request.clone();
        let object = request.as_object_mut().unwrap();
        object.entry("host").or_insert(json!("app.example.com"));
        if object["expect"] == "bad identity" {
            object["expect"] = json!("bad request");
        }
        expectations.push(request);
    }
    Suite::from_json(&json!({ "expectations": expectations }).to_string()).unwrap()
}

/// Names beyond ASCII need the feature `idna`.
fn is_beyond_this_build(text: &str) -> bool {
    cfg!(not(feature = "idna")) && (!text.is_ascii() || text.contains("xn--"))
}
