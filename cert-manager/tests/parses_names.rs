//! Names are normalized or refused with a reason, as `tests/data/names.txt` says.

#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]

use cert_manager::Name;

#[test]
fn follows_the_table() {
    for line in include_str!("data/names.txt").lines() {
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
