//! Modules import downwards only.

#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]

use std::{fs, path::Path};

/// Low to high. A module may name those before it.
const LAYERS: &[&str] = &[
    "version",
    "digest",
    "failure",
    "error",
    "text",
    "name",
    "pem",
    "regular_file",
    "key",
    "kept_key",
    "key_pair",
    "certificate",
    "lifecycle",
    "storage",
    "conformance",
    "record",
    "issuer",
    "ca",
    "resolver",
    "presets",
    "acme",
    "dns",
    "manager",
    "fuzz",
];

#[test]
fn modules_import_downwards_only() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for entry in fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if module == "lib" {
            continue;
        }
        let layer = layer(&module).unwrap_or_else(|| panic!("`{module}` is in no layer"));
        seen += usize::from(path.is_file());
        // All files of a folder are one layer.
        check(&path, &module, layer);
    }
    assert_eq!(seen, LAYERS.len(), "a layer lost its file");
}

fn check(path: &Path, module: &str, layer: usize) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            check(&entry.unwrap().path(), module, layer);
        }
        return;
    }
    for used in imports(&fs::read_to_string(path).unwrap()) {
        let other =
            self::layer(&used).unwrap_or_else(|| panic!("`{module}` names unknown `{used}`"));
        assert!(other < layer || used == module, "`{module}` must not import `{used}`");
    }
}

#[test]
fn finds_imports() {
    let text =
        "use crate::{\n  a::{B, C},\n  d,\n  e::f as g,\n};\nlet x = crate::h::i();\n/// crate::z";
    assert_eq!(imports(text), ["a", "d", "e", "h"]);
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| *layer == module)
}

/// Returns the first path component after each `crate::`, doc comments aside.
fn imports(text: &str) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<String>();
    code.split("crate::").skip(1).flat_map(heads).collect()
}

fn heads(after: &str) -> Vec<String> {
    let Some(group) = after.strip_prefix('{') else {
        return vec![word(after)];
    };
    let mut depth = 0_usize;
    let mut heads = vec![word(group.trim_start())];
    for (index, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(word(group[index + 1..].trim_start())),
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

fn word(text: &str) -> String {
    let end = text.find(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    text[..end.unwrap_or(text.len())].to_owned()
}
