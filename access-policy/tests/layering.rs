//! Modules import only from those below them, so that no circle can appear.

use std::{fs, path::Path};

/// Low to high. A new module takes its place here.
const ORDER: [&str; 68] = [
    "limits",
    "steps",
    "error",
    "truth",
    "fact",
    "duration",
    "glob",
    "table",
    "remark",
    "node",
    "document",
    "word",
    "domain",
    "email",
    "network",
    "country",
    "risk",
    "host",
    "path",
    "claim",
    "identity",
    "get_identity",
    "request",
    "rule",
    "selector",
    "obligation",
    "cors",
    "settings",
    "group",
    "list",
    "organization",
    "policy",
    "destination",
    "application",
    "policies",
    "terraform",
    "import",
    "answer",
    "catalog",
    "terms",
    "outcome",
    "needs",
    "index",
    "program",
    "batch",
    "compile",
    "answers",
    "evaluate",
    "trace",
    "scenario",
    "judgement",
    "explanation",
    "visitor",
    "decision",
    "engine",
    "suite",
    "audit",
    "diagram",
    "setting",
    "candidates",
    "gather",
    "space",
    "verdicts",
    "region",
    "neighbours",
    "analysis",
    "why_not",
    "lint",
];

#[test]
fn imports_point_downwards() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for entry in fs::read_dir(&source).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if module == "lib" {
            continue;
        }
        seen += 1;
        let rank = rank(&module);
        for imported in imports(&fs::read_to_string(&path).unwrap()) {
            assert!(self::rank(&imported) < rank, "`{module}` imports `{imported}` above it");
        }
    }
    assert_eq!(seen, ORDER.len(), "every module has a place in the order");
}

#[test]
fn the_import_reader_sees_what_rust_sees() {
    let text = "use crate::a::B;\nuse crate::{c, d::{self, E}, f::G};\nlet x = crate::h::i();\n//! [`z`](crate::z)";
    assert_eq!(imports(text), ["a", "c", "d", "f", "h"]);
}

fn rank(module: &str) -> usize {
    ORDER
        .iter()
        .position(|known| *known == module)
        .unwrap_or_else(|| panic!("module `{module}` has no place in the order"))
}

/// The modules after `crate::`, in code.
fn imports(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n");
    code.split("crate::").skip(1).flat_map(heads).collect()
}

/// The first names of a path, or of each member of a braced list.
fn heads(after: &str) -> Vec<String> {
    let Some(list) = after.strip_prefix('{') else {
        return vec![name(after)];
    };
    let mut heads = Vec::new();
    let mut depth = 0;
    let mut expects_name = true;
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expects_name = true,
            c if expects_name && c.is_ascii_lowercase() => {
                heads.push(name(&list[at..]));
                expects_name = false;
            }
            _ => {}
        }
    }
    heads
}

fn name(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect()
}
