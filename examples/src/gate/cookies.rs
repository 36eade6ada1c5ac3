//! The edge's own cookies. `__Host-` binds them to one host, HTTPS and the path `/`.

use std::{iter, time::Duration};

use http::{HeaderMap, HeaderValue, header};
use memchr::{memchr, memchr_iter, memmem};

/// A person's session: at the team host the org token, at an application's host its app token.
pub(super) const AUTHORIZATION: &str = "__Host-CF_Authorization";

/// Ties a login to the browser that opened the application.
pub(super) const APP_SESSION: &str = "__Host-CF_AppSession";

/// Ties the forms of the team host to the browser that asked for them.
pub(super) const SESSION: &str = "__Host-CF_Session";

/// Ties a code to the browser that asked for it.
pub(super) const FLOW: &str = "__Host-CF_Flow";

/// Remembers that an address has signed in here before: strangers' failures do not lock it out.
pub(super) const DEVICE: &str = "__Host-CF_Device";

/// All of them, which neither reach an origin nor may be set by one.
const OWN: [&str; 5] = [AUTHORIZATION, APP_SESSION, SESSION, FLOW, DEVICE];

/// A `Set-Cookie` value. `Lax`, because the way back from a login is a navigation from elsewhere.
pub(super) fn set(name: &str, value: &str, life: Duration) -> String {
    let seconds = life.as_secs();
    format!("{name}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax")
}

/// A `Set-Cookie` value for a form of ours alone.
pub(super) fn set_strict(name: &str, value: &str, life: Duration) -> String {
    let seconds = life.as_secs();
    format!("{name}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict")
}

/// A `Set-Cookie` value that takes a cookie away.
pub(super) fn clear(name: &str) -> String {
    set(name, "", Duration::ZERO)
}

/// The value of a cookie that is there once. Twice means that somebody planted one.
pub(super) fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(pairs)
        .filter_map(|pair| Some((pair, memchr(b'=', pair)?)))
        .filter(|(pair, end)| &pair[..*end] == name.as_bytes())
        .map(|(pair, end)| &pair[end + 1..]);
    match (values.next(), values.next()) {
        (Some(value), None) => str::from_utf8(value).ok(),
        _ => None,
    }
}

/// Takes the edge's own cookies out of what an origin gets to see.
pub(super) fn hide_from_origin(headers: &mut HeaderMap) {
    let has_own = |value: &HeaderValue| memmem::find(value.as_bytes(), b"__Host-").is_some();
    if !headers.get_all(header::COOKIE).iter().any(has_own) {
        return;
    }
    let is_own = |pair: &&[u8]| {
        let name = &pair[..memchr(b'=', pair).unwrap_or(pair.len())];
        OWN.iter().any(|own| own.as_bytes() == name)
    };
    let kept: Vec<HeaderValue> = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| {
            // A cookie with bytes that are not text can't be told apart safely.
            let is_text = value.as_bytes().is_ascii();
            let kept: Vec<&[u8]> = pairs(value).filter(|pair| is_text && !is_own(pair)).collect();
            let joined = HeaderValue::from_bytes(&kept.join(&b"; "[..]));
            joined.ok().filter(|value| !value.is_empty())
        })
        .collect();
    headers.remove(header::COOKIE);
    for value in kept {
        headers.append(header::COOKIE, value);
    }
}

/// Takes cookies of the edge's names out of what an origin sets.
pub(super) fn keep_origin_from_setting(headers: &mut HeaderMap) {
    let sets_own = |value: &HeaderValue| {
        let name = value.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
        OWN.iter().any(|own| name.trim_ascii().eq_ignore_ascii_case(own.as_bytes()))
    };
    if headers.get_all(header::SET_COOKIE).iter().any(sets_own) {
        let kept: Vec<HeaderValue> = headers
            .get_all(header::SET_COOKIE)
            .iter()
            .filter(|value| !sets_own(value))
            .cloned()
            .collect();
        headers.remove(header::SET_COOKIE);
        for value in kept {
            headers.append(header::SET_COOKIE, value);
        }
    }
}

/// The pairs of one `Cookie` field, without blanks around them. Session cookies are long: `memchr`
/// looks at many bytes at once.
fn pairs(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let bytes = value.as_bytes();
    let starts = iter::once(0).chain(memchr_iter(b';', bytes).map(|at| at + 1));
    let ends = memchr_iter(b';', bytes).chain(iter::once(bytes.len()));
    let pairs = starts.zip(ends).map(|(start, end)| bytes[start..end].trim_ascii());
    pairs.filter(|pair| !pair.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &header::HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_cookie_that_is_there_twice_is_not_there() {
        let once = headers(&header::COOKIE, &["a=1; __Host-CF_Session=x", "b=2"]);
        assert_eq!(find(&once, SESSION), Some("x"));
        let twice = headers(&header::COOKIE, &["__Host-CF_Session=x", "__Host-CF_Session=x"]);
        assert_eq!(find(&twice, SESSION), None);
        assert_eq!(find(&once, "__host-cf_session"), None);
    }

    #[test]
    fn origins_neither_see_nor_set_ours() {
        let mut seen = headers(&header::COOKIE, &["a=1; __Host-CF_Authorization=t; b=2"]);
        hide_from_origin(&mut seen);
        assert_eq!(seen["cookie"], "a=1; b=2");
        let mut only = headers(&header::COOKIE, &["__Host-CF_Authorization=t"]);
        hide_from_origin(&mut only);
        assert!(only.is_empty());
        let mut set = headers(&header::SET_COOKIE, &["a=1", " __host-CF_Authorization =t; Path=/"]);
        keep_origin_from_setting(&mut set);
        assert_eq!(set.len(), 1);
    }
}
