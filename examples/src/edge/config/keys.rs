//! Unknown keys, found before anything else reads the file.

use anyhow::bail;
use toml::de::{DeTable, DeValue};

/// Tables and the keys that each may have. The first is the file itself.
const TABLES: [(&str, &[&str]); 6] = [
    (
        "",
        &[
            "zone",
            "auth_host",
            "state",
            "public_port",
            "location",
            "country_database",
            "identities",
            "listen",
            "mail",
            "acme",
            "dns",
            "app",
        ],
    ),
    ("listen", &["https", "http", "tunnel"]),
    ("mail", &["smtp", "from", "user", "password_file", "templates"]),
    (
        "acme",
        &[
            "directory",
            "agree_to_terms",
            "contact",
            "challenge",
            "wildcard",
            "profile",
            "preferred_root",
            "ca_file",
            "eab_key_id",
            "eab_key_file",
            "fallback",
        ],
    ),
    (
        "dns",
        &[
            "server",
            "zone",
            "key_file",
            "key_name",
            "key_algorithm",
            "hook",
            "target",
            "owner",
            "ttl",
            "resolvers",
            "propagation_servers",
            "propagation_seconds",
        ],
    ),
    ("app", &["host", "tunnel", "allow", "require_ip", "policies"]),
];

/// Says where a key is that nobody knows, and which one may be meant.
pub(super) fn check(text: &str) -> anyhow::Result<()> {
    let root = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        anyhow::anyhow!("line {line}: {}", error.message())
    })?;
    check_table(text, "", root.get_ref())
}

fn check_table(text: &str, name: &str, table: &DeTable<'_>) -> anyhow::Result<()> {
    let Some((_, known)) = TABLES.iter().find(|(known, _)| *known == name) else { return Ok(()) };
    for (key, value) in table {
        let word = key.get_ref().as_ref();
        if !known.contains(&word) {
            let place = if name.is_empty() { String::new() } else { format!(" in `{name}`") };
            let line = line_of(text, key.span().start);
            let word = word.escape_debug();
            bail!(
                "line {line}: there is no key `{word}`{place}; {}",
                advice(&word.to_string(), known)
            );
        }
        match value.get_ref() {
            DeValue::Table(table) if name.is_empty() => check_table(text, word, table)?,
            DeValue::Array(array) if name.is_empty() => {
                for value in array {
                    if let DeValue::Table(table) = value.get_ref() {
                        check_table(text, word, table)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn advice(word: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(word, known), known))
        .min()
        .filter(|(distance, _)| *distance <= 2);
    match nearest {
        Some((_, nearest)) => format!("did you mean `{nearest}`?"),
        None => format!("known are `{}`", known.join("`, `")),
    }
}

/// The line of a byte, from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}
