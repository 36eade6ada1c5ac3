//! Which tunnel serves a host name.

use std::collections::HashMap;

use crate::{
    error::{Error, ErrorKind},
    id::TunnelId,
};

/// Host names, exact (`app.example.com`) or with one leading wildcard label (`*.example.com`).
///
/// A wildcard stands for exactly one label; an exact name wins over it. Names are compared
/// without regard to ASCII case; a trailing dot and a port do not count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Routes {
    exact: HashMap<String, TunnelId>,
    /// Keyed by what follows `*.`.
    wildcard: HashMap<String, TunnelId>,
}

impl Routes {
    /// Gives a name to a tunnel; whoever had it loses it.
    pub(crate) fn set(&mut self, name: &str, tunnel: TunnelId) -> Result<(), Error> {
        let name = normal(name);
        let (map, rest) = match name.strip_prefix("*.") {
            Some(rest) => (&mut self.wildcard, rest),
            None => (&mut self.exact, name.as_str()),
        };
        let is_host = !rest.is_empty()
            && rest.len() <= 253
            && rest.split('.').all(|label| {
                (1..=63).contains(&label.len())
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            });
        if !is_host {
            let name = name.escape_debug();
            return Err(ErrorKind::Caller(format!("`{name}` is not a host name to route")).into());
        }
        map.insert(rest.to_owned(), tunnel);
        Ok(())
    }

    /// Takes a name out. Returns whether it was there.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let name = normal(name);
        match name.strip_prefix("*.") {
            Some(rest) => self.wildcard.remove(rest).is_some(),
            None => self.exact.remove(&name).is_some(),
        }
    }

    pub(crate) fn find(&self, host: &str) -> Option<TunnelId> {
        let host = normal(host);
        let wildcard = || match host.split_once('.') {
            Some((label, rest)) if !label.is_empty() => self.wildcard.get(rest),
            _ => None,
        };
        self.exact.get(&host).or_else(wildcard).copied()
    }
}

fn normal(host: &str) -> String {
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_before_wildcard_and_one_label_only() {
        let (one, two) = (TunnelId::from_bytes([1; 16]), TunnelId::from_bytes([2; 16]));
        let mut routes = Routes::default();
        routes.set("App.Example.com", one).unwrap();
        routes.set("*.example.com", two).unwrap();
        for (host, expected) in [
            ("app.example.com", Some(one)),
            ("APP.example.COM.:8443", Some(one)),
            ("other.example.com", Some(two)),
            ("a.b.example.com", None),
            ("example.com", None),
            (".example.com", None),
            ("evil-example.com", None),
            ("", None),
        ] {
            assert_eq!(routes.find(host), expected, "{host}");
        }
        assert!(routes.remove("*.EXAMPLE.com"));
        assert_eq!(routes.find("other.example.com"), None);
    }

    #[test]
    fn what_is_not_a_host_name_is_refused() {
        let mut routes = Routes::default();
        for name in ["", "*", "*.", "*.*.example.com", "a*.example.com", "a b", "a..b", "a/b"] {
            assert!(routes.set(name, TunnelId::from_bytes([0; 16])).is_err(), "{name}");
        }
    }
}
