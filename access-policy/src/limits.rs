//! Every bound of the crate, with its reason. What passes one is refused, never cut short.

/// Bytes of any string in a policy document. Cloudflare's longest text, a deny message, is shorter.
pub(crate) const MAX_STRING_BYTES: usize = 4_096;

/// Bytes of a destination pattern, so that matching stays cheap whatever was configured.
pub(crate) const MAX_PATTERN_BYTES: usize = 2_048;

/// Wildcards in a destination pattern; each multiplies the work of a match.
pub(crate) const MAX_PATTERN_WILDCARDS: usize = 16;

/// Elements of one array: rules, policies, destinations. Cloudflare stops at 1,000 rules.
pub(crate) const MAX_ARRAY_ELEMENTS: usize = 1_000_000;

/// Bytes of a request path; the longest request line that our edge takes.
pub(crate) const MAX_PATH_BYTES: usize = 16_384;

/// Bytes of an e-mail address (RFC 5321 section 4.5.3.1.3, less the angle brackets).
pub(crate) const MAX_EMAIL_BYTES: usize = 254;

/// Bytes of foreign text that an error message quotes.
const MAX_EXCERPT_BYTES: usize = 80;

/// Shortens foreign text to what an error message may quote, without control characters.
pub(crate) fn excerpt(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        if out.len() >= MAX_EXCERPT_BYTES {
            out.push('…');
            break;
        }
        out.push(if character.is_control() { '\u{fffd}' } else { character });
    }
    out
}
