//! Modules import downwards only, so that each can be read with what lies below it.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::{fs, path::Path};

/// Low to high. A module may name those before it, and itself.
const LAYERS: [&str; 16] = [
    "error",
    "id",
    "secret",
    "limits",
    "credentials",
    "rpc",
    "stream",
    "state",
    "telemetry",
    "net",
    "origin",
    "ingress",
    "edge",
    "cluster",
    "connector",
    "fuzz",
];

fn layer(name: &str) -> usize {
    LAYERS.iter().position(|layer| *layer == name).unwrap_or_else(|| panic!("`{name}` is new here"))
}

fn check(file: &Path, own: usize) {
    if file.is_dir() {
        if file.ends_with("generated") {
            return;
        }
        for entry in fs::read_dir(file).unwrap() {
            check(&entry.unwrap().path(), own);
        }
        return;
    }
    let text = fs::read_to_string(file).unwrap();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join(" ").replace([' ', '\n'], "");
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(group) => top_level(group),
            None => vec![rest],
        };
        for name in names {
            let name: String =
                name.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect();
            // Types at the root are re-exports; sources name modules.
            if name.chars().next().is_some_and(char::is_lowercase) {
                assert!(layer(&name) <= own, "{} imports `{name}` from above", file.display());
            }
        }
    }
}

/// The items of a brace group, without what is inside their own braces.
fn top_level(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0, 0, Vec::new());
    for (at, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&group[start..at]);
                return items.into_iter().filter(|item| !item.is_empty()).collect();
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items
}

#[test]
fn modules_import_downwards_only() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for entry in fs::read_dir(&sources).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name != "lib" {
            seen += 1;
            check(&path, layer(&name));
        }
    }
    assert_eq!(seen, LAYERS.len(), "every module is listed");
}
