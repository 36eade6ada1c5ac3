//! How an exchange travels between two nodes. Pure functions over `http` types.
//!
//! A request is an ordinary HTTP/2 request whose head the first node has made as it would for a
//! connector: nothing is left in it that a visitor must not state, and what the edge states is added.
//! Three names of the tunnel's own prefix `cf-int-`, which no visitor, edge program or origin can
//! bring this far, carry what else there is to say.

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, request, response};

use crate::{
    error::{Error, ErrorKind},
    id::TunnelId,
    stream::{
        hop,
        request::{self as stream_request, EdgeHeaders},
        response::{OriginFailure, ResponseSource},
    },
};

/// The protocol's name in ALPN. Its number changes when two versions could not talk.
pub(super) const ALPN: &[u8] = b"sekimori-node/1";

/// On a request: the tunnel.
const TUNNEL: HeaderName = HeaderName::from_static("cf-int-node-tunnel");

/// On a request: which hop between nodes this is. Only the first is ever made.
const HOP: HeaderName = HeaderName::from_static("cf-int-node-hop");

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
}

impl Refusal {
    const ALL: [(Self, &str); 5] = [
        (Self::Offline, "offline"),
        (Self::Busy, "busy"),
        (Self::Unclear, "unclear"),
        (Self::Broken, "broken"),
        (Self::Peer, "peer"),
    ];

    /// What an error of the tunnel means to the node that asked.
    pub(super) fn of(error: &Error) -> Self {
        if error.is_offline() {
            Self::Offline
        } else if error.is_busy() {
            Self::Busy
        } else if error.is_caller_fault() {
            Self::Unclear
        } else if error.is_peer_fault() {
            Self::Peer
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
    let mut request = stream_request::to_tunnel(parts)?;
    let headers = request.headers_mut();
    if let Ok(tunnel) = HeaderValue::from_str(&tunnel.to_string()) {
        headers.insert(TUNNEL, tunnel);
    }
    headers.insert(HOP, HeaderValue::from_static("1"));
    Ok(request)
}

/// Makes of such a head what can be sent down a tunnel of this node. All its headers have passed
/// the first node and are stated anew as they are.
///
/// # Errors
///
/// A head without tunnel, or from any but the first hop.
pub(super) fn open_request(head: Request<()>) -> Result<(TunnelId, Request<()>), Refusal> {
    let (mut parts, ()) = head.into_parts();
    let tunnel = parts.headers.get(TUNNEL).and_then(|id| id.to_str().ok()?.parse().ok());
    let is_first = parts.headers.get(HOP).is_some_and(|hop| hop == "1");
    let Some(tunnel) = tunnel.filter(|_| is_first) else {
        return Err(Refusal::Unclear);
    };
    remove_internal(&mut parts.headers);
    let mut request = Request::new(());
    *request.method_mut() = parts.method;
    *request.uri_mut() = parts.uri;
    request.extensions_mut().insert(EdgeHeaders(parts.headers));
    Ok((tunnel, request))
}

/// Makes the head that travels back.
pub(super) fn response(mut parts: response::Parts) -> Response<()> {
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
    *head.headers_mut() = parts.headers;
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
    remove_internal(&mut headers);
    let mut response = Response::new(());
    *response.status_mut() = parts.status;
    *response.headers_mut() = headers;
    response.extensions_mut().insert(source);
    Ok(response)
}

fn remove_internal(headers: &mut HeaderMap) {
    let internal: Vec<_> = headers.keys().filter(|name| hop::is_internal(name)).cloned().collect();
    for name in internal {
        headers.remove(name);
    }
}

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
        let (id, request) = open_request(head).unwrap();
        assert_eq!(id, tunnel());
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
            let travelling = response(given.into_parts().0);
            let got = open_response(travelling.into_parts().0).unwrap();
            assert_eq!(got.status(), 404);
            assert_eq!(got.extensions().get(), Some(&source));
            assert_eq!(got.headers().len(), 2);
        }
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
