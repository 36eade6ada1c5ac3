//! `originRequest`: how a service is spoken to.

use std::{path::PathBuf, time::Duration};

use http::HeaderValue;
use rustls_pki_types::ServerName;

use super::{
    access::AccessRule,
    network::IpRule,
    problem::Report,
    reader::{Map, Place},
    service::Service,
};
use crate::limits;

/// What one `originRequest` states, or the sum of a rule's and the one above all rules.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    pub(super) connect_timeout: Option<Duration>,
    pub(super) tls_timeout: Option<Duration>,
    pub(super) tcp_keep_alive: Option<Duration>,
    pub(super) no_happy_eyeballs: Option<bool>,
    pub(super) keep_alive_connections: Option<u32>,
    pub(super) keep_alive_timeout: Option<Duration>,
    pub(super) http_host_header: Option<String>,
    pub(super) origin_server_name: Option<String>,
    pub(super) match_sni_to_host: Option<bool>,
    pub(super) ca_pool: Option<PathBuf>,
    pub(super) no_tls_verify: Option<bool>,
    pub(super) disable_chunked_encoding: Option<bool>,
    pub(super) bastion_mode: Option<bool>,
    pub(super) http2_origin: Option<bool>,
    pub(super) ip_rules: Option<Vec<IpRule>>,
    pub(super) access: Option<AccessRule>,
    /// What was asked for that differs from cloudflared's default, and where.
    pub(super) asked: Vec<Asked>,
}

/// A key that must have an effect.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) key: Key,
    pub(super) place: String,
    pub(super) line: Option<usize>,
}

/// The keys of `originRequest` that not every service knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    ConnectTimeout,
    TlsTimeout,
    TcpKeepAlive,
    NoHappyEyeballs,
    KeepAliveConnections,
    KeepAliveTimeout,
    HttpHostHeader,
    OriginServerName,
    MatchSniToHost,
    CaPool,
    NoTlsVerify,
    DisableChunkedEncoding,
    BastionMode,
    Http2Origin,
    IpRules,
    Access,
}

impl Key {
    /// Whether it changes anything for a service.
    pub(super) fn applies_to(self, service: &Service) -> bool {
        let is_local = matches!(service, Service::Status(_) | Service::HelloWorld);
        let is_socket = matches!(service, Service::Unix { .. });
        match self {
            Self::ConnectTimeout => !is_local,
            Self::TcpKeepAlive | Self::NoHappyEyeballs => !is_local && !is_socket,
            Self::KeepAliveConnections
            | Self::KeepAliveTimeout
            | Self::HttpHostHeader
            | Self::DisableChunkedEncoding
            | Self::Http2Origin => service.is_http(),
            Self::TlsTimeout
            | Self::OriginServerName
            | Self::MatchSniToHost
            | Self::CaPool
            | Self::NoTlsVerify => service.is_tls(),
            Self::BastionMode | Self::IpRules => *service == Service::Bastion,
            Self::Access => true,
        }
    }
}

/// cloudflared's defaults (ingress/config.go); asking for one asks for nothing. All but
/// `keepAliveConnections` are ours too.
pub(super) const CONNECT_TIMEOUT: Duration = limits::ORIGIN_CONNECT_TIMEOUT;
pub(super) const TLS_TIMEOUT: Duration = limits::ORIGIN_TLS_TIMEOUT;
pub(super) const TCP_KEEP_ALIVE: Duration = limits::ORIGIN_TCP_KEEP_ALIVE;
pub(super) const KEEP_ALIVE_CONNECTIONS: u32 = 100;
pub(super) const KEEP_ALIVE_TIMEOUT: Duration = limits::ORIGIN_IDLE_TIMEOUT;

impl Options {
    /// Reads `originRequest`; absent, it states nothing.
    pub(super) fn read(at: Option<Place<'_>>, report: &mut Report) -> Self {
        let Some(mut map) = at.and_then(|at| Map::open(&at, report)) else {
            return Self::default();
        };
        let mut reader = Reader { map: &mut map, asked: Vec::new(), report };
        let mut options = Self {
            connect_timeout: reader.duration(
                "connectTimeout",
                Key::ConnectTimeout,
                CONNECT_TIMEOUT,
            ),
            tls_timeout: reader.duration("tlsTimeout", Key::TlsTimeout, TLS_TIMEOUT),
            tcp_keep_alive: reader.duration("tcpKeepAlive", Key::TcpKeepAlive, TCP_KEEP_ALIVE),
            no_happy_eyeballs: reader.flag("noHappyEyeballs", Key::NoHappyEyeballs),
            keep_alive_connections: reader.connections(),
            keep_alive_timeout: reader.duration(
                "keepAliveTimeout",
                Key::KeepAliveTimeout,
                KEEP_ALIVE_TIMEOUT,
            ),
            http_host_header: reader.text("httpHostHeader", Key::HttpHostHeader, host_header),
            origin_server_name: reader.text("originServerName", Key::OriginServerName, server_name),
            match_sni_to_host: reader.flag("matchSNItoHost", Key::MatchSniToHost),
            ca_pool: reader.text("caPool", Key::CaPool, |_| Ok(())).map(PathBuf::from),
            no_tls_verify: reader.flag("noTLSVerify", Key::NoTlsVerify),
            disable_chunked_encoding: reader
                .flag("disableChunkedEncoding", Key::DisableChunkedEncoding),
            bastion_mode: reader.flag("bastionMode", Key::BastionMode),
            http2_origin: reader.flag("http2Origin", Key::Http2Origin),
            ip_rules: reader.ip_rules(),
            access: reader.access(),
            asked: Vec::new(),
        };
        reader.without_socks();
        options.asked = reader.asked;
        map.finish(report);
        options
    }

    /// A rule's values, each else the one above all rules.
    pub(super) fn over(self, above: &Self) -> Self {
        let own: Vec<Key> = self.stated();
        let inherited = above.asked.iter().filter(|asked| !own.contains(&asked.key)).cloned();
        let mut asked = self.asked;
        asked.extend(inherited);
        Self {
            connect_timeout: self.connect_timeout.or(above.connect_timeout),
            tls_timeout: self.tls_timeout.or(above.tls_timeout),
            tcp_keep_alive: self.tcp_keep_alive.or(above.tcp_keep_alive),
            no_happy_eyeballs: self.no_happy_eyeballs.or(above.no_happy_eyeballs),
            keep_alive_connections: self.keep_alive_connections.or(above.keep_alive_connections),
            keep_alive_timeout: self.keep_alive_timeout.or(above.keep_alive_timeout),
            http_host_header: self.http_host_header.or_else(|| above.http_host_header.clone()),
            origin_server_name: self
                .origin_server_name
                .or_else(|| above.origin_server_name.clone()),
            match_sni_to_host: self.match_sni_to_host.or(above.match_sni_to_host),
            ca_pool: self.ca_pool.or_else(|| above.ca_pool.clone()),
            no_tls_verify: self.no_tls_verify.or(above.no_tls_verify),
            disable_chunked_encoding: self
                .disable_chunked_encoding
                .or(above.disable_chunked_encoding),
            bastion_mode: self.bastion_mode.or(above.bastion_mode),
            http2_origin: self.http2_origin.or(above.http2_origin),
            ip_rules: self.ip_rules.or_else(|| above.ip_rules.clone()),
            access: match (self.access, &above.access) {
                (Some(own), Some(above)) => Some(own.below(above)),
                (own, above) => own.or_else(|| above.clone()),
            },
            asked,
        }
    }

    /// Where a key was asked for.
    pub(super) fn asked(&self, key: Key) -> Option<&Asked> {
        self.asked.iter().find(|asked| asked.key == key)
    }

    /// Keys with a value of their own, be it the default's.
    fn stated(&self) -> Vec<Key> {
        let stated = [
            (self.connect_timeout.is_some(), Key::ConnectTimeout),
            (self.tls_timeout.is_some(), Key::TlsTimeout),
            (self.tcp_keep_alive.is_some(), Key::TcpKeepAlive),
            (self.no_happy_eyeballs.is_some(), Key::NoHappyEyeballs),
            (self.keep_alive_connections.is_some(), Key::KeepAliveConnections),
            (self.keep_alive_timeout.is_some(), Key::KeepAliveTimeout),
            (self.http_host_header.is_some(), Key::HttpHostHeader),
            (self.origin_server_name.is_some(), Key::OriginServerName),
            (self.match_sni_to_host.is_some(), Key::MatchSniToHost),
            (self.ca_pool.is_some(), Key::CaPool),
            (self.no_tls_verify.is_some(), Key::NoTlsVerify),
            (self.disable_chunked_encoding.is_some(), Key::DisableChunkedEncoding),
            (self.bastion_mode.is_some(), Key::BastionMode),
            (self.http2_origin.is_some(), Key::Http2Origin),
            (self.ip_rules.is_some(), Key::IpRules),
            (self.access.is_some(), Key::Access),
        ];
        stated.iter().filter(|(is_stated, _)| *is_stated).map(|(_, key)| *key).collect()
    }
}

struct Reader<'r, 'v> {
    map: &'r mut Map<'v>,
    asked: Vec<Asked>,
    report: &'r mut Report,
}

impl Reader<'_, '_> {
    fn ask(&mut self, key: Key, at: &Place<'_>) {
        self.asked.push(Asked { key, place: at.path.clone(), line: at.line });
    }

    fn duration(&mut self, name: &'static str, key: Key, default: Duration) -> Option<Duration> {
        let at = self.map.take(name)?;
        let value = at.duration(self.report)?;
        if value != default {
            self.ask(key, &at);
        }
        Some(value)
    }

    fn flag(&mut self, name: &'static str, key: Key) -> Option<bool> {
        let at = self.map.take(name)?;
        let value = at.boolean(self.report)?;
        if value {
            self.ask(key, &at);
        }
        Some(value)
    }

    /// A text; an empty one takes back what stands above all rules.
    fn text(
        &mut self,
        name: &'static str,
        key: Key,
        check: impl FnOnce(&str) -> Result<(), &'static str>,
    ) -> Option<String> {
        let at = self.map.take(name)?;
        let text = at.text(self.report)?;
        if !text.is_empty() {
            if let Err(what) = check(text) {
                at.tell(self.report, &format!("is {}, {what}", at.value.describe()));
                return None;
            }
            self.ask(key, &at);
        }
        Some(text.to_owned())
    }

    fn connections(&mut self) -> Option<u32> {
        let at = self.map.take("keepAliveConnections")?;
        let value = at.number(65_535, self.report)?;
        if value != KEEP_ALIVE_CONNECTIONS {
            self.ask(Key::KeepAliveConnections, &at);
        }
        Some(value)
    }

    fn ip_rules(&mut self) -> Option<Vec<IpRule>> {
        let at = self.map.take("ipRules")?;
        let items = at.list(self.report)?;
        if !items.is_empty() {
            self.ask(Key::IpRules, &at);
        }
        Some(items.iter().filter_map(|item| IpRule::read(item, self.report)).collect())
    }

    fn access(&mut self) -> Option<AccessRule> {
        let at = self.map.take("access")?;
        let rule = AccessRule::read(&at, self.report);
        // What can't be read refuses everybody; the problem told keeps it from being used at all.
        Some(rule.unwrap_or_else(AccessRule::closed))
    }

    /// The keys of the proxy that cloudflared opens for SOCKS.
    fn without_socks(&mut self) {
        if let Some(at) = self.map.take("proxyType")
            && let Some(kind) = at.text(self.report)
            && !kind.is_empty()
        {
            let what = if kind == "socks" {
                "asks for SOCKS, which this connector does not offer; \
                 the service `bastion` reaches any TCP service without it"
            } else {
                "is not a kind of proxy"
            };
            at.tell(self.report, what);
        }
        if let Some(at) = self.map.take("proxyAddress")
            && let Some(address) = at.text(self.report)
            && !matches!(address, "" | "127.0.0.1")
        {
            at.tell(self.report, NO_PORT);
        }
        if let Some(at) = self.map.take("proxyPort")
            && let Some(port) = at.number(65_535, self.report)
            && port != 0
        {
            at.tell(self.report, NO_PORT);
        }
    }
}

const NO_PORT: &str = "has no effect: this connector opens no local proxy";

fn host_header(text: &str) -> Result<(), &'static str> {
    let is_authority =
        text.parse::<http::uri::Authority>().is_ok_and(|a| !a.as_str().contains('@'));
    if is_authority && HeaderValue::from_str(text).is_ok() {
        Ok(())
    } else {
        Err("not a host with perhaps a port")
    }
}

fn server_name(text: &str) -> Result<(), &'static str> {
    ServerName::try_from(text).map(drop).map_err(|_| "not a name that a certificate can have")
}
