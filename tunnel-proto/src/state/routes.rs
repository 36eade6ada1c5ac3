//! Which tunnel serves a host name.

use std::{
    borrow::Cow,
    collections::{HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;
use papaya::{Compute, HashMap, Operation};
use smallvec::SmallVec;

use crate::{
    error::{Error, ErrorKind},
    id::TunnelId,
    limits,
    stream::management::is_management,
};

/// Host names, exact (`app.example.com`) or with one leading wildcard label (`*.example.com`).
///
/// A wildcard stands for exactly one label; an exact name wins over it. Names are compared
/// without regard to ASCII case; a trailing dot and a port do not count.
///
/// Readers take no lock and never wait. A change takes microseconds whether there are ten names or a hundred
/// thousand, except for those few that find a map full: they help to copy it, which takes milliseconds,
/// and only their caller waits.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    exact: Names,
    /// Keyed by what follows `*.`.
    wildcard: Names,
}

/// Names and whose they are.
///
/// A name that is taken out keeps its place for a while, for its return. The map itself never uses a place
/// twice: it is copied as a whole once too many near one another are used up, which taking the same name
/// in and out soon does. The hash is seeded at random and not cryptographic: visitors ask for names, but
/// only operators add them.
#[derive(Debug, Default)]
struct Names {
    map: HashMap<Name, Option<TunnelId>, RandomState>,
    /// For those who change names only.
    taken_out: Mutex<TakenOut>,
}

/// Most names lie beside their tunnel's id, so a look-up follows one pointer less.
type Name = SmallVec<[u8; 48]>;

/// Names whose places may be empty, the oldest first, each once.
#[derive(Debug, Default)]
struct TakenOut {
    order: VecDeque<Name>,
    all: HashSet<Name, RandomState>,
}

impl Routes {
    /// Gives a name to a tunnel; whoever had it loses it.
    pub(crate) fn set(&self, name: &str, tunnel: TunnelId) -> Result<(), Error> {
        let name = normal(name);
        let (names, rest) = self.names_of(&name);
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
        names.set(rest, tunnel);
        Ok(())
    }

    /// Takes a name out. Returns whether it was there.
    pub(crate) fn remove(&self, name: &str) -> bool {
        let name = normal(name);
        let (names, rest) = self.names_of(&name);
        names.remove(rest)
    }

    pub(crate) fn find(&self, host: &str) -> Option<TunnelId> {
        let host = normal(host);
        self.exact.find(&host).or_else(|| match host.split_once('.') {
            Some((label, rest)) if !label.is_empty() => self.wildcard.find(rest),
            _ => None,
        })
    }

    /// Where a name belongs, and its key there.
    fn names_of<'a>(&self, name: &'a str) -> (&Names, &'a str) {
        match name.strip_prefix("*.") {
            Some(rest) => (&self.wildcard, rest),
            None => (&self.exact, name),
        }
    }
}

impl Names {
    fn find(&self, name: &str) -> Option<TunnelId> {
        self.map.pin().get(name.as_bytes()).copied().flatten()
    }

    fn set(&self, name: &str, tunnel: TunnelId) {
        self.map.pin().insert(name.as_bytes().into(), Some(tunnel));
    }

    fn remove(&self, name: &str) -> bool {
        let name = Name::from(name.as_bytes());
        let map = self.map.pin();
        let emptied = map.compute(name.clone(), |entry| match entry {
            Some((_, Some(_))) => Operation::Insert(None),
            _ => Operation::Abort(()),
        });
        if !matches!(emptied, Compute::Updated { .. }) {
            return false;
        }
        if let Some(oldest) = self.taken_out().push(name) {
            // It may have come back.
            let _ = map.remove_if(&oldest, |_, tunnel| tunnel.is_none());
        }
        true
    }

    fn taken_out(&self) -> MutexGuard<'_, TakenOut> {
        self.taken_out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TakenOut {
    /// Adds a name, and returns the one that must make room for it.
    fn push(&mut self, name: Name) -> Option<Name> {
        if !self.all.insert(name.clone()) {
            return None;
        }
        self.order.push_back(name);
        if self.all.len() <= limits::EMPTY_ROUTES {
            return None;
        }
        let oldest = self.order.pop_front()?;
        self.all.remove(&oldest);
        Some(oldest)
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
    fn names_that_come_and_go_leave_few_places_behind() {
        let tunnel = TunnelId::from_bytes([1; 16]);
        let routes = Routes::default();
        for number in 0..300 {
            routes.set(&format!("steady-{number}.example.com"), tunnel).unwrap();
        }
        for round in 0..5 * limits::EMPTY_ROUTES {
            // One comes back each time, the others never do.
            for name in [format!("once-{round}.example.com"), "again.example.com".into()] {
                routes.set(&name, tunnel).unwrap();
                assert_eq!(routes.find(&name), Some(tunnel));
                assert!(routes.remove(&name) && !routes.remove(&name));
                assert_eq!(routes.find(&name), None);
            }
            let places = routes.exact.map.len();
            assert!(places <= 300 + limits::EMPTY_ROUTES, "{places} places in round {round}");
        }
        for number in 0..300 {
            assert!(routes.remove(&format!("steady-{number}.example.com")), "{number}");
        }
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
