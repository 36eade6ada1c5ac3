//! All rules together: reading, checking, matching, telling.

use std::fmt;

use serde_json::{Map as JsonMap, Value as Json, json};

use super::{
    hostname::{self, HostPattern},
    options::{self, Key, Options},
    path::{self, PathPattern},
    problem::{Problems, Report},
    reader::{Map, Place, Source},
    service::Service,
    settings::Settings,
    value, yaml,
};
use crate::limits;

/// Ingress rules that were read and found sound, in the shape of cloudflared's configuration.
///
/// ```
/// use tunnel_proto::ingress::Configuration;
///
/// let configuration = Configuration::from_yaml("
/// ingress:
///   - hostname: app.example.com
///     service: http://127.0.0.1:8080
///   - service: http_status:404
/// ")?;
/// let (index, rule) = configuration.find("app.example.com", "/login");
/// assert_eq!((index, rule.service().to_string().as_str()), (0, "http://127.0.0.1:8080"));
/// # Ok::<(), tunnel_proto::ingress::Problems>(())
/// ```
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The last is for every host and path.
    rules: Vec<Rule>,
}

/// What to do with the requests of some hosts and paths.
#[derive(Debug, Clone)]
pub struct Rule {
    hostname: String,
    host: HostPattern,
    path: Option<PathPattern>,
    service: Service,
    pub(super) options: Options,
}

impl Configuration {
    /// Reads the YAML of a file that holds `ingress` and perhaps `originRequest`, and nothing
    /// else. A whole file of cloudflared's is read by [`ConfigurationFile`](super::ConfigurationFile).
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it: no rules, unknown keys, values that can't be, keys that
    /// mean nothing to their rule's service.
    pub fn from_yaml(text: &str) -> Result<Self, Problems> {
        let value = yaml::parse(text)?;
        let mut report = Report::default();
        let Some(mut map) = Map::open(&Place::whole(&value, Source::File), &mut report) else {
            return report.into_result(Self { rules: Vec::new() });
        };
        let configuration = Self::read(&mut map, &mut report);
        map.finish(&mut report);
        report.into_result(configuration)
    }

    /// Reads the JSON of a pushed configuration: `{"ingress":[..],"originRequest":{..}}`.
    /// Durations are whole seconds. Unknown keys are ignored.
    ///
    /// # Errors
    ///
    /// As for [`from_yaml`](Self::from_yaml).
    pub fn from_json(json: &[u8]) -> Result<Self, Problems> {
        let value = value::from_json(json)?;
        let mut report = Report::default();
        let Some(mut map) = Map::open(&Place::whole(&value, Source::Push), &mut report) else {
            return report.into_result(Self { rules: Vec::new() });
        };
        let configuration = Self::read(&mut map, &mut report);
        map.finish(&mut report);
        report.into_result(configuration)
    }

    /// One rule for everything, such as `http://127.0.0.1:8080` or `hello_world`.
    ///
    /// # Errors
    ///
    /// What is wrong with the service.
    pub fn single(service: &str) -> Result<Self, Problems> {
        let service = Service::parse(service)
            .map_err(|what| Problems::whole(None, format!("the service {what}")))?;
        let rule = Rule {
            hostname: String::new(),
            host: HostPattern::Any,
            path: None,
            service,
            options: Options::default(),
        };
        Ok(Self { rules: vec![rule] })
    }

    /// Reads the keys of ingress out of a map that may hold others.
    pub(super) fn read(map: &mut Map<'_>, report: &mut Report) -> Self {
        let above = Options::read(map.take("originRequest"), report);
        warp_routing(map.take("warp-routing"), report);
        let Some(list) = map.take("ingress") else {
            report.tell("ingress", None, "is missing; it lists the rules");
            return Self { rules: Vec::new() };
        };
        let places = list.list(report).unwrap_or_default();
        if places.is_empty() {
            list.tell(report, "holds no rule; the last one must be for every host");
        }
        if places.len() > limits::INGRESS_RULES {
            let what = format!("holds more than {} rules (INGRESS_RULES)", limits::INGRESS_RULES);
            list.tell(report, &what);
            return Self { rules: Vec::new() };
        }
        let last = places.len().saturating_sub(1);
        let rules: Vec<Rule> = places
            .iter()
            .enumerate()
            .filter_map(|(at, place)| Rule::read(place, at == last, &above, report))
            .collect();
        // A key above all rules need not mean something to each, but to one.
        for asked in &above.asked {
            if !rules.is_empty() && !rules.iter().any(|rule| asked.key.applies_to(&rule.service)) {
                let what = "has no effect on any rule's service";
                report.tell(&*asked.place, asked.line, what);
            }
        }
        Self { rules }
    }

    /// The rules in order; the last is for everything.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The first rule for a request's host and path, and its index. The host may have a port; the
    /// path is percent-encoded as in a request, without its query.
    pub fn find(&self, host: &str, path: &str) -> (usize, &Rule) {
        let host = hostname::plain(host);
        let path = path::plain(path);
        let last = self.rules.len() - 1;
        let found = self.rules[..last].iter().position(|rule| rule.matches(&host, &path));
        let index = found.unwrap_or(last);
        (index, &self.rules[index])
    }

    /// What a connector tells the edge about itself: the rules, with what stands above them folded
    /// in, and the program's settings.
    ///
    /// In cloudflared's shape: keys that have their default are left out, durations are seconds.
    pub fn to_local_configuration_json(&self, settings: &Settings) -> String {
        let rules: Vec<Json> = self.rules.iter().map(Rule::to_json).collect();
        let flags = settings.to_json();
        json!({ "__configuration_flags": flags, "ingress": rules, "warp-routing": {} }).to_string()
    }
}

impl Rule {
    fn read(at: &Place<'_>, is_last: bool, above: &Options, report: &mut Report) -> Option<Self> {
        let mut map = Map::open(at, report)?;
        let options = Options::read(map.take("originRequest"), report).over(above);
        let (hostname, host) = read_host(map.take("hostname"), report);
        let (has_path, path) = read_path(map.take("path"), report);
        let service = read_service(map.take("service"), at, &options, report);
        map.finish(report);
        let is_catch_all = host == Some(HostPattern::Any) && !has_path;
        if is_last && !is_catch_all {
            at.tell(report, "is the last rule, so it must have neither `hostname` nor `path`");
        }
        if !is_last && is_catch_all {
            at.tell(report, "is for every host and path, so the rules after it never apply");
        }
        let rule = Self { hostname, host: host?, path, service: service?, options };
        rule.check(report);
        Some(rule)
    }

    /// Keys that mean nothing to the service, or not together.
    fn check(&self, report: &mut Report) {
        for asked in &self.options.asked {
            let is_own = asked.place.starts_with("ingress");
            // Above all rules `bastionMode` would turn every rule into a bastion.
            let must_apply = is_own || asked.key == Key::BastionMode;
            if must_apply && !asked.key.applies_to(&self.service) {
                let service = self.service.to_string();
                let what = format!("has no effect on the service {}", value::quote(&service));
                report.tell(&*asked.place, asked.line, what);
            }
        }
        for (key, other, what) in [
            (Key::CaPool, Key::NoTlsVerify, "has no effect beside `noTLSVerify`"),
            (Key::OriginServerName, Key::MatchSniToHost, "contradicts `matchSNItoHost`"),
        ] {
            if let (Some(asked), Some(_)) = (self.options.asked(key), self.options.asked(other)) {
                report.tell(&*asked.place, asked.line, what);
            }
        }
    }

    /// The host pattern as it was written; empty for every host.
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// The path's regular expression.
    pub fn path(&self) -> Option<&str> {
        self.path.as_ref().map(PathPattern::as_str)
    }

    /// What answers.
    pub fn service(&self) -> &Service {
        &self.service
    }

    fn matches(&self, host: &str, path: &str) -> bool {
        self.host.matches(host) && self.path.as_ref().is_none_or(|pattern| pattern.matches(path))
    }

    fn to_json(&self) -> Json {
        let mut rule = JsonMap::new();
        if !self.hostname.is_empty() {
            rule.insert("hostname".into(), json!(self.hostname));
        }
        if let Some(path) = &self.path {
            rule.insert("path".into(), json!(path.as_str()));
        }
        rule.insert("service".into(), json!(self.service.to_string()));
        rule.insert("originRequest".into(), options_json(&self.options));
        Json::Object(rule)
    }
}

/// One line a key, as cloudflared's `tunnel ingress rule` prints a rule.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.hostname.is_empty() {
            writeln!(f, "\thostname: {}", self.hostname.escape_debug())?;
        }
        if let Some(path) = &self.path {
            writeln!(f, "\tpath: {}", path.as_str().escape_debug())?;
        }
        write!(f, "\tservice: {}", self.service.to_string().escape_debug())
    }
}

fn read_host(at: Option<Place<'_>>, report: &mut Report) -> (String, Option<HostPattern>) {
    let Some(at) = at else {
        return (String::new(), Some(HostPattern::Any));
    };
    let Some(text) = at.text(report) else {
        return (String::new(), None);
    };
    match HostPattern::parse(text) {
        Ok(pattern) => (text.to_owned(), Some(pattern)),
        Err(what) => {
            at.tell(report, &what);
            (text.to_owned(), None)
        }
    }
}

/// Whether there is one, and the one if it can be used.
fn read_path(at: Option<Place<'_>>, report: &mut Report) -> (bool, Option<PathPattern>) {
    let Some(at) = at else {
        return (false, None);
    };
    let text = at.text(report).unwrap_or_default();
    if text.is_empty() {
        return (false, None);
    }
    let pattern = PathPattern::parse(text);
    if let Err(what) = &pattern {
        at.tell(report, what);
    }
    (true, pattern.ok())
}

fn read_service(
    at: Option<Place<'_>>,
    rule: &Place<'_>,
    options: &Options,
    report: &mut Report,
) -> Option<Service> {
    let Some(at) = at else {
        if options.bastion_mode == Some(true) {
            return Some(Service::Bastion);
        }
        rule.tell(report, "has no `service`");
        return None;
    };
    let service = Service::parse(at.text(report)?);
    if let Err(what) = &service {
        at.tell(report, what);
    }
    service.ok()
}

/// Private networks are not offered: a file that asks for them is told so. In a push they are
/// some other connector's business, but what can't be read fails it as it fails cloudflared.
fn warp_routing(at: Option<Place<'_>>, report: &mut Report) {
    let Some(at) = at else { return };
    let Some(mut map) = Map::open(&at, report) else { return };
    let told = [
        map.take("connectTimeout").and_then(|at| at.duration(report)).is_some(),
        map.take("tcpKeepAlive").and_then(|at| at.duration(report)).is_some(),
        map.take("maxActiveFlows").and_then(|at| at.number(u32::MAX, report)).is_some(),
        map.take("enabled").and_then(|at| at.boolean(report)).unwrap_or(false),
    ];
    if at.source == Source::File && told.contains(&true) {
        at.tell(report, "has no effect: this connector routes no private network");
    }
    map.finish(report);
}

/// The keys that differ from cloudflared's defaults.
fn options_json(options: &Options) -> Json {
    let mut map = JsonMap::new();
    let mut tell = |key: &str, value: Option<Json>| {
        if let Some(value) = value {
            map.insert(key.into(), value);
        }
    };
    let seconds = |value: Option<std::time::Duration>, default| {
        let value = value.filter(|value| *value != default)?;
        // Whole seconds stay whole numbers, which a push can take back.
        Some(if value.subsec_nanos() == 0 {
            json!(value.as_secs())
        } else {
            json!(value.as_secs_f64())
        })
    };
    let flag = |value: Option<bool>| value.filter(|value| *value).map(Json::from);
    let text = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(Json::from);
    tell("connectTimeout", seconds(options.connect_timeout, options::CONNECT_TIMEOUT));
    tell("tlsTimeout", seconds(options.tls_timeout, options::TLS_TIMEOUT));
    tell("tcpKeepAlive", seconds(options.tcp_keep_alive, options::TCP_KEEP_ALIVE));
    tell("noHappyEyeballs", flag(options.no_happy_eyeballs));
    let connections = options.keep_alive_connections;
    let connections = connections.filter(|value| *value != options::KEEP_ALIVE_CONNECTIONS);
    tell("keepAliveConnections", connections.map(Json::from));
    tell("keepAliveTimeout", seconds(options.keep_alive_timeout, options::KEEP_ALIVE_TIMEOUT));
    tell("httpHostHeader", text(options.http_host_header.as_deref()));
    tell("originServerName", text(options.origin_server_name.as_deref()));
    tell("matchSNItoHost", flag(options.match_sni_to_host));
    tell("caPool", text(options.ca_pool.as_ref().and_then(|path| path.to_str())));
    tell("noTLSVerify", flag(options.no_tls_verify));
    tell("disableChunkedEncoding", flag(options.disable_chunked_encoding));
    tell("bastionMode", flag(options.bastion_mode));
    tell("http2Origin", flag(options.http2_origin));
    let ip_rules = options.ip_rules.iter().flatten();
    let ip_rules: Vec<Json> = ip_rules.map(super::network::IpRule::to_json).collect();
    tell("ipRules", (!ip_rules.is_empty()).then(|| ip_rules.into()));
    let access = options.access.as_ref().filter(|access| access.is_required());
    tell("access", access.map(super::access::AccessRule::to_json));
    Json::Object(map)
}
