//! How an exchange travels between two nodes. Pure functions over `http` types.
//!
//! A request is an ordinary HTTP/2 request whose head the first node has made as it would for a
//! connector: nothing is left in it that a visitor must not state, and what the edge states is added.
//! A few names of the tunnel's own prefix `cf-int-`, which no visitor, edge program or origin can
//! bring this far, carry what else there is to say.

use std::net::{IpAddr, SocketAddr};

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header, request, response,
};

use crate::{
    error::{Error, ErrorKind},
    id::TunnelId,
    stream::{
        hop,
        request::{self as stream_request, EdgeHeaders},
        response::{OriginFailure, ResponseSource},
        websocket, weight,
    },
};

/// The protocol's name in ALPN. Its number changes when two versions could not talk.
pub(super) const ALPN: &[u8] = b"sekimori-node/1";

/// On a request: the tunnel.
const TUNNEL: HeaderName = HeaderName::from_static("cf-int-node-tunnel");

/// On a request: which hop between nodes this is. Only the first is ever made.
const HOP: HeaderName = HeaderName::from_static("cf-int-node-hop");

/// On a request for a stream of bytes, and on the answer that opens it: `websocket` or `tcp`.
const STREAM: HeaderName = HeaderName::from_static("cf-int-node-stream");

/// On a request for a TCP flow: the visitor's address.
const VISITOR: HeaderName = HeaderName::from_static("cf-int-node-visitor");

/// On a response: `origin`, or the connector's reason in JSON.
const SOURCE: HeaderName = HeaderName::from_static("cf-int-node-source");

/// On a response that no connector gave: why.
const REFUSAL: HeaderName = HeaderName::from_static("cf-int-node-refusal");

/// Why the other node has no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It holds no connection of the tunnel.
    Offline,
    /// All its connections are full.
    Busy,
    /// The request can't travel, or did not come over one hop.
    Unclear,
    /// The connection to the connector broke after the request had been sent.
    Broken,
    /// The connector broke the protocol.
    Peer,
    /// The connector can't reach the address of a TCP flow, or must not.
    Unreachable,
}

/// What a node asks of another.
#[derive(Debug)]
pub(super) enum Asked {
    Http(Request<()>),
    WebSocket(Request<()>),
    Tcp { destination: SocketAddr, source: IpAddr },
}

impl Refusal {
    const ALL: [(Self, &str); 6] = [
        (Self::Offline, "offline"),
        (Self::Busy, "busy"),
        (Self::Unclear, "unclear"),
        (Self::Broken, "broken"),
        (Self::Peer, "peer"),
        (Self::Unreachable, "unreachable"),
    ];

    /// What an error of the tunnel means to the node that asked.
    pub(super) fn of(error: &Error) -> Self {
        if error.is_offline() {
            Self::Offline
        } else if error.is_busy() || error.is_untouched() {
            Self::Busy
        } else if error.is_caller_fault() {
            Self::Unclear
        } else if error.is_peer_fault() {
            Self::Peer
        } else if error.is_unreachable() {
            Self::Unreachable
        } else {
            Self::Broken
        }
    }

    /// Whether no connector has seen anything of the request.
    pub(super) fn is_unsent(self) -> bool {
        matches!(self, Self::Offline | Self::Busy | Self::Unclear)
    }

    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Offline => ErrorKind::Offline,
            Self::Busy => ErrorKind::Busy,
            Self::Unclear => ErrorKind::Peer("the other edge node could not read a request".into()),
            Self::Broken => {
                ErrorKind::Network("the tunnel broke behind the other edge node".into())
            }
            Self::Peer => ErrorKind::Peer("an unreadable answer at the other edge node".into()),
            Self::Unreachable => {
                ErrorKind::Unreachable("the connector can't reach the address of the flow".into())
            }
        }
        .into()
    }
}

/// Makes the head that travels to the other node.
///
/// # Errors
///
/// As for a connector: a request that can't travel is the caller's fault.
pub(super) fn request(tunnel: TunnelId, parts: request::Parts) -> Result<Request<()>, Error> {
    // Leaves nothing that begins with `cf-`, so the marks below are ours alone.
    Ok(marked(tunnel, stream_request::to_tunnel(parts)?))
}

/// The same for a WebSocket's handshake.
///
/// # Errors
///
/// As [`request`]; a request that asks for no WebSocket is the caller's fault too.
pub(super) fn websocket(tunnel: TunnelId, parts: request::Parts) -> Result<Request<()>, Error> {
    websocket::check(&parts)?;
    let mut request = request(tunnel, parts)?;
    request.headers_mut().remove(header::CONTENT_LENGTH);
    request.headers_mut().insert(STREAM, WEBSOCKET);
    Ok(request)
}

/// The same for a TCP flow.
pub(super) fn tcp(
    tunnel: TunnelId,
    destination: SocketAddr,
    source: IpAddr,
) -> Result<Request<()>, Error> {
    let mut request = marked(tunnel, stream_request::tcp(destination, source)?);
    request.headers_mut().insert(STREAM, TCP);
    if let Ok(source) = HeaderValue::from_str(&source.to_string()) {
        request.headers_mut().insert(VISITOR, source);
    }
    Ok(request)
}

fn marked(tunnel: TunnelId, mut request: Request<()>) -> Request<()> {
    remove_internal(request.headers_mut());
    if let Ok(tunnel) = HeaderValue::from_str(&tunnel.to_string()) {
        request.headers_mut().insert(TUNNEL, tunnel);
    }
    request.headers_mut().insert(HOP, HeaderValue::from_static("1"));
    request
}

/// Makes of such a head what can be asked of a tunnel of this node. All its headers have passed
/// the first node and are stated anew as they are.
///
/// # Errors
///
/// A head without tunnel, of an unknown kind, or from any but the first hop.
pub(super) fn open_request(head: Request<()>) -> Result<(TunnelId, Asked), Refusal> {
    let (mut parts, ()) = head.into_parts();
    let tunnel = parts.headers.get(TUNNEL).and_then(|id| id.to_str().ok()?.parse().ok());
    let is_first = parts.headers.get(HOP).is_some_and(|hop| hop == "1");
    let Some(tunnel) = tunnel.filter(|_| is_first) else {
        return Err(Refusal::Unclear);
    };
    let stream = parts.headers.get(STREAM).cloned();
    let visitor = parts.headers.get(VISITOR).and_then(|source| source.to_str().ok()?.parse().ok());
    remove_internal(&mut parts.headers);
    let asked = match stream {
        None => Asked::Http(stated(parts)),
        Some(stream) if stream == WEBSOCKET => {
            let key = parts.headers.get(header::SEC_WEBSOCKET_KEY).cloned();
            let mut request = stated(parts);
            // The handshake as a visitor makes it; what is stated besides takes its place again.
            websocket::restore(request.headers_mut());
            request.headers_mut().extend(key.map(|key| (header::SEC_WEBSOCKET_KEY, key)));
            Asked::WebSocket(request)
        }
        Some(stream) if stream == TCP => {
            let destination = parts.uri.authority().and_then(|it| it.as_str().parse().ok());
            let (Some(destination), Some(source)) = (destination, visitor) else {
                return Err(Refusal::Unclear);
            };
            Asked::Tcp { destination, source }
        }
        Some(_) => return Err(Refusal::Unclear),
    };
    Ok((tunnel, asked))
}

/// The other node has checked what it passes on, so all of it is stated, but for what frames the message.
fn stated(mut parts: request::Parts) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = parts.method;
    *request.uri_mut() = parts.uri;
    let framing: Vec<_> = parts.headers.keys().filter(|name| hop::frames(name)).cloned().collect();
    for name in framing {
        if let Some(value) = parts.headers.remove(&name) {
            request.headers_mut().insert(name, value);
        }
    }
    request.extensions_mut().insert(EdgeHeaders(parts.headers));
    request
}

/// Makes the head that travels back.
///
/// # Errors
///
/// More headers than a node takes are the origin's fault.
pub(super) fn response(mut parts: response::Parts) -> Result<Response<()>, Error> {
    let source = match parts.extensions.get::<ResponseSource>() {
        Some(ResponseSource::Connector(failure)) => {
            let failure = serde_json::to_string(failure).unwrap_or_default();
            HeaderValue::from_maybe_shared(bytes::Bytes::from(failure))
                .unwrap_or_else(|_| HeaderValue::from_static("null"))
        }
        _ => HeaderValue::from_static("origin"),
    };
    hop::strip(&mut parts.headers);
    remove_internal(&mut parts.headers);
    parts.headers.insert(SOURCE, source);
    let mut head = Response::new(());
    *head.status_mut() = parts.status;
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        // HTTP/2 has no `101` (RFC 9113 section 8.6).
        *head.status_mut() = StatusCode::OK;
        parts.headers.insert(STREAM, WEBSOCKET);
    }
    *head.headers_mut() = parts.headers;
    weight::check_response(head.headers())?;
    Ok(head)
}

/// The answer that opens a TCP flow.
pub(super) fn flow() -> Response<()> {
    let mut head = Response::new(());
    head.headers_mut().insert(SOURCE, HeaderValue::from_static("origin"));
    head.headers_mut().insert(STREAM, TCP);
    head
}

/// The answer without a response.
pub(super) fn refusal(refusal: Refusal) -> Response<()> {
    let name =
        Refusal::ALL.iter().find(|(known, _)| *known == refusal).map_or("", |(_, name)| name);
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    head.headers_mut().insert(REFUSAL, HeaderValue::from_static(name));
    head
}

/// Reads what the other node answered.
///
/// # Errors
///
/// Its refusal. An answer that is neither response nor refusal counts as a request that may have
/// been sent.
pub(super) fn open_response(parts: response::Parts) -> Result<Response<()>, Refusal> {
    if let Some(why) = parts.headers.get(REFUSAL) {
        let known = Refusal::ALL.iter().find(|(_, name)| why == name);
        return Err(known.map_or(Refusal::Broken, |(refusal, _)| *refusal));
    }
    let source = match parts.headers.get(SOURCE).map(HeaderValue::as_bytes) {
        Some(b"origin") => ResponseSource::Origin,
        Some(failure) => ResponseSource::Connector(
            serde_json::from_slice(failure).unwrap_or(OriginFailure::Unknown),
        ),
        // The other node's HTTP/2 library itself turned the request down, with 400 or 431.
        None if parts.status.is_client_error() => ResponseSource::Connector(OriginFailure::Unknown),
        None => return Err(Refusal::Broken),
    };
    let mut headers = parts.headers;
    let is_switched = headers.get(STREAM).is_some_and(|stream| stream == WEBSOCKET);
    remove_internal(&mut headers);
    let mut response = Response::new(());
    *response.status_mut() = parts.status;
    if is_switched {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        websocket::switch(&mut headers);
    }
    *response.headers_mut() = headers;
    response.extensions_mut().insert(source);
    Ok(response)
}

/// Whether an answer opens a stream of bytes.
pub(super) fn is_stream(headers: &HeaderMap) -> bool {
    headers.contains_key(STREAM)
}

fn remove_internal(headers: &mut HeaderMap) {
    let internal: Vec<_> = headers.keys().filter(|name| hop::is_internal(name)).cloned().collect();
    for name in internal {
        headers.remove(name);
    }
}

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const TCP: HeaderValue = HeaderValue::from_static("tcp");

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnel() -> TunnelId {
        TunnelId::from_bytes([7; 16])
    }

    #[test]
    fn a_visitor_steers_nothing_and_the_edge_says_who_it_is() {
        let mut stated = HeaderMap::new();
        stated.insert("cf-access-jwt-assertion", HeaderValue::from_static("ours"));
        stated.insert("x-mine", HeaderValue::from_static("ours"));
        stated.insert("cf-int-node-hop", HeaderValue::from_static("0"));
        let parts = Request::post("https://a.test/x?y=1")
            .header("cf-int-node-tunnel", "99999999-9999-9999-9999-999999999999")
            .header("cf_int_node_hop", "5")
            .header("cf-access-jwt-assertion", "forged")
            .header("x-mine", "forged")
            .header("x-own", "1")
            .header("content-length", "3")
            .header("te", "trailers")
            .extension(EdgeHeaders(stated))
            .body(())
            .unwrap()
            .into_parts()
            .0;
        let head = request(tunnel(), parts).unwrap();
        let (id, asked) = open_request(head).unwrap();
        assert_eq!(id, tunnel());
        let Asked::Http(request) = asked else { panic!("{asked:?}") };
        // As the second node's own tunnel makes it.
        let sent = stream_request::to_tunnel(request.into_parts().0).unwrap();
        assert_eq!(sent.uri(), "https://a.test/x?y=1");
        assert_eq!(sent.method(), "POST");
        let mut headers: Vec<_> =
            sent.headers().iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        headers.sort_unstable();
        assert_eq!(
            headers,
            [
                ("cf-access-jwt-assertion", "ours"),
                ("content-length", "3"),
                ("te", "trailers"),
                ("x-mine", "ours"),
                ("x-own", "1"),
            ]
        );
    }

    #[test]
    fn only_the_first_hop_is_taken() {
        let head = |hop: &str, tunnel: &str| {
            let request = Request::get("https://a.test/");
            request.header(HOP, hop).header(TUNNEL, tunnel).body(()).unwrap()
        };
        let id = tunnel().to_string();
        assert!(open_request(head("1", &id)).is_ok());
        for (hop, tunnel) in [("2", &*id), ("0", &id), ("", &id), ("1", "x"), ("1", "")] {
            assert_eq!(open_request(head(hop, tunnel)).unwrap_err(), Refusal::Unclear);
        }
        let bare = Request::get("https://a.test/").body(()).unwrap();
        assert_eq!(open_request(bare).unwrap_err(), Refusal::Unclear);
    }

    #[test]
    fn a_response_says_who_made_it_and_an_origin_cannot_say_otherwise() {
        for source in [
            ResponseSource::Origin,
            ResponseSource::Connector(OriginFailure::TimedOut),
            ResponseSource::Connector(OriginFailure::Unknown),
        ] {
            let given = Response::builder()
                .status(404)
                .header("cf-int-node-refusal", "offline")
                .header("cf-int-node-source", "origin")
                .header("set-cookie", "a=1")
                .header("set-cookie", "b=2")
                .extension(source)
                .body(())
                .unwrap();
            let travelling = response(given.into_parts().0).unwrap();
            let got = open_response(travelling.into_parts().0).unwrap();
            assert_eq!(got.status(), 404);
            assert_eq!(got.extensions().get(), Some(&source));
            assert_eq!(got.headers().len(), 2);
        }
    }

    #[test]
    fn a_flow_and_a_handshake_arrive_as_they_were() {
        let (destination, source) = ("[fd00::5]:22".parse().unwrap(), "192.0.2.7".parse().unwrap());
        let (_, asked) = open_request(tcp(tunnel(), destination, source).unwrap()).unwrap();
        let Asked::Tcp { destination: to, source: from } = asked else { panic!("{asked:?}") };
        assert_eq!((to, from), (destination, source));

        let handshake = Request::get("https://a.test/socket")
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-protocol", "chat");
        let parts = handshake.body(()).unwrap().into_parts().0;
        let (_, asked) = open_request(websocket(tunnel(), parts).unwrap()).unwrap();
        let Asked::WebSocket(request) = asked else { panic!("{asked:?}") };
        let sent = stream_request::websocket_to_tunnel(request.into_parts().0).unwrap();
        assert_eq!(sent.headers()["sec-websocket-protocol"], "chat");
        assert_eq!(sent.headers().get_all("sec-websocket-key").iter().count(), 1);
        assert_eq!(sent.headers().get_all("sec-websocket-version").iter().count(), 1);

        let plain = Request::get("https://a.test/").body(()).unwrap().into_parts().0;
        assert!(websocket(tunnel(), plain).unwrap_err().is_caller_fault());
    }

    #[test]
    fn refusals_arrive_as_they_are() {
        for (given, _) in Refusal::ALL {
            assert_eq!(open_response(refusal(given).into_parts().0).unwrap_err(), given);
        }
        let unmarked = Response::new(()).into_parts().0;
        assert_eq!(open_response(unmarked).unwrap_err(), Refusal::Broken);
    }
}
