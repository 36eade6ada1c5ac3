//! The path of a request: its canonical form, and every other form an origin might read in it.
//!
//! A rule for `/admin` is worth nothing if `/x/..%2fadmin` reaches the same page. So the engine
//! looks up the application for each *reading* of a path, and readings that disagree never open
//! more than the strictest of them.

use std::borrow::Cow;

use crate::{
    error::{Error, Kind},
    limits,
    word::{Bytes, each},
};

/// The path of a request, without query.
#[derive(Debug, Clone)]
pub(crate) struct RequestPath<'a> {
    raw: &'a str,
    canonical: Cow<'a, str>,
    is_plain: bool,
}

impl<'a> RequestPath<'a> {
    /// Takes the path of a request target; a query is cut off.
    #[inline]
    pub(crate) fn parse(target: &'a str) -> Result<Self, Error> {
        if target.len() <= limits::MAX_PATH_BYTES && (is_simple(target) || is_plain(target)) {
            return Ok(Self { raw: target, canonical: Cow::Borrowed(target), is_plain: true });
        }
        Self::parse_unusual(target)
    }

    #[cold]
    fn parse_unusual(target: &'a str) -> Result<Self, Error> {
        if target.contains('#') {
            return Err(Kind::Path("it has a fragment").into());
        }
        let raw = target.split_once('?').map_or(target, |(path, _)| path);
        let raw = if raw.is_empty() { "/" } else { raw };
        if raw.len() > limits::MAX_PATH_BYTES {
            return Err(Kind::Path("it is longer than 16 KiB").into());
        }
        if !raw.starts_with('/') {
            return Err(Kind::Path("it does not start with `/`").into());
        }
        let is_plain = is_plain(raw);
        let canonical =
            if is_plain { Cow::Borrowed(raw) } else { Cow::Owned(canonicalise(raw).text) };
        Ok(Self { raw, canonical, is_plain })
    }

    pub(crate) fn raw(&self) -> &'a str {
        self.raw
    }

    pub(crate) fn canonical(&self) -> &str {
        &self.canonical
    }

    /// Reports whether every origin reads the same in this path, apart from letter case.
    pub(crate) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Reports whether proxies and origins are known to disagree about paths like this one.
    pub(crate) fn is_ambiguous(&self) -> bool {
        !self.is_plain && is_ambiguous(self.raw)
    }

    /// Every form in which an origin might read this path, the canonical one first.
    ///
    /// Decoded never, once or twice, and with every set of [`liberty`] taken. Letter case is left to
    /// the comparison.
    pub(crate) fn readings(&self) -> Vec<Cow<'_, str>> {
        let mut readings = vec![Cow::Borrowed(self.canonical())];
        if self.is_plain {
            return readings;
        }
        let mut decoded = self.raw.as_bytes().to_vec();
        for rounds in 0..=2 {
            if rounds > 0 {
                decoded = percent_decode(&decoded);
            }
            let escapes = if rounds == 0 { Escapes::Keep } else { Escapes::Escape };
            for liberties in 0..=liberty::ALL {
                let reading = read(&decoded, escapes, liberties);
                if !readings.iter().any(|known| *known == reading) {
                    readings.push(Cow::Owned(reading));
                }
            }
        }
        readings
    }
}

/// What an origin may do to a path besides decoding it, as bits.
mod liberty {
    /// Take `\` for `/`, as Windows does.
    pub(super) const BACKSLASH_IS_SLASH: u8 = 1;
    /// End the path at NUL, as C does.
    pub(super) const END_AT_NUL: u8 = 2;
    /// Drop `;parameters`, as Java does.
    pub(super) const DROP_PARAMETERS: u8 = 4;
    /// Fold empty and dot segments, as file systems do.
    pub(super) const FOLD_SEGMENTS: u8 = 8;
    pub(super) const ALL: u8 = 15;
}

/// A path in canonical form.
#[derive(Debug)]
pub(crate) struct Canonical {
    pub(crate) text: String,
    /// Whether `..` led above the root.
    leaves_root: bool,
}

/// Decodes escapes of unreserved characters, upper-cases the others, escapes what may not stand
/// bare, and folds empty and dot segments.
pub(crate) fn canonicalise(raw: &str) -> Canonical {
    fold_segments(&escape(raw.as_bytes(), Escapes::DecodeUnreserved))
}

/// Reports whether a path holds what proxies and origins are known to read differently: escaped
/// slashes, backslashes, control bytes, broken or doubled escapes, `..` above the root, dot
/// segments with `;parameters`, over-long encodings, and names that are others on Windows.
pub(crate) fn is_ambiguous(raw: &str) -> bool {
    let raw_bytes = raw.as_bytes();
    let once = percent_decode(raw_bytes);
    let twice = percent_decode(&once);
    let segments = |bytes: &[u8]| bytes.split(|&byte| byte == b'/').count();
    let has_dots_with_parameters = |bytes: &[u8]| {
        bytes.split(|&byte| byte == b'/').any(|segment| {
            let name = segment.split(|&byte| byte == b';').next().unwrap_or_default();
            name.len() < segment.len() && matches!(name, b"." | b"..")
        })
    };
    let has_dots = |bytes: &[u8]| {
        bytes.split(|&byte| byte == b'/').any(|segment| matches!(segment, b"." | b".."))
    };
    segments(&twice) != segments(raw_bytes)
        || [raw_bytes, &once, &twice].into_iter().any(|bytes| {
            // `C0` and `C1` only begin longer encodings of ASCII, which some decoders take (RFC 3629 section 3).
            bytes.iter().any(|&byte| matches!(byte, b'\\' | 0xc0 | 0xc1) || byte.is_ascii_control())
                || has_dots_with_parameters(bytes)
                || bytes.split(|&byte| byte == b'/').any(is_other_name_on_windows)
        })
        || (has_dots(&twice) && !has_dots(&once))
        || has_broken_escape(raw_bytes)
        || canonicalise(raw).leaves_root
}

/// Windows drops dots and blanks at the end of a name, and reads `name::$DATA` as `name`.
fn is_other_name_on_windows(segment: &[u8]) -> bool {
    let is_dots = matches!(segment, b"." | b"..");
    (segment.ends_with(b".") && !is_dots)
        || segment.ends_with(b" ")
        || segment.windows(3).any(|window| window == b"::$")
}

/// Reports whether a byte may stand bare in a segment (RFC 3986 section 3.3, `pchar`).
pub(crate) fn is_segment_byte(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';')
        || matches!(byte, b'=' | b':' | b'@')
}

/// What to do with a `%` in the input of [`escape`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// A well-formed escape stays one.
    Keep,
    /// A well-formed escape of an unreserved character becomes that character.
    DecodeUnreserved,
    /// The input is decoded already: a `%` is only a character.
    Escape,
}

/// One reading of a path.
fn read(bytes: &[u8], escapes: Escapes, liberties: u8) -> String {
    let takes = |liberty| liberties & liberty != 0;
    let mut path = bytes.to_vec();
    if takes(liberty::END_AT_NUL) {
        path.truncate(path.iter().position(|&byte| byte == 0).unwrap_or(path.len()));
    }
    if takes(liberty::BACKSLASH_IS_SLASH) {
        path.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
    }
    if takes(liberty::DROP_PARAMETERS) {
        path = without_parameters(&path);
    }
    let text = escape(&path, escapes);
    if takes(liberty::FOLD_SEGMENTS) { fold_segments(&text).text } else { text }
}

/// Reports whether a path consists of what nearly all consist of, and is plain. Eight bytes are looked
/// at together.
#[inline]
fn is_simple(raw: &str) -> bool {
    let bytes = raw.as_bytes();
    let (mut is_simple, mut after_slash, mut after_dot) =
        (bytes.first() == Some(&b'/') && bytes.last() != Some(&b'.'), 0, 0);
    each(bytes, |word, before| {
        let (slashes, dots) = (word.are(b'/'), word.are(b'.'));
        let plain = word.are_in(b'a', b'z')
            | word.are_in(b'0', b'9')
            | word.are_in(b'A', b'Z')
            | word.are(b'-')
            | word.are(b'_');
        is_simple &= (plain | slashes | dots) == Bytes::ALL
            && (slashes | dots) & (slashes << 8 | before.unwrap_or(after_slash)) == 0
            && slashes & (dots << 8 | before.unwrap_or(after_dot)) == 0;
        (after_slash, after_dot) = (slashes >> 56, dots >> 56);
    });
    is_simple
}

/// Reports whether every origin reads the same in a path, apart from letter case.
fn is_plain(raw: &str) -> bool {
    raw.starts_with('/')
        && raw.bytes().all(|byte| byte == b'/' || (byte != b';' && is_segment_byte(byte)))
        && !raw.contains("//")
        // Windows drops dots at the end of a name.
        && !raw.split('/').any(|segment| segment.ends_with('.'))
        && !raw.contains("::$")
}

fn escape(bytes: &[u8], escapes: Escapes) -> String {
    let mut out = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        let escaped = if *byte == b'%' { hex_pair(tail) } else { None };
        match escaped {
            Some((value, tail)) if escapes != Escapes::Escape => {
                rest = tail;
                if escapes == Escapes::DecodeUnreserved && is_unreserved(value) {
                    out.push(char::from(value));
                } else {
                    push_escaped(&mut out, value);
                }
            }
            _ if *byte == b'/' || is_segment_byte(*byte) => out.push(char::from(*byte)),
            _ => push_escaped(&mut out, *byte),
        }
    }
    out
}

fn push_escaped(out: &mut String, byte: u8) {
    const HEX: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    out.push('%');
    out.push(HEX[usize::from(byte >> 4)]);
    out.push(HEX[usize::from(byte & 15)]);
}

fn fold_segments(path: &str) -> Canonical {
    let mut segments: Vec<&str> = Vec::new();
    let mut leaves_root = false;
    let mut ends_in_slash = false;
    for segment in path.split('/') {
        ends_in_slash = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => leaves_root |= segments.pop().is_none(),
            name => segments.push(name),
        }
    }
    let mut text = String::with_capacity(path.len());
    for segment in &segments {
        text.push('/');
        text.push_str(segment);
    }
    if ends_in_slash || text.is_empty() {
        text.push('/');
    }
    Canonical { text, leaves_root }
}

fn without_parameters(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut skipping = false;
    for &byte in path {
        skipping = byte != b'/' && (skipping || byte == b';');
        if !skipping {
            out.push(byte);
        }
    }
    out
}

fn percent_decode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match hex_pair(tail) {
            Some((value, tail)) if *byte == b'%' => {
                rest = tail;
                out.push(value);
            }
            _ => out.push(*byte),
        }
    }
    out
}

fn has_broken_escape(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte == b'%' && hex_pair(tail).is_none() {
            return true;
        }
    }
    false
}

/// Two hexadecimal digits at the head of `bytes`, and what follows them.
fn hex_pair(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, tail @ ..] = bytes else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some((digit(*high)? << 4 | digit(*low)?, tail))
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms() {
        for (raw, canonical) in [
            ("", "/"),
            ("/", "/"),
            ("?q", "/"),
            ("/a/b?c", "/a/b"),
            ("/a//b", "/a/b"),
            ("/a/./b/", "/a/b/"),
            ("/a/../b", "/b"),
            ("/a/..", "/"),
            ("/../a", "/a"),
            ("/%61%2e%2E/b", "/a../b"),
            ("/x/%2e%2e/b", "/b"),
            ("/%c3%a9", "/%C3%A9"),
            ("/é", "/%C3%A9"),
            ("/a%2fb", "/a%2Fb"),
            ("/a\\b", "/a%5Cb"),
            ("/%", "/%25"),
            ("/%zz", "/%25zz"),
        ] {
            assert_eq!(RequestPath::parse(raw).unwrap().canonical(), canonical, "{raw}");
        }
    }

    #[test]
    fn plain_paths_have_one_reading() {
        for raw in ["/", "/a", "/a/", "/a/b.c/~d", "/a@b:c=d"] {
            let path = RequestPath::parse(raw).unwrap();
            assert_eq!(path.readings(), [raw], "{raw}");
            assert!(!path.is_ambiguous(), "{raw}");
        }
    }

    #[test]
    fn ambiguous_paths() {
        for raw in [
            "/a%2fb",
            "/a%5Cb",
            "/a\\b",
            "/a%00",
            "/a\u{7f}",
            "/%",
            "/%zz",
            "/%4",
            "/a%252fb",
            "/..",
            "/a/../../b",
            "/%2e%2e/a",
            "/a/..;x/b",
            "/a/.;/b",
            "/%252e%252e/a",
            "/a%250d",
        ] {
            assert!(RequestPath::parse(raw).unwrap().is_ambiguous(), "{raw}");
        }
        for raw in ["/a/../b", "//a", "/%61", "/a;b", "/100%25", "/caf%C3%A9", "/a%20b"] {
            assert!(!RequestPath::parse(raw).unwrap().is_ambiguous(), "{raw}");
        }
    }

    #[test]
    fn readings_reach_what_an_origin_might_serve() {
        for raw in [
            "//admin",
            "/x/../admin",
            "/x/%2e%2e/admin",
            "/%61dmin",
            "/%2561dmin",
            "/admin;x=1",
            "/x\\..\\admin",
            "/x%5c..%5cadmin",
            "/x%2f..%2fadmin",
            "/x%252f..%252fadmin",
            "/x/..;y/admin",
            "/.;/admin",
            "/x/%252e%252e/admin",
        ] {
            let path = RequestPath::parse(raw).unwrap();
            assert!(path.readings().iter().any(|reading| reading == "/admin"), "{raw}");
        }
    }

    #[test]
    fn readings_agree_on_harmless_escapes() {
        let path = RequestPath::parse("/caf%C3%A9/a%20b").unwrap();
        assert_eq!(path.readings(), ["/caf%C3%A9/a%20b"]);
    }
}
