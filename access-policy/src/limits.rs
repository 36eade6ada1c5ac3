//! Every bound of the crate, with its reason. What passes one is refused, never cut short.

/// Bytes of any string in a policy document. Cloudflare's longest text, a deny message, is shorter.
pub(crate) const MAX_STRING_BYTES: usize = 4_096;

/// Bytes of a policy document: a million applications of the usual size.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 1_000_000_000;

/// Depth of a policy document. Terraform's state, the deepest of them, needs about 16.
pub(crate) const MAX_DOCUMENT_DEPTH: usize = 64;

/// Bytes of a destination pattern, so that matching stays cheap whatever was configured.
pub(crate) const MAX_PATTERN_BYTES: usize = 2_048;

/// Wildcards in a destination pattern; each multiplies the work of a match.
pub(crate) const MAX_PATTERN_WILDCARDS: usize = 16;

/// Elements of one array: rules, policies, destinations. Cloudflare stops at 1,000 rules.
pub(crate) const MAX_ARRAY_ELEMENTS: usize = 1_000_000;

/// Members of one object: more than any of Cloudflare's has, and few enough to look through each.
pub(crate) const MAX_OBJECT_MEMBERS: usize = 256;

/// Faults that one import reports; more would only repeat themselves.
pub(crate) const MAX_PROBLEMS: usize = 1_000;

/// Groups inside groups inside groups. Nobody follows a deeper chain by eye.
pub(crate) const MAX_GROUP_DEPTH: usize = 16;

/// Steps that a decision may take at worst, for any application. It bounds shared groups that would
/// be asked again and again; 1,000,000 steps are some milliseconds.
pub(crate) const MAX_DECISION_STEPS: u64 = 1_000_000;

/// Groups of one visitor, and organisations, methods, contexts, accounts.
pub(crate) const MAX_IDENTITY_GROUPS: usize = 10_000;

/// Claims or attributes of one visitor.
pub(crate) const MAX_IDENTITY_CLAIMS: usize = 1_000;

/// Bytes of all claims or attributes of one visitor.
pub(crate) const MAX_IDENTITY_CLAIM_BYTES: usize = 65_536;

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
