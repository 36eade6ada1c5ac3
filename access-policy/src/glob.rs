//! Patterns in which `*` stands for any bytes, also none.

use crate::steps;

/// Reports whether `pattern` covers all of `text`, comparing bytes with `equal`.
///
/// Only the latest `*` is ever reconsidered, so the work is at most the product of both lengths.
pub(crate) fn covers(pattern: &[u8], text: &[u8], equal: fn(u8, u8) -> bool) -> bool {
    let (mut at, mut position) = (0, 0);
    let mut retry = None;
    while let Some(&byte) = text.get(position) {
        steps::take(1);
        match pattern.get(at) {
            Some(b'*') => {
                retry = Some((at + 1, position));
                at += 1;
            }
            Some(&wanted) if equal(wanted, byte) => {
                at += 1;
                position += 1;
            }
            _ => {
                let Some((after_star, start)) = retry else {
                    return false;
                };
                retry = Some((after_star, start + 1));
                (at, position) = (after_star, start + 1);
            }
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|&byte| byte == b'*')
}

/// Reports whether some text is covered by both patterns.
pub(crate) fn overlap(a: &[u8], b: &[u8]) -> bool {
    if !heads_meet(a, b) {
        return false;
    }
    // `row[j]`: whether what is left of `a` from here can meet what is left of `b` from `j`.
    let mut below = vec![false; b.len() + 1];
    for i in (0..=a.len()).rev() {
        let mut row = vec![false; b.len() + 1];
        for j in (0..=b.len()).rev() {
            row[j] = match (a.get(i), b.get(j)) {
                (None, None) => true,
                (Some(b'*'), other) => below[j] || (other.is_some() && row[j + 1]),
                (other, Some(b'*')) => row[j + 1] || (other.is_some() && below[j]),
                (Some(x), Some(y)) => x == y && below[j + 1],
                (None, Some(_)) | (Some(_), None) => false,
            };
        }
        below = row;
    }
    below[0]
}

/// Reports whether the literal beginnings of two patterns can belong to one text. Nearly all that have nothing in common
/// differ there.
pub(crate) fn heads_meet(a: &[u8], b: &[u8]) -> bool {
    let is_literal = |byte: &&u8| **byte != b'*';
    let mut heads = a.iter().take_while(is_literal).zip(b.iter().take_while(is_literal));
    heads.all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers_exactly(pattern: &str, text: &str) -> bool {
        covers(pattern.as_bytes(), text.as_bytes(), |a, b| a == b)
    }

    #[test]
    fn star_stands_for_any_bytes() {
        for (pattern, text) in
            [("", ""), ("*", ""), ("*", "abc"), ("a*c", "ac"), ("a*c", "abcbc"), ("*a*b", "xaab")]
        {
            assert!(covers_exactly(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("a", ""), ("a*c", "ab"), ("*a*b", "ba"), ("a", "ab")] {
            assert!(!covers_exactly(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn overlap_finds_a_common_text() {
        for (a, b) in
            [("a*", "*b"), ("a", "a"), ("*", ""), ("a*c*", "*b"), ("a*b", "ab"), ("*", "*")]
        {
            assert!(overlap(a.as_bytes(), b.as_bytes()), "{a} {b}");
            assert!(overlap(b.as_bytes(), a.as_bytes()), "{b} {a}");
        }
        for (a, b) in [("a*", "b*"), ("a", "b"), ("a*b", "a*c"), ("", "a*")] {
            assert!(!overlap(a.as_bytes(), b.as_bytes()), "{a} {b}");
            assert!(!overlap(b.as_bytes(), a.as_bytes()), "{b} {a}");
        }
    }
}
