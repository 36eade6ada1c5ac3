//! Putting an HTTP origin together.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderValue, Uri, uri};
use hyper_util::{
    client::legacy::{Builder as ClientBuilder, Client},
    rt::{TokioExecutor, TokioTimer},
};

use super::{
    dial::{Dial, Target, TcpSettings},
    http::{Clients, Hosts, HttpOrigin, Server},
};
use crate::{
    error::{Error, ErrorKind},
    limits,
    state::hosts::KnownHosts,
};

/// Options of a [`HttpOrigin`], each with its default.
#[derive(Debug, Clone)]
#[must_use]
pub struct HttpOriginBuilder {
    url: String,
    tcp: TcpSettings,
    keep_alive_connections: Option<usize>,
    keep_alive_timeout: Option<Duration>,
    host_header: Option<String>,
    http2: bool,
    needs_length: bool,
    #[cfg(feature = "tls")]
    tls: TlsSettings,
}

#[cfg(feature = "tls")]
#[derive(Debug, Clone)]
struct TlsSettings {
    config: Option<Arc<tokio_rustls::rustls::ClientConfig>>,
    server_name: Option<String>,
    from_host: bool,
    timeout: Option<Duration>,
}

impl HttpOriginBuilder {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            tcp: TcpSettings::DEFAULT,
            keep_alive_connections: None,
            keep_alive_timeout: Some(limits::ORIGIN_IDLE_TIMEOUT),
            host_header: None,
            http2: false,
            needs_length: false,
            #[cfg(feature = "tls")]
            tls: TlsSettings {
                config: None,
                server_name: None,
                from_host: false,
                timeout: Some(limits::ORIGIN_TLS_TIMEOUT),
            },
        }
    }

    /// Gives up connecting after this long, 30 seconds unless set. `None` waits as long as the
    /// system does.
    pub fn connect_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.tcp.connect_timeout = timeout;
        self
    }

    /// Probes quiet TCP connections this often, every 30 seconds unless set. `None` never does.
    pub fn tcp_keep_alive(mut self, interval: Option<Duration>) -> Self {
        self.tcp.keep_alive = interval;
        self
    }

    /// Whether IPv4 is tried beside IPv6 when a name has both and the first is slow (RFC 8305);
    /// `true` unless set.
    pub fn happy_eyeballs(mut self, happy_eyeballs: bool) -> Self {
        self.tcp.happy_eyeballs = happy_eyeballs;
        self
    }

    /// Keeps this many idle connections, 1,024 unless set; 0 uses none twice. With a server name
    /// [from the host](Self::server_name_from_host) or with [`http2`](Self::http2), this is for each host, 32
    /// unless set, and for 256 hosts at once ([`limits::ORIGIN_HOSTS`]).
    pub fn keep_alive_connections(mut self, connections: usize) -> Self {
        self.keep_alive_connections = Some(connections);
        self
    }

    /// Keeps an idle connection this long, 90 seconds unless set. `None`, or more than
    /// [`limits::ORIGIN_IDLE_FOREVER`], keeps it until the origin closes it.
    pub fn keep_alive_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.keep_alive_timeout = timeout;
        self
    }

    /// Sends this `Host`, a name and perhaps a port, and the visitor's as `X-Forwarded-Host`.
    pub fn host_header(mut self, host: impl Into<String>) -> Self {
        self.host_header = Some(host.into());
        self
    }

    /// Speaks HTTP/2, which gRPC needs: to an origin with TLS if it agrees (ALPN), without TLS from
    /// the first byte (h2c). The latter is ours; cloudflared has HTTP/2 over TLS only. A
    /// WebSocket takes HTTP/1.1 either way.
    pub fn http2(mut self, http2: bool) -> Self {
        self.http2 = http2;
        self
    }

    /// Sends bodies with a length only, for servers that know no chunks. A visitor's body of
    /// unknown length is first read to its end; over 1 MiB it is answered with 411.
    pub fn without_chunks(mut self, without_chunks: bool) -> Self {
        self.needs_length = without_chunks;
        self
    }

    /// What to trust in an origin with TLS. Required for `https:` and `unix+tls:`; ALPN is set by
    /// [`http2`](Self::http2).
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: Arc<tokio_rustls::rustls::ClientConfig>) -> Self {
        self.tls.config = Some(config);
        self
    }

    /// Asks for the certificate of this name, and checks it. The URL's host unless set; for a
    /// Unix socket the request's.
    #[cfg(feature = "tls")]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.tls.server_name = Some(name.into());
        self
    }

    /// Asks for the certificate of the host that the request is for, and checks it.
    #[cfg(feature = "tls")]
    pub fn server_name_from_host(mut self, from_host: bool) -> Self {
        self.tls.from_host = from_host;
        self
    }

    /// Gives up a TLS handshake after this long, 10 seconds unless set. `None` never does.
    #[cfg(feature = "tls")]
    pub fn tls_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.tls.timeout = timeout;
        self
    }

    /// Puts the origin together. Nothing is dialed yet.
    ///
    /// # Errors
    ///
    /// A URL that can't work, a host that is none, or TLS without what to trust: the caller's
    /// fault, with what would be right.
    pub fn build(self) -> Result<HttpOrigin, Error> {
        let Address { target, authority, is_tls, is_socket } = self.address()?;
        let host_header = self.parse_host_header()?;
        let mut dial = Dial::new(target, self.tcp);
        let mut dial_http1 = dial.clone();
        let mut named_by_host = false;
        if is_tls {
            named_by_host = self.add_tls(&mut dial, self.http2, &authority, is_socket)?;
            self.add_tls(&mut dial_http1, false, &authority, is_socket)?;
        }
        let connects_by_host = named_by_host || self.http2;
        let idle = if connects_by_host {
            limits::ORIGIN_HOST_IDLE_CONNECTIONS
        } else {
            limits::ORIGIN_IDLE_CONNECTIONS
        };
        let clients = |idle: usize| {
            let mut builder = self.client(idle);
            let http1 = self.http2.then(|| builder.build(dial_http1.clone()));
            // Where TLS is, the handshake tells which HTTP it is.
            builder.http2_only(self.http2 && !is_tls).set_host(self.http2);
            Clients { main: builder.build(dial.clone()), http1 }
        };
        let hosts = connects_by_host.then(|| Hosts {
            single: clients(0),
            known: Mutex::new(KnownHosts::new(self.keep_alive_timeout)),
        });
        Ok(HttpOrigin(Arc::new(Server {
            clients: clients(self.keep_alive_connections.unwrap_or(idle)),
            hosts,
            scheme: if is_tls { uri::Scheme::HTTPS } else { uri::Scheme::HTTP },
            authority,
            host_header,
            needs_length: self.needs_length,
        })))
    }

    fn client(&self, idle: usize) -> ClientBuilder {
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(
                self.keep_alive_timeout.filter(|timeout| *timeout < limits::ORIGIN_IDLE_FOREVER),
            )
            .pool_max_idle_per_host(idle)
            .http1_max_headers(limits::ORIGIN_HEADERS)
            .set_host(false);
        builder
    }

    fn parse_host_header(&self) -> Result<Option<HeaderValue>, Error> {
        let Some(host) = &self.host_header else {
            return Ok(None);
        };
        let is_authority =
            host.parse::<uri::Authority>().is_ok_and(|host| !host.as_str().contains('@'));
        match HeaderValue::from_str(host) {
            Ok(value) if is_authority => Ok(Some(value)),
            _ => {
                let what = format!("the host header `{}` is not a host", host.escape_debug());
                Err(ErrorKind::Caller(what).into())
            }
        }
    }

    /// Adds TLS, and tells whether the request's host is the name asked for.
    #[cfg(feature = "tls")]
    fn add_tls(
        &self,
        dial: &mut Dial,
        http2: bool,
        authority: &uri::Authority,
        is_socket: bool,
    ) -> Result<bool, Error> {
        let TlsSettings { config, server_name, from_host, timeout } = &self.tls;
        let Some(config) = config else {
            return Err(self.wrong("needs TLS; say what to trust with `tls`"));
        };
        let name = match server_name {
            Some(name) => Some(name.as_str()),
            None if *from_host || is_socket => None,
            None => Some(authority.host()),
        };
        let name = name
            .map(super::dial::server_name)
            .transpose()
            .map_err(|error| self.wrong("has no usable server name").with_source(error))?;
        let mut config = tokio_rustls::rustls::ClientConfig::clone(config);
        config.alpn_protocols =
            if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { Vec::new() };
        let named_by_host = name.is_none();
        dial.tls = Some(super::dial::Tls { config: Arc::new(config), name, timeout: *timeout });
        Ok(named_by_host)
    }

    #[cfg(not(feature = "tls"))]
    fn add_tls(&self, _: &mut Dial, _: bool, _: &uri::Authority, _: bool) -> Result<bool, Error> {
        Err(self.wrong("needs TLS, which this build is without (feature `tls`)"))
    }

    fn address(&self) -> Result<Address, Error> {
        for (prefix, is_tls) in [("unix:", false), ("unix+tls:", true)] {
            if let Some(path) = self.url.strip_prefix(prefix) {
                if path.trim().is_empty() || path.trim() != path {
                    return Err(self.wrong("names no socket, or one with blanks around it"));
                }
                let target = Target::Unix(Arc::new(PathBuf::from(path)));
                let authority = uri::Authority::from_static("localhost");
                return Ok(Address { target, authority, is_tls, is_socket: true });
            }
        }
        let uri: Uri =
            self.url.parse().map_err(|error| self.wrong("is not a URL").with_source(error))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) => return Err(self.wrong("has a scheme other than `http` and `https`")),
            None => return Err(self.wrong("lacks `http://`")),
        };
        if uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
            return Err(self.wrong("has a path, but visitors bring their own"));
        }
        let plain = |authority: &&uri::Authority| {
            !authority.as_str().contains('@') && !authority.host().is_empty()
        };
        let Some(authority) = uri.authority().filter(plain).cloned() else {
            return Err(self.wrong("has no plain host"));
        };
        // The connector below speaks no TLS, so it must be told the port.
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let target = format!("http://{}:{port}/", authority.host()).parse();
        let target = target.map_err(|error| self.wrong("has no plain host").with_source(error))?;
        Ok(Address { target: Target::Tcp(target), authority, is_tls, is_socket: false })
    }

    fn wrong(&self, what: &str) -> Error {
        let url = self.url.escape_debug();
        ErrorKind::Caller(format!("the origin `{url}` {what}; write it as `http://HOST:PORT`"))
            .into()
    }
}

struct Address {
    target: Target,
    authority: uri::Authority,
    is_tls: bool,
    is_socket: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_can_not_work_say_what_would() {
        for good in
            ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:80/", "unix:/run/app.sock"]
        {
            assert!(HttpOrigin::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1:80",
            "ftp://a.test",
            "https://a.test",
            "unix+tls:/run/app.sock",
            "unix:",
            "unix: /run/app.sock",
            "unix:/run/app.sock ",
            "http://a.test/x",
            "http://u@a.test",
            "a b",
        ] {
            let error = HttpOrigin::new(bad).unwrap_err();
            assert!(
                error.is_caller_fault() && error.to_string().contains("http://HOST:PORT"),
                "{error}"
            );
        }
        let error = HttpOrigin::builder("http://a.test").host_header("u@b").build().unwrap_err();
        assert!(error.to_string().contains("`u@b` is not a host"), "{error}");
    }

    #[tokio::test]
    async fn connections_can_be_kept_for_ever() {
        use tokio::{
            io::{AsyncReadExt as _, AsyncWriteExt as _},
            net::TcpListener,
        };
        use tower_service::Service as _;

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let mut origin = listener.accept().await.unwrap().0;
            let mut head = [0; 1024];
            for _ in 0..2 {
                assert!(origin.read(&mut head).await.unwrap() > 0);
                origin.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            }
        });
        let builder = HttpOrigin::builder(url).keep_alive_timeout(Some(Duration::MAX));
        let mut origin = builder.build().unwrap();
        for _ in 0..2 {
            let request = http::Request::get("http://a.test/");
            let request = request.body(crate::net::body::Incoming::empty()).unwrap();
            assert_eq!(origin.call(request).await.unwrap().status(), 204);
            tokio::task::yield_now().await;
        }
        server.await.unwrap();
    }
}
