//! Header names that must not cross a hop, and those that only the edge may state.

use http::{HeaderMap, HeaderName, header};

/// Names that only the tunnel's own ends use, by prefix.
const INTERNAL: [&str; 3] = ["cf-cloudflared-", "cf-int-", "cf-proxy-"];

/// Names that tell the origin who the visitor is, or steer a connector, by prefix.
const OWNED: [&str; 2] = ["cf-", "x-forwarded-"];

/// The same, whole names.
const OWNED_WHOLE: [&str; 4] = ["forwarded", "proxy", "true-client-ip", "x-real-ip"];

/// Hop-by-hop names that `Connection` need not list (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("http2-settings"),
];

/// What frames, routes or authenticates a message and is not hop-by-hop.
const NEVER_TRAILERS: [HeaderName; 9] = [
    header::AUTHORIZATION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::HOST,
    header::SET_COOKIE,
    header::TE,
    header::TRAILER,
];

/// Whether the tunnel's two ends use this name between themselves.
pub(crate) fn is_internal(name: &HeaderName) -> bool {
    INTERNAL.iter().any(|prefix| name.as_str().starts_with(prefix))
}

/// Removes the names that the tunnel's two ends use between themselves.
pub(crate) fn strip_internal(headers: &mut HeaderMap) {
    // Nearly always there is none.
    let internal: Vec<HeaderName> =
        headers.keys().filter(|name| is_internal(name)).cloned().collect();
    for name in internal {
        headers.remove(name);
    }
}

/// Whether a visitor must not state this name, in either spelling.
pub(crate) fn is_owned(name: &HeaderName) -> bool {
    let name = name.as_str().as_bytes();
    let starts = |prefix: &&str| {
        name.get(..prefix.len()).is_some_and(|start| reads_as(start, prefix.as_bytes()))
    };
    OWNED.iter().any(starts) || OWNED_WHOLE.iter().any(|whole| reads_as(name, whole.as_bytes()))
}

/// Whether a name belongs to one connection, or says where a message goes or ends.
pub(crate) fn frames(name: &HeaderName) -> bool {
    let others = [header::TE, header::HOST, header::CONTENT_LENGTH, header::EXPECT];
    HOP_BY_HOP.contains(name) || others.contains(name)
}

/// Removes from trailers what must not come after the content (RFC 9110 section 6.5.1): what frames,
/// routes or authenticates a message, and what a visitor or an origin must not state at all. `stated`
/// are names that the edge stated in the head.
pub(crate) fn strip_trailers(trailers: &mut HeaderMap, stated: &[HeaderName]) {
    let dropped: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| {
            is_owned(name)
                || HOP_BY_HOP.contains(name)
                || NEVER_TRAILERS.contains(name)
                || stated.iter().any(|stated| is_twin(stated, name))
        })
        .cloned()
        .collect();
    for name in dropped {
        trailers.remove(name);
    }
}

/// Whether two names are one to the servers that make one character of all but letters and digits.
pub(crate) fn is_twin(one: &HeaderName, other: &HeaderName) -> bool {
    reads_as(one.as_str().as_bytes(), other.as_str().as_bytes())
}

fn reads_as(one: &[u8], other: &[u8]) -> bool {
    let is_odd = |byte: &u8| !byte.is_ascii_alphanumeric();
    let is_same = |(one, other)| one == other || (is_odd(one) && is_odd(other));
    // Hardly ever as long as each other.
    one.len() == other.len() && one.iter().zip(other).all(is_same)
}

/// Removes what belongs to one connection: the names that `Connection` lists, then the known
/// ones. `TE` survives only as `trailers`.
pub(crate) fn strip(headers: &mut HeaderMap) {
    // Looking at each name costs less than looking up each that could be there, and mostly there is
    // none or `Connection: keep-alive` alone.
    let here: Vec<HeaderName> =
        headers.keys().filter(|name| HOP_BY_HOP.contains(name)).cloned().collect();
    let listed: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.eq_ignore_ascii_case(b"keep-alive"))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        // A peer must not take these away by naming them.
        .filter(|name| !matches!(*name, header::HOST | header::CONTENT_LENGTH | header::TE))
        .collect();
    for name in listed.iter().chain(&here) {
        headers.remove(name);
    }
    if !headers.contains_key(header::TE) {
        return;
    }
    let wants_trailers = headers.get_all(header::TE).iter().any(|te| {
        te.as_bytes()
            .split(|byte| *byte == b',')
            .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    });
    headers.remove(header::TE);
    if wants_trailers {
        headers.insert(header::TE, header::HeaderValue::from_static("trailers"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_names_have_underscore_twins() {
        for name in [
            "cf-access-jwt-assertion",
            "cf_access_jwt_assertion",
            "cf-access_authenticated-user-email",
            "cf-cloudflared-proxy-src",
            "cf-int-x",
            "cf-proxy-x",
            "cf-warp-tag-id",
            "cf-trace-id",
            "cf_connecting_ip",
            "cf-ray",
            "x-forwarded-for",
            "x_forwarded_host",
            "forwarded",
            "proxy",
            "true_client_ip",
            "x-real-ip",
            "cf.connecting.ip",
            "cf!ray",
        ] {
            assert!(is_owned(&HeaderName::from_static(name)), "{name}");
        }
        for name in ["cfx", "x-cf-access-x", "x_y", "x-forward", "proxy-x", "forwarded-x"] {
            assert!(!is_owned(&HeaderName::from_static(name)), "{name}");
        }
    }

    #[test]
    fn trailers_state_nothing_that_heads_must_not() {
        let mut trailers = HeaderMap::new();
        for name in [
            "cf-access-jwt-assertion",
            "cf_connecting_ip",
            "x-forwarded-for",
            "x-real-ip",
            "content-length",
            "transfer-encoding",
            "authorization",
            "set-cookie",
            "host",
            "x_mine",
            "x_his",
            "x-his",
            "grpc-status",
            "grpc-status-details-bin",
            "x-checksum",
        ] {
            trailers.insert(HeaderName::from_static(name), header::HeaderValue::from_static("1"));
        }
        strip_trailers(&mut trailers, &["x-mine", "x_his"].map(HeaderName::from_static));
        let mut left: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["grpc-status", "grpc-status-details-bin", "x-checksum"]);
    }

    #[test]
    fn connection_removes_what_it_lists_but_not_the_message() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "X-Hop, content-length, host"),
            ("connection", "close"),
            ("x-hop", "1"),
            ("content-length", "3"),
            ("host", "a.test"),
            ("te", "gzip, trailers"),
            ("upgrade", "h2c"),
            ("x-keep", "1"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        strip(&mut headers);
        let mut left: Vec<_> =
            headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        left.sort_unstable();
        assert_eq!(
            left,
            [("content-length", "3"), ("host", "a.test"), ("te", "trailers"), ("x-keep", "1")]
        );
    }
}
