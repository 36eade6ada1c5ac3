//! A response head on its way back up a tunnel.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, response};
use serde::{Deserialize, Serialize};

use super::{header_list, hop, websocket, weight};
use crate::error::{Error, ErrorKind};

const HEADERS: HeaderName = HeaderName::from_static("cf-cloudflared-response-headers");
const META: HeaderName = HeaderName::from_static("cf-cloudflared-response-meta");

/// Who made a response, found in the extensions of what a tunnel returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseSource {
    /// The origin. Status, headers and body are its own.
    Origin,
    /// The connector, because it could not get an answer from the origin. The body is empty.
    Connector(OriginFailure),
}

/// Why a connector answered in its origin's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OriginFailure {
    /// Nothing listens at the origin's address, or its name does not resolve.
    Unreachable,
    /// The origin took too long.
    TimedOut,
    /// The origin broke off, or did not speak HTTP.
    BrokeOff,
    /// cloudflared does not say why; our connector gives this for all else.
    #[default]
    #[serde(other)]
    Unknown,
}

/// What [`META`] says of nearly every response, in these very bytes.
const FROM_ORIGIN: &str = r#"{"src":"origin"}"#;

#[derive(Serialize, Deserialize)]
struct Meta {
    src: Cow<'static, str>,
    /// A TCP flow was refused because there are too many.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    flow_rate_limited: bool,
    /// Ours. cloudflared neither writes nor reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<OriginFailure>,
}

/// Packs an origin's response. `101` is told as `200`, as the protocol has it.
///
/// # Errors
///
/// More headers than an edge takes are the origin's fault.
pub(crate) fn to_tunnel(parts: response::Parts) -> Result<Response<()>, Error> {
    let head = pack(parts);
    weight::check_response(head.headers())?;
    Ok(head)
}

fn pack(mut parts: response::Parts) -> Response<()> {
    let is_upgrade = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    if !is_upgrade {
        hop::strip(&mut parts.headers);
    }
    let length = parts.headers.get(header::CONTENT_LENGTH).cloned();
    hop::strip_internal(&mut parts.headers);
    let mut headers = HeaderMap::with_capacity(3);
    headers.insert(META, HeaderValue::from_static(FROM_ORIGIN));
    headers.insert(HEADERS, base64_value(header_list::serialize(&parts.headers)));
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, length);
    }
    let mut head = Response::new(());
    *head.status_mut() = if is_upgrade { StatusCode::OK } else { parts.status };
    *head.headers_mut() = headers;
    head
}

/// Packs an interim response (RFC 9110 section 15.2); nothing if it is too long, because one may do
/// without it. cloudflared never sends one.
pub(crate) fn interim_to_tunnel(
    status: StatusCode,
    mut headers: HeaderMap,
) -> Option<Response<()>> {
    hop::strip(&mut headers);
    hop::strip_internal(&mut headers);
    let mut head = Response::new(());
    *head.status_mut() = status;
    head.headers_mut().insert(HEADERS, base64_value(header_list::serialize(&headers)));
    weight::check_response(head.headers()).is_ok().then_some(head)
}

/// Unpacks an interim response; nothing if a visitor has no use for it. `100` and `101` are a
/// matter of each connection.
pub(crate) fn interim_from_tunnel(parts: &response::Parts) -> Option<Response<()>> {
    if matches!(parts.status, StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS) {
        return None;
    }
    let mut response = Response::new(());
    *response.status_mut() = parts.status;
    if let Some(list) = parts.headers.get(HEADERS) {
        let mut headers = header_list::parse(list.as_bytes()).ok()?;
        hop::strip(&mut headers);
        hop::strip_internal(&mut headers);
        *response.headers_mut() = headers;
    }
    Some(response)
}

/// An open TCP flow.
pub(crate) fn flow_opened() -> Response<()> {
    pack(Response::new(()).into_parts().0)
}

/// Too many TCP flows: the edge may try another connector.
pub(crate) fn flow_limited() -> Response<()> {
    let meta = Meta { src: "cloudflared".into(), flow_rate_limited: true, failure: None };
    failed(&meta)
}

/// Whether a connector refused a flow because it carries too many.
pub(crate) fn is_flow_limited(parts: &response::Parts) -> bool {
    let meta = parts.headers.get(META).map(|meta| serde_json::from_slice::<Meta>(meta.as_bytes()));
    matches!(meta, Some(Ok(Meta { flow_rate_limited: true, .. })))
}

/// Unpacks the answer to a WebSocket handshake: `101` if the origin agreed.
///
/// # Errors
///
/// As [`from_tunnel`].
pub(crate) fn websocket_from_tunnel(parts: &response::Parts) -> Result<Response<()>, Error> {
    let mut response = from_tunnel(parts)?;
    if response.status() == StatusCode::OK && websocket::is_accepted(response.headers()) {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        websocket::switch(response.headers_mut());
    }
    Ok(response)
}

/// The answer of a connector that got none from its origin.
pub(crate) fn failure(failure: OriginFailure) -> Response<()> {
    failed(&Meta { src: "cloudflared".into(), flow_rate_limited: false, failure: Some(failure) })
}

fn failed(meta: &Meta) -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::BAD_GATEWAY;
    if let Ok(Ok(meta)) = serde_json::to_string(meta).map(|meta| HeaderValue::from_str(&meta)) {
        head.headers_mut().insert(META, meta);
    }
    head.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    head
}

/// Unpacks a response. Only the status and the packed headers count: what else stands at this
/// level is made up by the connector's HTTP/2 library.
///
/// # Errors
///
/// An unreadable list, or lengths that contradict each other, are the peer's fault.
pub(crate) fn from_tunnel(parts: &response::Parts) -> Result<Response<()>, Error> {
    let list = parts.headers.get(HEADERS);
    let meta = parts.headers.get(META).map(|meta| match meta.as_bytes() {
        origin if origin == FROM_ORIGIN.as_bytes() => {
            Ok(Meta { src: "origin".into(), flow_rate_limited: false, failure: None })
        }
        other => serde_json::from_slice(other),
    });
    let mut response = Response::new(());
    *response.status_mut() = parts.status;
    match (list, meta) {
        (_, Some(Ok(Meta { src, failure, .. }))) if src == "cloudflared" => {
            response
                .extensions_mut()
                .insert(ResponseSource::Connector(failure.unwrap_or_default()));
        }
        (Some(list), _) => {
            let mut headers = header_list::parse(list.as_bytes())?;
            hop::strip(&mut headers);
            hop::strip_internal(&mut headers);
            one_length(&mut headers)?;
            *response.headers_mut() = headers;
            response.extensions_mut().insert(ResponseSource::Origin);
        }
        (None, Some(_)) => return Err(peer("a response without a header list")),
        // The connector's HTTP/2 library itself turned the request down, with 400 or 431.
        (None, None) if parts.status.is_client_error() => {
            response.extensions_mut().insert(ResponseSource::Connector(OriginFailure::Unknown));
        }
        (None, None) => return Err(peer("a response without its head")),
    }
    Ok(response)
}

/// How long a response's body is, if that is said. RFC 9110 section 8.6: of an answer to HEAD, of 204 and of
/// 304, `Content-Length` says what another answer would have.
pub(crate) fn body_length(status: StatusCode, headers: &HeaderMap, is_head: bool) -> Option<u64> {
    if is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return None;
    }
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// RFC 9110 section 8.6: equal repeated lengths are one, different ones are an error.
fn one_length(headers: &mut HeaderMap) -> Result<(), Error> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next().cloned() else {
        return Ok(());
    };
    let is_number = !first.is_empty() && first.as_bytes().iter().all(u8::is_ascii_digit);
    if !is_number || lengths.any(|other| other != first) {
        return Err(peer("an origin's response with an unclear length"));
    }
    headers.insert(header::CONTENT_LENGTH, first);
    Ok(())
}

fn base64_value(text: Vec<u8>) -> HeaderValue {
    // Base64, `:` and `;` are always a valid value.
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text))
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn peer(what: &str) -> Error {
    ErrorKind::Peer(what.into()).into()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn parts(status: u16, headers: &[(&str, &str)]) -> response::Parts {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        response.body(()).unwrap().into_parts().0
    }

    #[test]
    fn recorded_responses_unpack() {
        let exchanges: Value =
            serde_json::from_str(include_str!("../../tests/vectors/h2/exchanges.json")).unwrap();
        let mut seen = 0;
        for exchange in exchanges.as_array().unwrap() {
            let Some(user) = exchange["decoded_user_headers"].as_array() else {
                continue;
            };
            let mut head = Response::builder();
            for pair in exchange["response_headers"].as_array().unwrap() {
                let (name, value) = (pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
                head = match name {
                    ":status" => head.status(value.parse::<u16>().unwrap()),
                    name => head.header(name, value),
                };
            }
            let response = from_tunnel(&head.body(()).unwrap().into_parts().0).unwrap();
            seen += 1;
            for pair in user {
                let (Some(name), Some(value)) = (pair[0].as_str(), pair[1].as_str()) else {
                    continue;
                };
                let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
                    continue;
                };
                if ["connection", "upgrade", "keep-alive", "transfer-encoding"]
                    .contains(&name.as_str())
                    || !value.is_ascii()
                {
                    continue;
                }
                assert!(response.headers().get_all(&name).iter().any(|v| v == value), "{name}");
            }
        }
        assert!(seen >= 10, "{seen}");
    }

    #[test]
    fn an_origins_response_round_trips() {
        let origin = parts(
            404,
            &[
                ("set-cookie", "a=1"),
                ("set-cookie", "b=2"),
                ("content-length", "5"),
                ("connection", "close, x-hop"),
                ("x-hop", "1"),
                ("cf-cloudflared-response-meta", "forged"),
            ],
        );
        let packed = to_tunnel(origin).unwrap().into_parts().0;
        assert_eq!(packed.headers["content-length"], "5");
        let response = from_tunnel(&packed).unwrap();
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
        assert_eq!(response.headers().len(), 3);
        assert_eq!(response.extensions().get(), Some(&ResponseSource::Origin));
    }

    #[test]
    fn what_the_ends_say_among_themselves_stands_in_no_packed_list() {
        let listed = parts(
            200,
            &[
                ("cf-int-cloudflared-tracing", "spans"),
                ("cf-int-cloudflared-tracing", "more"),
                ("cf-cloudflared-response-meta", "forged"),
                ("cf-proxy-x", "1"),
                ("cf-ray", "the origin's own"),
                ("content-length", "3"),
            ],
        );
        let packed = String::from_utf8(header_list::serialize(&listed.headers)).unwrap();
        let head = |status| parts(status, &[("cf-cloudflared-response-headers", &packed)]);
        let names = |headers: &HeaderMap| -> Vec<_> {
            let mut names: Vec<_> = headers.keys().map(HeaderName::to_string).collect();
            names.sort();
            names
        };
        let response = from_tunnel(&head(200)).unwrap();
        assert_eq!(names(response.headers()), ["cf-ray", "content-length"]);
        let interim = interim_from_tunnel(&head(103)).unwrap();
        assert_eq!(names(interim.headers()), ["cf-ray", "content-length"]);
    }

    #[test]
    fn a_length_that_says_nothing_of_the_body_is_not_its_length() {
        let length = |status, is_head| {
            let head = parts(status, &[("content-length", "5")]);
            body_length(head.status, &head.headers, is_head)
        };
        assert_eq!(length(200, false), Some(5));
        assert_eq!((length(200, true), length(204, false), length(304, false)), (None, None, None));
    }

    #[test]
    fn a_connectors_own_answer_is_told_apart_from_the_origins() {
        let ours = from_tunnel(&failure(OriginFailure::Unreachable).into_parts().0).unwrap();
        assert_eq!(
            ours.extensions().get(),
            Some(&ResponseSource::Connector(OriginFailure::Unreachable))
        );
        let theirs = parts(502, &[("cf-cloudflared-response-meta", r#"{"src":"cloudflared"}"#)]);
        assert_eq!(
            from_tunnel(&theirs).unwrap().extensions().get(),
            Some(&ResponseSource::Connector(OriginFailure::Unknown))
        );
        let newer = r#"{"src":"cloudflared","failure":"struck_by_lightning","x":1}"#;
        assert!(from_tunnel(&parts(502, &[("cf-cloudflared-response-meta", newer)])).is_ok());
    }

    #[test]
    fn unclear_responses_are_the_peers_fault() {
        let packed = |headers: &[_]| {
            String::from_utf8(header_list::serialize(&parts(200, headers).headers)).unwrap()
        };
        let list = |text| packed(&[("x", text)]);
        let lengths = |a, b| packed(&[("content-length", a), ("content-length", b)]);
        for packed in [lengths("5", "6"), lengths("5x", "5x"), format!("{}!", list("1"))] {
            let head = parts(200, &[("cf-cloudflared-response-headers", &packed)]);
            assert!(from_tunnel(&head).unwrap_err().is_peer_fault(), "{packed}");
        }
        assert!(from_tunnel(&parts(200, &[])).unwrap_err().is_peer_fault());
        assert!(from_tunnel(&parts(431, &[])).is_ok());
        let equal = lengths("5", "5");
        let head = parts(200, &[("cf-cloudflared-response-headers", &equal)]);
        assert_eq!(from_tunnel(&head).unwrap().headers()["content-length"], "5");
    }
}
