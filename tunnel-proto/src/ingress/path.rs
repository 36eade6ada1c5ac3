//! Which paths a rule is for.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use regex::{Regex, RegexBuilder};

use crate::limits;

/// A rule's path: an expression in Go's syntax (RE2) that may match anywhere in the decoded path.
///
/// The `regex` crate speaks the same language in linear time. It differs where Go thinks in ASCII:
/// here `\d`, `\w` and `\s` know every script.
#[derive(Debug, Clone)]
pub(super) struct PathPattern(Regex);

impl PathPattern {
    /// Compiles an expression.
    ///
    /// # Errors
    ///
    /// What is wrong with it, on one line.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > limits::PATH_PATTERN_BYTES {
            let most = limits::PATH_PATTERN_BYTES;
            return Err(format!("is longer than {most} bytes (PATH_PATTERN_BYTES)"));
        }
        let compiled = RegexBuilder::new(text)
            .size_limit(limits::PATH_PATTERN_MEMORY_BYTES)
            .dfa_size_limit(limits::PATH_PATTERN_CACHE_BYTES)
            .build();
        compiled.map(Self).map_err(|error| match error {
            regex::Error::CompiledTooBig(bytes) => {
                format!(
                    "needs more than {bytes} bytes of memory as a regular expression \
                     (PATH_PATTERN_MEMORY_BYTES)"
                )
            }
            error => {
                let text = error.to_string();
                let reason = text.lines().last().unwrap_or_default();
                let reason = reason.strip_prefix("error: ").unwrap_or(reason);
                format!("is not a regular expression: {reason}")
            }
        })
    }

    /// Whether a path made plain by [`plain`] is meant.
    pub(super) fn matches(&self, path: &str) -> bool {
        self.0.is_match(path)
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// A request's path as patterns compare it: percent-decoded, bytes that are no UTF-8 replaced.
pub(super) fn plain(path: &str) -> Cow<'_, str> {
    percent_decode_str(path).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_patterns() {
        for (pattern, path, expected) in [
            ("/api", "/v1/api/x", true),
            ("^/api", "/v1/api/x", false),
            (r"\.(jpg|png)$", "/a.jpg", true),
            (r"\.(jpg|png)$", "/a.jpg/b", false),
            ("^/a b$", "/a%20b", true),
            ("^/a%20b$", "/a%20b", false),
            ("^/caf\u{e9}$", "/caf%C3%A9", true),
            ("^/.$", "/%FF", true),
            ("^/%zz$", "/%zz", true),
            ("(?i)^/API$", "/api", true),
            (r"^/(?P<name>\w+)$", "/x", true),
        ] {
            let pattern = PathPattern::parse(pattern).unwrap();
            assert_eq!(pattern.matches(&plain(path)), expected, "{pattern:?} {path}");
        }
        let long = "x".repeat(limits::PATH_PATTERN_BYTES + 1);
        for (pattern, words) in [
            ("[", "not a regular expression: unclosed"),
            ("(?=x)", "look-around"),
            ("(a{99}){99}", "needs more than"),
            (&long, "longer than"),
        ] {
            let problem = PathPattern::parse(pattern).unwrap_err();
            assert!(problem.contains(words) && !problem.contains('\n'), "{problem}");
        }
    }
}
