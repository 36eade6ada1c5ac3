//! Which hosts a rule is for.

use std::borrow::Cow;

/// A rule's host: one name, all names below one, or every name.
///
/// Compared as names are: without case, without port and without the dot at the end. cloudflared
/// compares bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostPattern {
    Any,
    /// Lower case, as punycode.
    Exact(String),
    /// `.example.com` of `*.example.com`: names with one label more, or several.
    Below(String),
}

impl HostPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what would be right.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text == "*" {
            return Ok(Self::Any);
        }
        if text.contains("://") || text.contains('/') {
            return Err("is a URL; write the host name alone".into());
        }
        let is_address = text.parse::<std::net::Ipv6Addr>().is_ok();
        if text.contains(':') && !is_address {
            return Err("has a port; host names are compared without".into());
        }
        let (stars, name) = match text.strip_prefix('*') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if name.contains('*') {
            return Err("has a `*` inside; one can stand in front, as in `*.example.com`".into());
        }
        if stars && !name.starts_with('.') {
            return Err("matches nothing; write `*.` and a name, as in `*.example.com`".into());
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        let label = name.strip_prefix('.').filter(|_| stars).unwrap_or(name);
        if label.is_empty() || label.split('.').any(str::is_empty) {
            return Err("is not a host name".into());
        }
        let ascii = if label.is_ascii() {
            label.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii(label).map_err(|_| "is not a host name")?
        };
        let odd = |char: char| {
            char.is_ascii_whitespace() || char.is_ascii_control() || "@?#%\\".contains(char)
        };
        if ascii.contains(odd) {
            return Err("is not a host name".into());
        }
        Ok(if stars { Self::Below(format!(".{ascii}")) } else { Self::Exact(ascii) })
    }

    /// Whether a host made plain by [`plain`] is meant.
    pub(super) fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => name == host,
            Self::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }
}

/// A request's host as patterns compare it.
pub(super) fn plain(host: &str) -> Cow<'_, str> {
    let host = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => match host.rsplit_once(':') {
            Some((name, _)) if !name.contains(':') => name,
            _ => host,
        },
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_patterns() {
        for (pattern, host, expected) in [
            ("", "anything.test", true),
            ("*", "", true),
            ("app.example.com", "app.example.com", true),
            ("app.example.com", "APP.Example.com.", true),
            ("App.Example.com.", "app.example.com:8443", true),
            ("app.example.com", "xapp.example.com", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "notexample.com", false),
            ("bücher.example", "xn--bcher-kva.example", true),
            ("*.bücher.example", "a.XN--BCHER-KVA.example", true),
            ("192.0.2.1", "192.0.2.1:80", true),
            ("2001:db8::1", "[2001:db8::1]:80", true),
            ("my_host", "my_host", true),
        ] {
            let pattern = HostPattern::parse(pattern).unwrap();
            assert_eq!(pattern.matches(&plain(host)), expected, "{pattern:?} {host}");
        }
        for (pattern, words) in [
            ("a.test:80", "port"),
            ("a.*.test", "`*` inside"),
            ("**.test", "`*` inside"),
            ("*foo.test", "matches nothing"),
            ("*.", "not a host name"),
            (".", "not a host name"),
            ("a..test", "not a host name"),
            ("https://a.test", "URL"),
            ("a.test/x", "URL"),
            ("a b", "not a host name"),
            ("u@a.test", "not a host name"),
        ] {
            let problem = HostPattern::parse(pattern).unwrap_err();
            assert!(problem.contains(words), "{pattern}: {problem}");
        }
    }
}
