//! Names are normalized or refused with a reason, as the tables in `tests/data` say.

#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]

use cert_manager::{Name, NameError};

#[test]
fn follows_the_table() {
    follows(include_str!("data/names.txt"));
}

#[test]
fn names_in_other_scripts_need_the_feature() {
    let table = include_str!("data/names_idna.txt");
    if cfg!(feature = "idna") {
        return follows(table);
    }
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let (input, _) = line.split_once('|').unwrap();
        let parsed = expand(input.trim()).parse::<Name>();
        if input.is_ascii() {
            assert_eq!(parsed.unwrap().as_str(), input.trim(), "it is for the authority to say");
        } else {
            let error = parsed.unwrap_err();
            let reason = if input.starts_with('*') && !input.starts_with("*.") {
                NameError::WildcardPlacement
            } else {
                NameError::NotAscii
            };
            assert_eq!(error.name_error(), Some(reason), "{line}");
        }
    }
    assert!(NameError::NotAscii.to_string().contains("`idna`"), "it says what would help");
}

fn follows(table: &str) {
    for line in table.lines() {
        if line.starts_with('#') {
            continue;
        }
        let (input, expected) = line.rsplit_once('|').unwrap();
        // One space before the bar belongs to the table.
        let input = expand(input.strip_suffix(' ').unwrap_or(input));
        let parsed = input.parse::<Name>();
        if let Some(reason) = expected.trim().strip_prefix('!') {
            let error = parsed.expect_err(line);
            let found = error.name_error().expect(line);
            assert_eq!(format!("{found:?}"), reason, "{line}");
            assert!(error.to_string().len() < 1100, "{line}");
        } else {
            let name = parsed.expect(line);
            assert_eq!(name.as_str(), expand(expected.trim()), "{line}");
            assert_eq!(name.as_str().parse::<Name>().unwrap(), name, "{line}");
        }
    }
}

#[test]
fn wildcards_cover_one_label() {
    for (name, other, expected) in [
        ("a.jp", "a.jp", true),
        ("a.jp", "b.jp", false),
        ("*.a.jp", "b.a.jp", true),
        ("*.a.jp", "a.jp", false),
        ("*.a.jp", "c.b.a.jp", false),
        ("*.a.jp", "*.a.jp", true),
        ("*.a.jp", "*.b.a.jp", false),
        ("*.a.jp", "xa.jp", false),
        ("127.0.0.1", "127.0.0.1", true),
        ("b.a.jp", "*.a.jp", false),
    ] {
        let (name, other) = (name.parse::<Name>().unwrap(), other.parse::<Name>().unwrap());
        assert_eq!(name.covers(&other), expected, "{name} {other}");
    }
}

/// Replaces `<n>c` by n times the character c.
fn expand(text: &str) -> String {
    let mut parts = text.split('<');
    let mut expanded = parts.next().unwrap().to_owned();
    for part in parts {
        let (count, rest) = part.split_once('>').unwrap();
        let character = rest.chars().next().unwrap();
        expanded.extend(std::iter::repeat_n(character, count.parse().unwrap()));
        expanded.push_str(&rest[character.len_utf8()..]);
    }
    expanded
}
