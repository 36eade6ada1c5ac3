//! Bounds stand in `limits`, each with its reason, and nowhere else; errors name them.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Numbers outside `limits` that bound nothing: a file, what stands in it, and what that is.
const NOT_BOUNDS: [(&str, &str, &str); 15] = [
    ("ingress/options.rs", "CONNECT_TIMEOUT", "cloudflared's default, as a file states it"),
    ("ingress/options.rs", "TLS_TIMEOUT", "the same"),
    ("ingress/options.rs", "TCP_KEEP_ALIVE", "the same"),
    ("ingress/options.rs", "KEEP_ALIVE_CONNECTIONS", "the same"),
    ("ingress/options.rs", "KEEP_ALIVE_TIMEOUT", "the same"),
    ("origin/frames.rs", "CONTROL_BYTES", "RFC 6455's"),
    ("origin/frames.rs", "HEAD_BYTES", "RFC 6455's"),
    ("rpc/message.rs", "REGISTRATION_SERVER", "an interface's id"),
    ("rpc/server.rs", "BOOTSTRAP_CAPABILITY", "a capability's id"),
    ("state/flood.rs", "WINDOW", "the second of budgets by the second"),
    ("state/flood.rs", "PREFACE_BYTES", "RFC 9113's"),
    ("state/flood.rs", "HEADER_BYTES", "RFC 9113's"),
    ("state/flood.rs", "RESET_BYTES", "RFC 9113's"),
    ("state/flood.rs", "CODES", "RFC 9113's error codes: `NO_ERROR` and `CANCEL`"),
    ("stream/header_list.rs", "USUAL_COUNT", "a guess at what is usual"),
];

struct Source {
    /// Below `src`.
    name: String,
    /// Without tests.
    code: String,
}

fn sources() -> Vec<Source> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|it| it == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    let name = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
    let is_test = |name: &str| {
        ["tests.rs", "oracle.rs", "conformance.rs"].iter().any(|end| name.ends_with(end))
            || name.contains("generated/")
            || name.starts_with("fuzz/")
    };
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
        Source { name: name(&path), code }
    };
    found.into_iter().filter(|path| !is_test(&name(path))).map(read).collect()
}

/// Names and docs of what stands in `limits`.
fn limits() -> Vec<(String, String)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/limits.rs");
    let (mut docs, mut limits) = (String::new(), Vec::new());
    for line in fs::read_to_string(file).unwrap().lines() {
        if let Some(doc) = line.strip_prefix("///") {
            docs.push_str(doc);
        } else if let Some(rest) = line.strip_prefix("pub const ") {
            let name = rest.split(':').next().unwrap().to_owned();
            limits.push((name, std::mem::take(&mut docs)));
        }
    }
    limits
}

#[test]
fn every_bound_has_its_reason() {
    let limits = limits();
    assert!(limits.len() > 90, "they are found");
    let mut wrong = Vec::new();
    for (name, docs) in limits {
        let says_why = [". ", ": ", "so that ", "because "].iter().any(|it| docs.contains(it));
        if !docs.trim_end().ends_with('.') || !says_why {
            wrong.push(format!("`{name}` has no reason, or nothing about what happens:{docs}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_bound_stands_elsewhere() {
    let is_number =
        |kind: &str| ["usize", "u64", "u32", "Duration", "(Duration, Duration)"].contains(&kind);
    let mut wrong = Vec::new();
    for Source { name, code } in sources() {
        if name == "limits.rs" {
            continue;
        }
        for line in code.lines() {
            if let Some((_, rest)) = line.split_once("const ")
                && let Some((constant, rest)) = rest.split_once(": ")
                && is_number(rest.split(" =").next().unwrap())
            {
                let is_known = NOT_BOUNDS.iter().any(|(file, known, _)| {
                    let is_code = *known == "CODES" && ["NO_ERROR", "CANCEL"].contains(&constant);
                    *file == name && (*known == constant || is_code)
                });
                if !is_known {
                    wrong.push(format!("`{constant}` in src/{name} belongs into `limits`"));
                }
            }
            for unit in ["from_secs(", "from_millis(", "from_micros("] {
                let literal = line.split(unit).nth(1).and_then(|rest| rest.chars().next());
                let is_literal = literal.is_some_and(|char| char.is_ascii_digit());
                let is_doc = line.trim_start().starts_with("//");
                let is_flood = name == "state/flood.rs" && line.contains("const WINDOW");
                if is_literal && !is_doc && !is_flood {
                    wrong.push(format!("a time in src/{name}: {}", line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_errors_name_is_a_bound_and_every_bound_is_used() {
    let names: BTreeSet<String> = limits().into_iter().map(|(name, _)| name).collect();
    let (mut used, mut wrong) = (BTreeSet::new(), Vec::new());
    let is_name = |text: &str| {
        text.contains('_') && text.chars().all(|char| char.is_ascii_uppercase() || char == '_')
    };
    for Source { name: file, code } in sources() {
        let code: String = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n");
        for rest in code.split("with_limit(\"").skip(1) {
            let name = rest.split('"').next().unwrap();
            if !names.contains(name) {
                wrong.push(format!("`{name}` in src/{file} is no bound"));
            }
        }
        // In words: `longer than .. bytes (CONFIGURATION_BYTES)`.
        for rest in code.split(" (").skip(1) {
            let name = rest.split(')').next().unwrap();
            if is_name(name) && !names.contains(name) {
                wrong.push(format!("`{name}` in src/{file} is no bound"));
            }
        }
        if file == "limits.rs" {
            let mut words = code.split(|char: char| !char.is_ascii_uppercase() && char != '_');
            let all: Vec<&str> = words.by_ref().collect();
            // More than once: it is part of another bound.
            used.extend(
                names
                    .iter()
                    .filter(|name| all.iter().filter(|it| *it == name).count() > 1)
                    .cloned(),
            );
        } else {
            for rest in code.split("limits::").skip(1) {
                let is_part = |char: char| char.is_ascii_uppercase() || char == '_';
                used.insert(rest.chars().take_while(|char| is_part(*char)).collect());
            }
        }
    }
    wrong.extend(names.difference(&used).map(|name| format!("nobody keeps to `{name}`")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
