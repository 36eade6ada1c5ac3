//! Answers that the edge makes itself.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};

use super::head::Head;
use crate::pages::{self, ErrorPage, Problem};

/// A response of the edge, whatever its body is made of.
pub type Reply = Response<Body>;

/// A body: a page of ours or an origin's stream.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A body that is in memory as a whole.
pub fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A page of ours. `form_target` is where a form on it may end up besides the page's own host.
pub fn page(status: u16, html: String, form_target: Option<&str>) -> Reply {
    let targets: Vec<&str> = form_target.into_iter().collect();
    let mut reply = reply(status, "text/html; charset=utf-8", html);
    let headers = reply.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&pages::content_security_policy(&targets)) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    // `no-referrer` would make browsers send `Origin: null` with our own forms.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    reply
}

/// JSON for programs.
pub fn json(status: u16, value: &serde_json::Value) -> Reply {
    reply(status, "application/json", value.to_string())
}

/// Plain text for programs.
pub fn text(status: u16, content: String) -> Reply {
    reply(status, "text/plain; charset=utf-8", content)
}

/// Sends the browser elsewhere with a `GET`.
pub fn redirect(status: StatusCode, location: &str) -> Reply {
    let mut reply = reply(status.as_u16(), "text/plain; charset=utf-8", String::new());
    match HeaderValue::from_str(location) {
        Ok(location) => {
            reply.headers_mut().insert(header::LOCATION, location);
        }
        Err(_) => *reply.status_mut() = StatusCode::BAD_REQUEST,
    }
    reply
}

/// A page, or JSON for whoever takes no HTML, that says what went wrong and whose turn it is.
pub fn problem(head: &Head, status: u16, problem: Problem, next_href: Option<String>) -> Reply {
    if !head.takes_html() {
        let error = format!("{problem:?}");
        let fault = format!("{:?}", problem.fault()).to_lowercase();
        return json(status, &serde_json::json!({"error": error, "fault": fault, "id": head.id}));
    }
    let page_of = ErrorPage {
        locale: head.locale(),
        status,
        application: (!head.host.is_empty()).then(|| head.host.clone()),
        request_id: head.id.clone(),
        problem,
        next_href,
        language_href: head.language_href(),
    };
    page(status, page_of.to_html(), None)
}

/// Adds a header to an answer of ours.
pub fn with(mut reply: Reply, name: HeaderName, value: &str) -> Reply {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().append(name, value);
    }
    reply
}

/// The head alone, for `HEAD` (RFC 9110 section 9.3.2). Over HTTP/1 a body would be left out by itself; over HTTP/2 it
/// would be sent, which breaks the visitor's stream.
pub fn without_body(reply: Reply) -> Reply {
    let length = reply.body().size_hint().exact().filter(|length| *length > 0);
    let (mut parts, _) = reply.into_parts();
    if let Some(length) = length {
        parts.headers.entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    Response::from_parts(parts, full(Bytes::new()))
}

fn reply(status: u16, content_type: &'static str, content: String) -> Reply {
    let mut reply = Response::new(full(content));
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}
