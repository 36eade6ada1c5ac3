//! What a rule leads to.

use std::{fmt, path::PathBuf, str::FromStr as _};

use http::{StatusCode, Uri, uri::Authority};

use super::{reader, value::quote};

/// What answers the requests of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Service {
    /// A web server: `http://` or `ws://`, with TLS `https://` or `wss://`.
    Http {
        /// Host and perhaps port.
        authority: Authority,
        /// Whether it is spoken to in TLS.
        tls: bool,
    },
    /// A web server on a Unix socket: `unix:`, with TLS `unix+tls:`.
    Unix {
        /// The socket.
        path: PathBuf,
        /// Whether it is spoken to in TLS.
        tls: bool,
    },
    /// A TCP service whose bytes travel in WebSocket messages: `tcp://`, `ssh://`, `rdp://`,
    /// `smb://`, or any other scheme with a port.
    Tcp {
        /// As written.
        scheme: String,
        /// A name or an address, without brackets.
        host: String,
        /// From 1 to 65535.
        port: u16,
    },
    /// `bastion`: the TCP service that each request names.
    Bastion,
    /// `http_status:N`: this status and no body.
    Status(StatusCode),
    /// `hello_world`: a page to try a tunnel with.
    HelloWorld,
}

impl Service {
    /// Reads a service as cloudflared writes it.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what would be right.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path, false);
        }
        if let Some(path) = text.strip_prefix("unix+tls:") {
            return unix(path, true);
        }
        if let Some(status) = text.strip_prefix("http_status:") {
            return parse_status(status);
        }
        match text {
            "hello_world" | "hello-world" => return Ok(Self::HelloWorld),
            "bastion" => return Ok(Self::Bastion),
            "socks-proxy" => {
                return Err("is `socks-proxy`, which this connector does not offer; \
                            `bastion` reaches any TCP service without SOCKS"
                    .into());
            }
            _ => {}
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            let words = ["hello_world", "bastion", "http_status:404"];
            return Err(match reader::nearest(text, &words) {
                Some(word) => format!("is {}; did you mean `{word}`?", quote(text)),
                None => format!("is {}; write a URL such as `http://127.0.0.1:8080`", quote(text)),
            });
        };
        let scheme = scheme.to_ascii_lowercase();
        let authority =
            authority(rest).map_err(|what| format!("is {}, which {what}", quote(text)))?;
        match scheme.as_str() {
            "http" | "ws" => Ok(Self::Http { authority, tls: false }),
            "https" | "wss" => Ok(Self::Http { authority, tls: true }),
            _ => tcp(scheme, &authority),
        }
    }

    /// Whether an HTTP server answers.
    pub(super) fn is_http(&self) -> bool {
        matches!(self, Self::Http { .. } | Self::Unix { .. })
    }

    /// Whether it is spoken to in TLS.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Self::Http { tls: true, .. } | Self::Unix { tls: true, .. })
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { authority, tls } => {
                write!(f, "{}://{authority}", if *tls { "https" } else { "http" })
            }
            Self::Unix { path, tls } => {
                write!(f, "{}:{}", if *tls { "unix+tls" } else { "unix" }, path.display())
            }
            Self::Tcp { scheme, host, port } if host.contains(':') => {
                write!(f, "{scheme}://[{host}]:{port}")
            }
            Self::Tcp { scheme, host, port } => write!(f, "{scheme}://{host}:{port}"),
            Self::Bastion => f.write_str("bastion"),
            Self::Status(status) => write!(f, "http_status:{}", status.as_u16()),
            Self::HelloWorld => f.write_str("hello_world"),
        }
    }
}

fn unix(path: &str, tls: bool) -> Result<Service, String> {
    if path.is_empty() {
        return Err("names no socket; write it as `unix:/run/app.sock`".into());
    }
    if path.trim() != path {
        let what = quote(path);
        return Err(format!("names the socket {what}, with blanks around it; leave them out"));
    }
    Ok(Service::Unix { path: path.into(), tls })
}

fn parse_status(text: &str) -> Result<Service, String> {
    let status = text.parse::<u16>().ok().and_then(|status| StatusCode::from_u16(status).ok());
    match status {
        // DEVIATION: cloudflared takes 1xx, but no visitor can get one as the whole answer.
        Some(status) if !status.is_informational() => Ok(Service::Status(status)),
        _ => Err(format!(
            "is {}; a status is from 200 to 999",
            quote(&format!("http_status:{text}"))
        )),
    }
}

/// `host:port` of a URL that has nothing else.
fn authority(rest: &str) -> Result<Authority, &'static str> {
    const PATH: &str = "has a path, but visitors bring their own";
    let (authority, path) = match rest.find(['/', '?', '#']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    if !matches!(path, "" | "/") {
        return Err(PATH);
    }
    if authority.contains('@') {
        return Err("has user information; no service reads it");
    }
    let authority = Authority::from_str(authority).map_err(|_| "has no usable host")?;
    if authority.host().is_empty() {
        return Err("has no host");
    }
    let has_port = authority.as_str().len() > authority.host().len();
    if has_port && authority.port_u16().is_none_or(|port| port == 0) {
        return Err("has a port that is not from 1 to 65535");
    }
    Ok(authority)
}

fn tcp(scheme: String, authority: &Authority) -> Result<Service, String> {
    let known = [("tcp", 7864), ("ssh", 22), ("rdp", 3389), ("smb", 445)];
    let default = known.iter().find(|(name, _)| *name == scheme).map(|(_, port)| *port);
    if default.is_none() {
        // Any scheme is TCP to cloudflared; a slip of the pen should not be.
        let names = ["http", "https", "ws", "wss", "tcp", "ssh", "rdp", "smb"];
        if let Some(name) =
            names.iter().find(|name| strsim::damerau_levenshtein(name, &scheme) == 1)
        {
            return Err(format!("has the scheme {}; did you mean `{name}`?", quote(&scheme)));
        }
        if Uri::from_str(&format!("{scheme}://x")).is_err() {
            return Err(format!("has the unusable scheme {}", quote(&scheme)));
        }
    }
    let Some(port) = authority.port_u16().or(default) else {
        return Err(format!("needs a port, as in `{}://HOST:1234`", scheme.escape_debug()));
    };
    let host = authority.host();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok(Service::Tcp { scheme, host: host.into(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_as_they_are_written() {
        for (text, told) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://localhost", "http://localhost"),
            ("ws://a.test/", "http://a.test"),
            ("HTTPS://a.test:8443", "https://a.test:8443"),
            ("wss://[::1]:8443", "https://[::1]:8443"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
            ("unix+tls:a.sock", "unix+tls:a.sock"),
            ("tcp://a.test", "tcp://a.test:7864"),
            ("ssh://a.test", "ssh://a.test:22"),
            ("rdp://a.test", "rdp://a.test:3389"),
            ("smb://[::1]", "smb://[::1]:445"),
            ("postgres://a.test:5432", "postgres://a.test:5432"),
            ("http_status:404", "http_status:404"),
            ("http_status:999", "http_status:999"),
            ("hello-world", "hello_world"),
            ("hello_world", "hello_world"),
            ("bastion", "bastion"),
        ] {
            assert_eq!(Service::parse(text).map(|service| service.to_string()), Ok(told.into()));
        }
    }

    #[test]
    fn services_that_can_not_work() {
        for (text, words) in [
            ("", "write a URL"),
            ("127.0.0.1:80", "write a URL"),
            ("hello_wrld", "did you mean `hello_world`"),
            ("http://", "host"),
            ("http://:80", "host"),
            ("http://a.test/x", "path"),
            ("http://a.test?x", "path"),
            ("http://a.test:0", "port"),
            ("http://a.test:99999", "port"),
            ("http://u:p@a.test", "user information"),
            ("htp://a.test:80", "did you mean `http`"),
            ("postgres://a.test", "needs a port"),
            ("http_status:99", "200 to 999"),
            ("http_status:101", "200 to 999"),
            ("http_status:1000", "200 to 999"),
            ("http_status:x", "200 to 999"),
            ("unix:", "names no socket"),
            ("socks-proxy", "does not offer"),
        ] {
            let problem = Service::parse(text).unwrap_err();
            assert!(problem.contains(words), "{text}: {problem}");
        }
    }
}
