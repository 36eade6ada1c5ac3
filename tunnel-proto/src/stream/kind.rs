//! A stream's purpose, told by its request headers.

use http::{HeaderMap, HeaderName};

/// Asks for anything but a plain HTTP exchange. Only the edge may set it.
pub(crate) const UPGRADE: HeaderName =
    HeaderName::from_static("cf-cloudflared-proxy-connection-upgrade");

/// Marks a raw TCP stream. Only the edge may set it.
pub(crate) const TCP_SOURCE: HeaderName = HeaderName::from_static("cf-cloudflared-proxy-src");

/// What the edge wants from a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamKind {
    Configuration,
    WebSocket,
    Tcp,
    Control,
    Http,
}

impl StreamKind {
    /// Values of [`UPGRADE`].
    pub(crate) const CONFIGURATION: &str = "update-configuration";
    pub(crate) const CONTROL: &str = "control-stream";
    pub(crate) const WEBSOCKET: &str = "websocket";

    /// The purpose in a word, for logs and metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::WebSocket => "websocket",
            Self::Tcp => "tcp",
            Self::Control => "control",
            Self::Http => "http",
        }
    }

    /// Tells the purpose. First match wins and values are case-sensitive, as in cloudflared
    /// (connection/http2.go, `determineHTTP2Type`).
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let upgrade = headers.get(UPGRADE).and_then(|upgrade| upgrade.to_str().ok());
        match upgrade {
            Some(Self::CONFIGURATION) => Self::Configuration,
            Some(Self::WEBSOCKET) => Self::WebSocket,
            _ if headers.get(TCP_SOURCE).is_some_and(|source| !source.is_empty()) => Self::Tcp,
            Some(Self::CONTROL) => Self::Control,
            _ => Self::Http,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_match_wins() {
        let cases: [(&[(&str, &str)], StreamKind); 7] = [
            (&[], StreamKind::Http),
            (&[("cf-cloudflared-proxy-connection-upgrade", "control-stream")], StreamKind::Control),
            (&[("cf-cloudflared-proxy-connection-upgrade", "Control-Stream")], StreamKind::Http),
            (&[("cf-cloudflared-proxy-src", "192.0.2.1")], StreamKind::Tcp),
            (&[("cf-cloudflared-proxy-src", "")], StreamKind::Http),
            (
                &[
                    ("cf-cloudflared-proxy-src", "192.0.2.1"),
                    ("cf-cloudflared-proxy-connection-upgrade", "websocket"),
                ],
                StreamKind::WebSocket,
            ),
            (
                &[
                    ("cf-cloudflared-proxy-src", "192.0.2.1"),
                    ("cf-cloudflared-proxy-connection-upgrade", "control-stream"),
                ],
                StreamKind::Tcp,
            ),
        ];
        for (headers, kind) in cases {
            let headers = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
                .collect();
            assert_eq!(StreamKind::of(&headers), kind, "{headers:?}");
        }
    }
}
