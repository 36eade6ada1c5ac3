//! Which tunnel serves a host name.

use std::borrow::Cow;

use papaya::HashMap;
use smallvec::SmallVec;

use crate::{
    error::{Error, ErrorKind},
    id::TunnelId,
    stream::management::is_management,
};

/// Host names, exact (`app.example.com`) or with one leading wildcard label (`*.example.com`).
///
/// A wildcard stands for exactly one label; an exact name wins over it. Names are compared
/// without regard to ASCII case; a trailing dot and a port do not count.
///
/// Readers take no lock. A change costs the same whether there are ten names or a million: the
/// maps grow bit by bit, and nothing is copied as a whole.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    exact: Names,
    /// Keyed by what follows `*.`.
    wildcard: Names,
}

/// Most names lie beside their tunnel's id, so a look-up follows one pointer less. The hash is seeded
/// at random and not cryptographic: visitors ask for names, but only operators add them.
type Names = HashMap<SmallVec<[u8; 48]>, TunnelId, foldhash::fast::RandomState>;

impl Routes {
    /// Gives a name to a tunnel; whoever had it loses it.
    pub(crate) fn set(&self, name: &str, tunnel: TunnelId) -> Result<(), Error> {
        let name = normal(name);
        let (map, rest) = self.map_of(&name);
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
        if is_management(&name) {
            let what = format!("`{name}` is cloudflared's own: no visitor may reach it");
            return Err(ErrorKind::Caller(what).into());
        }
        map.pin().insert(rest.as_bytes().into(), tunnel);
        Ok(())
    }

    /// Takes a name out. Returns whether it was there.
    pub(crate) fn remove(&self, name: &str) -> bool {
        let name = normal(name);
        let (map, rest) = self.map_of(&name);
        map.pin().remove(rest.as_bytes()).is_some()
    }

    pub(crate) fn find(&self, host: &str) -> Option<TunnelId> {
        let host = normal(host);
        if let Some(tunnel) = self.exact.pin().get(host.as_bytes()) {
            return Some(*tunnel);
        }
        match host.split_once('.') {
            Some((label, rest)) if !label.is_empty() => {
                self.wildcard.pin().get(rest.as_bytes()).copied()
            }
            _ => None,
        }
    }

    /// Where a name belongs, and its key there.
    fn map_of<'a>(&self, name: &'a str) -> (&Names, &'a str) {
        match name.strip_prefix("*.") {
            Some(rest) => (&self.wildcard, rest),
            None => (&self.exact, name),
        }
    }
}

/// Lower case, without port and trailing dot. Most names come that way.
fn normal(host: &str) -> Cow<'_, str> {
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
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
    fn exact_before_wildcard_and_one_label_only() {
        let (one, two) = (TunnelId::from_bytes([1; 16]), TunnelId::from_bytes([2; 16]));
        let routes = Routes::default();
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
    fn names_stay_where_they_are_while_thousands_come_and_go() {
        let (one, two) = (TunnelId::from_bytes([1; 16]), TunnelId::from_bytes([2; 16]));
        let routes = Routes::default();
        routes.set("steady.example.com", one).unwrap();
        let is_done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut looks = 0;
                while !is_done.load(std::sync::atomic::Ordering::Acquire) {
                    assert_eq!(routes.find("steady.example.com"), Some(one));
                    looks += 1;
                }
                looks
            });
            for number in 0..20_000 {
                let name = format!("app-{number}.example.com");
                routes.set(&name, two).unwrap();
                assert_eq!(routes.find(&name), Some(two), "a change shows at once");
                assert!(number % 2 == 0 || routes.remove(&name));
            }
            is_done.store(true, std::sync::atomic::Ordering::Release);
            assert!(reader.join().unwrap() > 0);
        });
        assert_eq!(routes.find("app-2.example.com"), Some(two));
        assert_eq!(routes.find("app-3.example.com"), None);
    }

    #[test]
    fn what_is_not_a_host_name_is_refused() {
        let routes = Routes::default();
        for name in [
            "",
            "*",
            "*.",
            "*.*.example.com",
            "a*.example.com",
            "a b",
            "a..b",
            "a/b",
            "management.argotunnel.com",
            "Management.FED.argotunnel.com.",
        ] {
            assert!(routes.set(name, TunnelId::from_bytes([0; 16])).is_err(), "{name}");
        }
    }
}
