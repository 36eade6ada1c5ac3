//! A visitor's request head, read once and strictly.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method, Version, header, request};

use super::{
    cookies,
    reply::{self, Reply},
};
use crate::{listener::Peer, locale::Locale, pages::Problem};

/// What the rest of the gate knows of a request.
#[derive(Debug)]
pub struct Head {
    /// Found on error pages and in the log.
    pub id: String,
    /// The one host: lower case, no port, no trailing dot.
    pub host: String,
    /// Where the request came from.
    pub peer: Arc<Peer>,
    /// The rest, as it came.
    pub parts: request::Parts,
}

/// For the log, before the head is given away.
#[derive(Debug)]
pub struct LogLine {
    pub id: String,
    pub host: String,
    pub method: Method,
}

/// A head that is not looked at any further.
#[derive(Debug)]
pub struct Refused {
    head: Head,
    status: u16,
    problem: Problem,
}

impl Refused {
    pub fn reply(&self) -> Reply {
        reply::problem(&self.head, self.status, self.problem, None)
    }
}

impl Head {
    /// Reads a head, or refuses what two readers could read in two ways.
    pub fn read(parts: request::Parts, peer: Arc<Peer>, id: String) -> Result<Self, Box<Refused>> {
        let host = one_host(&parts);
        let mut head = Self { id, host: String::new(), peer, parts };
        let refuse = |head: Self, status, problem| Err(Box::new(Refused { head, status, problem }));
        if is_too_large(&head.parts) {
            return refuse(head, 431, Problem::HeaderTooLarge);
        }
        if matches!(head.parts.method, Method::CONNECT | Method::TRACE) {
            return refuse(head, 405, Problem::MethodNotAllowed);
        }
        let Some(host) = host else { return refuse(head, 400, Problem::BadRequest) };
        head.host = host;
        if !is_origin_form(&head.parts) || has_framing_trouble(&head.parts) {
            return refuse(head, 400, Problem::BadRequest);
        }
        // One certificate for each name, so a name that TLS did not ask for is somebody's mistake
        // or trick (RFC 9110 section 15.5.20).
        if head.peer.server_name.as_ref().is_some_and(|name| *name != head.host) {
            return refuse(head, 421, Problem::NotFoundHere);
        }
        Ok(head)
    }

    /// The path without its query.
    pub fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// A field of the query, percent-decoded; nothing if it is there twice.
    pub fn query(&self, name: &str) -> Option<String> {
        let query = self.parts.uri.query()?;
        let mut values =
            form_urlencoded::parse(query.as_bytes()).filter(|(field, _)| field == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value.into_owned()),
            _ => None,
        }
    }

    /// A cookie's value; nothing if it is there twice.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        cookies::find(&self.parts.headers, name)
    }

    /// A header that is there once, as text.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        let mut values = self.parts.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    }

    /// The language of the pages.
    pub fn locale(&self) -> Locale {
        let chosen = self.query("lang");
        Locale::negotiate(self.header(header::ACCEPT_LANGUAGE), chosen.as_deref())
    }

    /// This page in the other language. Only a page that is there for `GET` has one.
    pub fn language_href(&self) -> Option<String> {
        if self.parts.method != Method::GET {
            return None;
        }
        let other = self.locale().other().tag();
        let mut query = form_urlencoded::Serializer::new(String::new());
        let old = self.parts.uri.query().unwrap_or_default();
        query.extend_pairs(
            form_urlencoded::parse(old.as_bytes()).filter(|(name, _)| name != "lang"),
        );
        query.append_pair("lang", other);
        Some(format!("{}?{}", self.path(), query.finish()))
    }

    /// Whether a page would be of use. Programs say what they take.
    pub fn takes_html(&self) -> bool {
        self.header(header::ACCEPT)
            .is_none_or(|accept| accept.contains("text/html") || accept.contains("*/*"))
    }

    /// Whether a browser follows a redirect for a person: not for scripts, not for posted forms.
    pub fn is_navigation(&self) -> bool {
        let by_script = self
            .header(HeaderName::from_static("x-requested-with"))
            .is_some_and(|with| with.eq_ignore_ascii_case("XMLHttpRequest"));
        matches!(self.parts.method, Method::GET | Method::HEAD) && !by_script && self.takes_html()
    }

    /// Whether a browser says that a page of another origin made this request.
    pub fn is_from_elsewhere(&self) -> bool {
        self.header(HeaderName::from_static("sec-fetch-site"))
            .is_some_and(|site| site != "same-origin" && site != "none")
    }

    /// Whether a browser says that another site made this request.
    pub fn is_cross_site(&self) -> bool {
        self.header(HeaderName::from_static("sec-fetch-site"))
            .is_some_and(|site| site == "cross-site")
    }

    /// Whether a browser asks for a page that its user may never see.
    pub fn is_prefetch(&self) -> bool {
        ["sec-purpose", "purpose", "x-moz"].into_iter().any(|name| {
            let purpose = self.header(HeaderName::from_static(name)).unwrap_or_default();
            purpose.split([';', ',']).any(|it| it.trim().eq_ignore_ascii_case("prefetch"))
        })
    }

    pub fn log_line(&self) -> LogLine {
        LogLine { id: self.id.clone(), host: self.host.clone(), method: self.parts.method.clone() }
    }
}

/// The host that everything else goes by. HTTP/2 states it in `:authority`, an absolute target in
/// HTTP/1.1 too; then `Host` must not say otherwise.
fn one_host(parts: &request::Parts) -> Option<String> {
    let mut fields = parts.headers.get_all(header::HOST).iter();
    let field = fields.next().map(|host| host.to_str().ok());
    if fields.next().is_some() {
        return None;
    }
    let stated = match (parts.uri.authority().map(http::uri::Authority::as_str), field) {
        (Some(authority), None) => authority,
        (Some(authority), Some(Some(field))) if field.eq_ignore_ascii_case(authority) => authority,
        // RFC 9112 section 3.2.2: an absolute target wins over Host.
        (Some(authority), Some(Some(_))) if parts.version < Version::HTTP_2 => authority,
        (None, Some(Some(field))) => field,
        _ => return None,
    };
    // Forms and escapes that no browser sends and that readers differ on are refused here.
    access_policy::Request::new(stated, "/").ok().map(|request| request.host().to_owned())
}

fn is_origin_form(parts: &request::Parts) -> bool {
    let path = parts.uri.path();
    path.starts_with('/') && (parts.uri.authority().is_some() || parts.uri.scheme().is_none())
}

/// RFC 6585 section 5. `hyper` has a wider limit of its own, beyond which it answers without a page.
fn is_too_large(parts: &request::Parts) -> bool {
    let target = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
    let fields: usize =
        parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    target + fields > HEADER_BYTES || parts.headers.len() > HEADER_FIELDS
}

/// A request's target and header fields, in bytes.
const HEADER_BYTES: usize = 32 * 1024;

/// A request's header fields.
const HEADER_FIELDS: usize = 128;

/// `hyper` refuses most of it; what it lets pass must still be one clear message.
fn has_framing_trouble(parts: &request::Parts) -> bool {
    let HeaderCount { lengths, codings } = HeaderCount::of(&parts.headers);
    let is_plain = parts
        .headers
        .get(header::TRANSFER_ENCODING)
        .is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    !is_plain
        || lengths > 1
        || codings > 1
        || (lengths > 0 && codings > 0)
        || (codings > 0 && parts.version < Version::HTTP_11)
}

struct HeaderCount {
    lengths: usize,
    codings: usize,
}

impl HeaderCount {
    fn of(headers: &HeaderMap) -> Self {
        Self {
            lengths: headers.get_all(header::CONTENT_LENGTH).iter().count(),
            codings: headers.get_all(header::TRANSFER_ENCODING).iter().count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn read(
        uri: &str,
        version: Version,
        headers: &[(&str, &str)],
        tls: &str,
    ) -> Result<String, u16> {
        let mut request = Request::get(uri).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let peer = Peer::new(([192, 0, 2, 1], 1).into(), (!tls.is_empty()).then_some(tls));
        let parts = request.body(()).unwrap().into_parts().0;
        Head::read(parts, peer, "id".into()).map(|head| head.host).map_err(|refused| refused.status)
    }

    #[test]
    fn one_reading_of_the_host_or_none() {
        let h1 = Version::HTTP_11;
        let h2 = Version::HTTP_2;
        for (uri, version, headers, tls, expected) in [
            ("/", h1, &[("host", "App.Example.COM.:8443")][..], "", Ok("app.example.com")),
            ("/", h1, &[("host", "a.test")], "a.test", Ok("a.test")),
            ("/", h1, &[("host", "a.test")], "b.test", Err(421)),
            ("/", h1, &[], "", Err(400)),
            ("/", h1, &[("host", "a.test"), ("host", "a.test")], "", Err(400)),
            ("/", h1, &[("host", "u@a.test")], "", Err(400)),
            ("/", h1, &[("host", "a.test/x")], "", Err(400)),
            ("http://b.test/", h1, &[("host", "a.test")], "", Ok("b.test")),
            ("https://a.test/", h2, &[], "a.test", Ok("a.test")),
            ("https://a.test/", h2, &[("host", "A.test")], "", Ok("a.test")),
            ("https://a.test/", h2, &[("host", "b.test")], "", Err(400)),
            (
                "/",
                h1,
                &[("host", "a.test"), ("content-length", "1"), ("content-length", "1")],
                "",
                Err(400),
            ),
        ] {
            let read = read(uri, version, headers, tls);
            assert_eq!(read.as_deref().map_err(|status| *status), expected, "{uri} {headers:?}");
        }
    }
}
