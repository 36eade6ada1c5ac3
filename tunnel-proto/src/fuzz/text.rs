//! Heads, tokens and files, read from anything.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};

use crate::{
    credentials::Credentials,
    stream::{header_list, kind::StreamKind, management, request},
};

/// An origin's packed headers.
pub fn header_list(data: &[u8]) {
    let Ok(headers) = header_list::parse(data) else { return };
    let again = header_list::parse(&header_list::serialize(&headers));
    assert_eq!(again.expect("what was packed here reads"), headers);
}

/// A token.
pub fn token(data: &[u8]) {
    let Ok(token) = str::from_utf8(data) else { return };
    if let Ok(credentials) = Credentials::from_token(token) {
        let again = Credentials::from_token(&credentials.to_token());
        assert!(again.is_ok_and(|again| again == credentials));
    }
}

/// A credentials file.
pub fn credentials_file(data: &[u8]) {
    let Ok(json) = str::from_utf8(data) else { return };
    if let Ok(credentials) = Credentials::from_json(json) {
        let again = Credentials::from_json(&credentials.to_json());
        assert!(again.is_ok_and(|again| again == credentials));
    }
}

/// A request head, written as `METHOD URI` and one `name: value` a line: what a visitor sends never
/// becomes anything but a plain exchange with one host, and a connector reads it back.
pub fn stream_head(data: &[u8]) {
    let Some(request) = read_head(data) else { return };
    let _ = StreamKind::of(request.headers());
    let Ok(head) = request::to_tunnel(request.into_parts().0) else { return };
    assert_eq!(StreamKind::of(head.headers()), StreamKind::Http, "a visitor steers the tunnel");
    assert!(!head.headers().contains_key(header::HOST));
    assert!(!head.headers().contains_key(header::CONNECTION));
    assert!(head.headers().keys().all(|name| !name.as_str().starts_with("cf-")));
    let authority = head.uri().authority().expect("one host").as_str().to_owned();
    assert_eq!(authority, authority.to_ascii_lowercase());
    assert!(!authority.contains('@'));
    assert!(!management::is_management(&authority), "a visitor reaches cloudflared itself");
    let mut parts = head.into_parts().0;
    request::from_tunnel(&mut parts);
    assert_eq!(parts.headers[header::HOST], authority.as_str());
    assert!(parts.headers.get_all(header::COOKIE).iter().count() <= 1);
}

fn read_head(data: &[u8]) -> Option<Request<()>> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let first = lines.next()?;
    let space = first.iter().position(|byte| *byte == b' ')?;
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(&first[..space]).ok()?;
    *request.uri_mut() = Uri::try_from(&first[space + 1..]).ok()?;
    let mut headers = HeaderMap::new();
    // What HTTP itself would not let through is not a visitor's head.
    for line in lines.take(256) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        headers.append(name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?);
    }
    *request.headers_mut() = headers;
    Some(request)
}
