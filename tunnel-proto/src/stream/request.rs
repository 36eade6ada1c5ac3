//! A visitor's request head on its way down a tunnel.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header, request, uri};

use super::{
    hop,
    kind::{self, StreamKind},
    management, websocket, weight,
};
use crate::error::{Error, ErrorKind};

/// Headers that the edge states to the origin, put into a request's extensions.
///
/// Of the visitor's own headers none passes that names an identity or an origin of the request, or
/// that steers the tunnel: `Cf-*`, `X-Forwarded-*`, `Forwarded`, `X-Real-Ip`, `True-Client-Ip`,
/// `Proxy`, each also with underscores. What stands here is added afterwards and takes the place of
/// any visitor's header of the same name in either spelling. Names of one connection, such as
/// `Connection` and `Transfer-Encoding`, and `Host`, `Content-Length` and `Expect` are an error.
///
/// ```
/// use http::{HeaderMap, Request};
/// use tunnel_proto::edge::EdgeHeaders;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("cf-connecting-ip", "192.0.2.7".parse()?);
/// let request = Request::get("https://app.example.com/").extension(EdgeHeaders(headers)).body(())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct EdgeHeaders(pub HeaderMap);

/// Makes the head that travels: one host, origin-form path, nothing that belongs to the visitor's
/// own connection, nothing the visitor must not state.
///
/// # Errors
///
/// `CONNECT`, a missing or ambiguous host, a host that cloudflared answers itself, a header list that is
/// too long, and anything else that can't be one clear HTTP/2 request is the caller's fault.
pub(crate) fn to_tunnel(mut parts: request::Parts) -> Result<Request<()>, Error> {
    if parts.method == Method::CONNECT {
        return Err(caller("CONNECT can't travel through a tunnel"));
    }
    let authority = authority(&parts)?;
    let path = match parts.uri.path_and_query() {
        Some(path) if path.as_str().starts_with('/') || path == "*" => path.clone(),
        // An absolute target without a path (RFC 9110 section 4.2.3).
        Some(path) if path.as_str().starts_with('?') => format!("/{}", path.as_str())
            .parse()
            .map_err(|error| caller("an unusable target").with_source(error))?,
        _ => uri::PathAndQuery::from_static("/"),
    };
    let scheme = parts.uri.scheme().cloned().unwrap_or(uri::Scheme::HTTPS);

    let edge = parts.extensions.remove::<EdgeHeaders>().unwrap_or_default();
    if let Some(name) = edge.0.keys().find(|name| hop::frames(name)) {
        let what = format!(
            "`EdgeHeaders` state `{name}`, which belongs to one connection or frames the message"
        );
        return Err(ErrorKind::Caller(what).into());
    }
    hop::strip(&mut parts.headers);
    parts.headers.remove(header::HOST);
    // The edge takes the body at once, so the visitor has been told to go on (RFC 9110 section 10.1.1).
    parts.headers.remove(header::EXPECT);
    let mut headers = without_owned(parts.headers, &edge);
    headers.reserve(edge.0.len());
    let mut last = None;
    for (name, value) in edge.0 {
        // A name stands only before the first of its values.
        last = name.or(last);
        if let Some(name) = last.as_ref().filter(|name| !hop::is_internal(name)) {
            headers.append(name, value);
        }
    }
    check_length(&headers)?;
    let target = [path.as_str(), authority.as_str()].map(|part| weight::of(part.as_bytes()));
    weight::check_request(&headers, target.iter().sum())?;

    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
    let mut request = Request::new(());
    *request.method_mut() = parts.method;
    *request.uri_mut() = uri.map_err(|error| caller("an unusable target").with_source(error))?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Names that the edge states and that visitors may state too unless it does, for
/// [`hop::strip_trailers`].
pub(crate) fn stated_names(parts: &request::Parts) -> Vec<HeaderName> {
    let stated = parts.extensions.get::<EdgeHeaders>();
    let names = stated.into_iter().flat_map(|stated| stated.0.keys());
    names.filter(|name| !hop::is_owned(name)).cloned().collect()
}

/// Packs a WebSocket handshake (RFC 6455 section 4.1).
///
/// # Errors
///
/// As [`to_tunnel`]; a request that asks for no WebSocket is the caller's fault too.
pub(crate) fn websocket_to_tunnel(parts: request::Parts) -> Result<Request<()>, Error> {
    websocket::check(&parts)?;
    let mut request = to_tunnel(parts)?;
    request.headers_mut().remove(header::CONTENT_LENGTH);
    websocket::mark(request.headers_mut());
    Ok(request)
}

/// Asks for a TCP flow to an address in the connector's network, on behalf of `source`.
pub(crate) fn tcp(destination: SocketAddr, source: IpAddr) -> Result<Request<()>, Error> {
    let mut request = edge_request(destination.to_string())?;
    let source = HeaderValue::try_from(source.to_string())
        .map_err(|error| caller("an unusable source").with_source(error))?;
    request.headers_mut().insert(kind::TCP_SOURCE, source);
    Ok(request)
}

/// Opens a configuration push.
pub(crate) fn configuration() -> Result<Request<()>, Error> {
    let mut request = edge_request("localhost".into())?;
    let kind = HeaderValue::from_static(StreamKind::CONFIGURATION);
    request.headers_mut().insert(kind::UPGRADE, kind);
    Ok(request)
}

/// A request of the edge's own.
fn edge_request(authority: String) -> Result<Request<()>, Error> {
    let uri = Uri::builder().scheme(uri::Scheme::HTTP).authority(authority).path_and_query("/");
    let mut request = Request::new(());
    *request.uri_mut() =
        uri.build().map_err(|error| caller("an unusable target").with_source(error))?;
    Ok(request)
}

/// Makes of a tunnel's stream what an HTTP/1.1 server would have read: `Host` from `:authority`,
/// one `Cookie`.
pub(crate) fn from_tunnel(parts: &mut request::Parts) {
    parts.headers.remove(kind::UPGRADE);
    parts.headers.remove(header::HOST);
    if let Some(host) = parts.uri.authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok()) {
        parts.headers.insert(header::HOST, host);
    }
    join_cookies(&mut parts.headers);
    parts.version = http::Version::HTTP_11;
}

/// The one host of a request: lower case, no trailing dot, no user information.
fn authority(parts: &request::Parts) -> Result<uri::Authority, Error> {
    let hosts = parts.headers.get_all(header::HOST);
    let authority = match (parts.uri.authority(), hosts.iter().next()) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) if hosts.iter().count() == 1 => {
            host.to_str().map_err(|_| caller("a host that is not ASCII"))?
        }
        (None, Some(_)) => return Err(caller("more than one Host header")),
        (None, None) => return Err(caller("a request without a host")),
    };
    if authority.contains('@') {
        return Err(caller("user information in the host"));
    }
    if let Some((address, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']'))
        && address.parse::<Ipv6Addr>().is_err()
    {
        return Err(caller("a host in brackets that is no IPv6 address"));
    }
    if management::is_management(authority) {
        return Err(caller(
            "the host of cloudflared's management service, which no visitor reaches",
        ));
    }
    let mut normal = authority.to_ascii_lowercase();
    let end = match normal.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host.len(),
        _ => normal.len(),
    };
    if normal[..end].ends_with('.') {
        normal.remove(end - 1);
    }
    uri::Authority::from_maybe_shared(Bytes::from(normal))
        .map_err(|error| caller("an unusable host").with_source(error))
}

fn without_owned(headers: HeaderMap, edge: &EdgeHeaders) -> HeaderMap {
    let is_stated = |name: &HeaderName| edge.0.keys().any(|stated| hop::is_twin(stated, name));
    let drops = |name: &HeaderName| hop::is_owned(name) || is_stated(name);
    if !headers.keys().any(drops) {
        return headers;
    }
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers.iter().filter(|(name, _)| !drops(name)) {
        kept.append(name, value.clone());
    }
    kept
}

/// A body has one length or none (RFC 9110 section 8.6).
fn check_length(headers: &HeaderMap) -> Result<(), Error> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (Some(one), None) if one.as_bytes().iter().all(u8::is_ascii_digit) && !one.is_empty() => {
            Ok(())
        }
        (None, _) => Ok(()),
        _ => Err(caller("a Content-Length that is not one number")),
    }
}

/// HTTP/2 may split cookies into several fields (RFC 9113 section 8.2.3); HTTP/1.1 may not.
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, joined);
    }
}

fn caller(what: &str) -> Error {
    ErrorKind::Caller(what.into()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(uri: &str, headers: &[(&str, &str)]) -> request::Parts {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_host_is_stated_once_and_plainly() {
        for (uri, host, expected) in [
            ("/a?b=1", "App.Example.COM.", "https://app.example.com/a?b=1"),
            ("/", "app.example.com:8443", "https://app.example.com:8443/"),
            ("/", "[::1]:80", "https://[::1]:80/"),
            ("http://a.test/x", "b.test", "http://a.test/x"),
            ("http://a.test?x=1", "a.test", "http://a.test/?x=1"),
        ] {
            let request = to_tunnel(head(uri, &[("host", host)])).unwrap();
            assert_eq!(request.uri().to_string(), expected);
            assert!(!request.headers().contains_key("host"));
        }
        for headers in [
            &[][..],
            &[("host", "a.test"), ("host", "b.test")],
            &[("host", "user@a.test")],
            &[("host", "a/b")],
            &[("host", "[a.test]")],
        ] {
            assert!(to_tunnel(head("/", headers)).unwrap_err().is_caller_fault(), "{headers:?}");
        }
    }

    #[test]
    fn no_spelling_of_a_host_leads_to_cloudflareds_management_service() {
        for host in [
            "management.argotunnel.com",
            "Management.ArgoTunnel.COM",
            "management.argotunnel.com.",
            "management.argotunnel.com:443",
            "management.argotunnel.com.:8443",
            "management.argotunnel.com:",
            "management.fed.argotunnel.com",
            "MANAGEMENT.fed.argotunnel.com.:80",
            "[management.argotunnel.com]",
            "[management.argotunnel.com]:443",
            "[Management.argotunnel.com.]:",
        ] {
            let stated = to_tunnel(head("/logs", &[("host", host)]));
            let absolute =
                to_tunnel(head(&format!("http://{host}/ping"), &[("host", "app.example.com")]));
            for refused in [stated, absolute] {
                assert!(refused.is_err_and(|error| error.is_caller_fault()), "{host}");
            }
        }
        for host in ["my-management.argotunnel.com", "management.argotunnel.com.a.test"] {
            assert!(to_tunnel(head("/", &[("host", host)])).is_ok(), "{host}");
        }
    }

    #[test]
    fn nothing_a_visitor_smuggles_passes() {
        let request = to_tunnel(head(
            "/",
            &[
                ("host", "a.test"),
                ("connection", "cf-connecting-ip, x-hop"),
                ("x-hop", "1"),
                ("cf-cloudflared-proxy-connection-upgrade", "update-configuration"),
                ("cf_cloudflared_proxy_src", "x"),
                ("cf-access-jwt-assertion", "forged"),
                ("cf-access-authenticated-user-email", "root@example.com"),
                ("cf-connecting-ip", "203.0.113.66"),
                ("x-twice", "1"),
                ("x-twice", "2"),
            ],
        ))
        .unwrap();
        let names: Vec<_> = request.headers().iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["x-twice", "x-twice"]);
    }

    #[test]
    fn what_the_edge_states_replaces_what_the_visitor_states() {
        let mut parts = head(
            "/",
            &[
                ("host", "a.test"),
                ("x-forwarded-for", "1.2.3.4"),
                ("x_forwarded_for", "1.2.3.4"),
                ("cf-connecting-ip", "1.2.3.4"),
                ("x-mine", "1"),
                ("x_mine", "2"),
                ("x_user", "3"),
                ("x-user", "4"),
                ("x.user", "5"),
            ],
        );
        let mut edge = HeaderMap::new();
        edge.insert("x-forwarded-for", "192.0.2.7".parse().unwrap());
        edge.insert("cf-connecting-ip", "192.0.2.7".parse().unwrap());
        edge.insert("x-mine", "edge".parse().unwrap());
        edge.insert("x_user", "edge".parse().unwrap());
        edge.insert("cf-cloudflared-proxy-src", "never".parse().unwrap());
        parts.extensions.insert(EdgeHeaders(edge));
        let request = to_tunnel(parts).unwrap();
        assert_eq!(request.headers()["x-forwarded-for"], "192.0.2.7");
        assert_eq!(request.headers()["cf-connecting-ip"], "192.0.2.7");
        assert_eq!(request.headers()["x-mine"], "edge");
        assert_eq!(request.headers()["x_user"], "edge");
        assert_eq!(request.headers().len(), 4);
    }

    #[test]
    fn the_edge_states_nothing_that_frames_the_message() {
        for name in
            ["connection", "transfer-encoding", "te", "upgrade", "host", "content-length", "expect"]
        {
            let mut parts = head("http://a.test/", &[]);
            let mut edge = HeaderMap::new();
            edge.insert(name, "x".parse().unwrap());
            parts.extensions.insert(EdgeHeaders(edge));
            let error = to_tunnel(parts).unwrap_err();
            assert!(error.is_caller_fault(), "{name}");
            assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
        }
    }

    #[test]
    fn a_length_is_one_number() {
        for lengths in [&["5", "6"][..], &["5", "5"], &["+5"], &["5, 5"], &[""], &["0x5"]] {
            let headers: Vec<_> =
                lengths.iter().map(|length| ("content-length", *length)).collect();
            assert!(to_tunnel(head("http://a.test/", &headers)).is_err(), "{lengths:?}");
        }
        assert!(to_tunnel(head("http://a.test/", &[("content-length", "5")])).is_ok());
    }

    #[test]
    fn an_origin_sees_one_host_and_one_cookie() {
        let mut parts = head(
            "https://app.example.com/",
            &[
                ("host", "elsewhere"),
                ("cookie", "a=1"),
                ("cookie", "b=2"),
                ("cf-cloudflared-proxy-connection-upgrade", "websocket"),
            ],
        );
        from_tunnel(&mut parts);
        assert_eq!(parts.headers["host"], "app.example.com");
        assert_eq!(parts.headers["cookie"], "a=1; b=2");
        assert_eq!(parts.headers.len(), 2);
    }
}
