//! Modules import only what lies below them.

use std::fs;
use std::path::{Path, PathBuf};

/// Low to high. A module may use those before it.
const LAYERS: &[&str] = &[
    "error",
    "file",
    "timestamp",
    "locale",
    "random",
    "secret",
    "seal",
    "address",
    "code",
    "challenge",
    "throttle",
    "store",
    "mail",
    "login",
    "conformance",
    "token",
    "keys",
    "hotp",
    "totp",
    "recovery",
    "step_up",
    "session",
];

/// Neighbours that must not know each other, whatever the order of the list says.
const APART: [(&str, &str); 5] = [
    ("store", "mail"),
    ("throttle", "challenge"),
    ("token", "login"),
    ("keys", "login"),
    ("token", "store"),
];

#[test]
fn imports_point_downwards() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut checked = 0;
    for file in files(&source) {
        let relative = file.strip_prefix(&source).unwrap();
        let module = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if module == "lib" {
            continue;
        }
        let rank = rank(module);
        let text = fs::read_to_string(&file).unwrap();
        let code = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
        for line in code.filter(|line| !line.trim_start().starts_with("//")) {
            for import in line.split("crate::").skip(1) {
                let end = import.find(|c: char| !c.is_alphanumeric() && c != '_');
                let used = &import[..end.unwrap_or(import.len())];
                let is_apart = APART.contains(&(module, used)) || APART.contains(&(used, module));
                checked += 1;
                assert!(
                    used == module || (self::rank(used) < rank && !is_apart),
                    "{} uses `{used}`, which is not below `{module}`",
                    relative.display()
                );
            }
        }
    }
    assert!(checked > 50, "only {checked} imports found: the test looks at the wrong place");
}

fn rank(module: &str) -> usize {
    let found = LAYERS.iter().position(|layer| *layer == module);
    found.unwrap_or_else(|| panic!("module `{module}` has no place in the list"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the source folder is there");
    let paths = entries.map(|entry| entry.expect("a readable entry").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
