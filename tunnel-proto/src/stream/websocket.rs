//! A WebSocket handshake on its way through a tunnel.
//!
//! HTTP/2 has no `Upgrade`, so the edge marks the request and leaves the handshake's hop-by-hop
//! headers out; the connector puts them back. The answer `101` travels as `200`
//! (cloudflared, connection/http2.go and websocket/websocket.go).

use http::{HeaderMap, HeaderName, HeaderValue, Method, header, request};

use super::kind::{self, StreamKind};
use crate::error::{Error, ErrorKind};

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Whether a visitor's HTTP/1.1 request asks for a WebSocket (RFC 6455 section 4.2.1).
pub(crate) fn is_asked_for(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::GET
        && lists(headers, header::CONNECTION, "upgrade")
        && lists(headers, header::UPGRADE, "websocket")
        && headers.contains_key(header::SEC_WEBSOCKET_KEY)
}

/// Checks a request before its hop-by-hop headers are taken away.
///
/// # Errors
///
/// A request that asks for no WebSocket is the caller's fault.
pub(crate) fn check(parts: &request::Parts) -> Result<(), Error> {
    if is_asked_for(&parts.method, &parts.headers) {
        return Ok(());
    }
    Err(ErrorKind::Caller("a request that does not ask for a WebSocket".into()).into())
}

/// Marks a request for the connector. Visitors can't: the name is taken from them.
pub(crate) fn mark(headers: &mut HeaderMap) {
    headers.insert(kind::UPGRADE, HeaderValue::from_static(StreamKind::WEBSOCKET));
}

/// Puts back what an HTTP/1.1 server reads in a handshake.
pub(crate) fn restore(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, WEBSOCKET);
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
}

/// Whether an origin's answer, unpacked, agrees to the upgrade.
pub(crate) fn is_accepted(headers: &HeaderMap) -> bool {
    headers.contains_key(header::SEC_WEBSOCKET_ACCEPT)
}

/// Completes the visitor's `101` (RFC 6455 section 4.2.2).
pub(crate) fn switch(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, WEBSOCKET);
    // A `101` has no body (RFC 9110 section 8.6).
    headers.remove(header::CONTENT_LENGTH);
}

fn lists(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_handshake_is_recognised_whatever_its_spelling() {
        let asks = |method: &str, headers: &[(&str, &str)]| {
            let mut request = Request::builder().method(method);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            check(&request.body(()).unwrap().into_parts().0).is_ok()
        };
        let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let upgrade = ("upgrade", "websocket");
        assert!(asks("GET", &[("connection", "Upgrade"), upgrade, key]));
        assert!(asks(
            "GET",
            &[("connection", "keep-alive, UPGRADE"), ("upgrade", "WebSocket"), key]
        ));
        for (method, headers) in [
            ("POST", &[("connection", "Upgrade"), upgrade, key][..]),
            ("GET", &[("connection", "close"), upgrade, key]),
            ("GET", &[("connection", "Upgrade"), ("upgrade", "h2c"), key]),
            ("GET", &[("connection", "Upgrade"), upgrade]),
            ("GET", &[upgrade, key]),
        ] {
            assert!(!asks(method, headers), "{method} {headers:?}");
        }
    }
}
