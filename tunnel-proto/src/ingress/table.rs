//! Rules with the origins that they name, ready to answer.

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::{Request, Response};
use tower_service::Service as _;

use super::{
    access::{Denied, Guard, Issuer, Keyring},
    configuration::{Configuration, Rule},
    environment::Environment,
    network,
    options::{Key, Options},
    problem::{Problems, Report},
    service::Service,
};
use crate::{
    net::body::Incoming,
    origin::{
        BastionOrigin, HelloOrigin, HttpOrigin, HttpOriginBuilder, OriginBody, OriginError,
        StatusOrigin, TcpOrigin, TcpSettings, status,
    },
};

/// All rules in force, and what answers for each.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) configuration: Configuration,
    /// One for each rule.
    entries: Vec<Entry>,
    keyrings: HashMap<Issuer, Arc<Keyring>>,
}

#[derive(Debug)]
struct Entry {
    guard: Option<Guard>,
    origin: Origin,
}

#[derive(Debug, Clone)]
enum Origin {
    Http(HttpOrigin),
    Status(StatusOrigin),
    Hello(HelloOrigin),
    Tcp(TcpOrigin),
    Bastion(BastionOrigin),
}

impl Table {
    /// Makes origins for rules. Keys that the `former` table has fetched are kept.
    pub(super) fn build(
        configuration: Configuration,
        environment: &Environment,
        former: Option<&Self>,
    ) -> Result<Self, Problems> {
        let mut report = Report::default();
        let mut keyrings = HashMap::new();
        let mut entries = Vec::new();
        for (index, rule) in configuration.rules().iter().enumerate() {
            let guard = guard(rule, environment, former, &mut keyrings);
            if let Some(origin) = origin(rule, index, environment, &mut report) {
                entries.push(Entry { guard, origin });
            }
        }
        report.into_result(Self { configuration, entries, keyrings })
    }

    /// Answers a request by its rule.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<OriginBody>, OriginError> {
        let (index, _) = self.configuration.find(host(&request), request.uri().path());
        let entry = &self.entries[index];
        if let Some(guard) = &entry.guard {
            match guard.check(request.headers()).await {
                Ok(()) => {}
                Err(Denied::Answer(code)) => return Ok(status(code)),
                Err(Denied::Error(error)) => return Err(error),
            }
        }
        match entry.origin.clone() {
            Origin::Http(mut origin) => origin.call(request).await,
            Origin::Status(mut origin) => origin.call(request).await,
            Origin::Hello(mut origin) => origin.call(request).await,
            Origin::Tcp(mut origin) => origin.call(request).await,
            Origin::Bastion(mut origin) => origin.call(request).await,
        }
    }
}

fn host(request: &Request<Incoming>) -> &str {
    let stated = request.uri().authority().map(http::uri::Authority::as_str);
    let header = || request.headers().get(http::header::HOST)?.to_str().ok();
    stated.or_else(header).unwrap_or_default()
}

fn guard(
    rule: &Rule,
    environment: &Environment,
    former: Option<&Table>,
    keyrings: &mut HashMap<Issuer, Arc<Keyring>>,
) -> Option<Guard> {
    let access = rule.options.access.as_ref().filter(|access| access.is_required())?;
    let keys = access.issuer().map(|issuer| {
        let known = keyrings.get(&issuer).or_else(|| former?.keyrings.get(&issuer));
        let keyring = known
            .map_or_else(|| Arc::new(Keyring::new(issuer.clone(), environment.keys())), Arc::clone);
        keyrings.insert(issuer, Arc::clone(&keyring));
        keyring
    });
    Some(Guard::new(access, keys))
}

fn origin(
    rule: &Rule,
    index: usize,
    environment: &Environment,
    report: &mut Report,
) -> Option<Origin> {
    match rule.service() {
        Service::Status(status) => Some(Origin::Status(StatusOrigin::new(*status))),
        Service::HelloWorld => Some(Origin::Hello(HelloOrigin::new())),
        service @ (Service::Http { .. } | Service::Unix { .. }) => {
            let mut origin = http(HttpOrigin::builder(service.to_string()), &rule.options);
            if service.is_tls() {
                match tls(origin, rule, environment) {
                    Ok(with_tls) => origin = with_tls,
                    Err(what) => {
                        let asked = rule.options.asked(Key::CaPool);
                        let place = asked.map_or_else(
                            || format!("ingress[{index}].service"),
                            |asked| asked.place.clone(),
                        );
                        report.tell(place, asked.and_then(|asked| asked.line), what);
                        return None;
                    }
                }
            }
            let built = origin.build();
            if let Err(error) = &built {
                report.tell(format!("ingress[{index}].service"), None, error.to_string());
            }
            built.ok().map(Origin::Http)
        }
        Service::Tcp { host, port, .. } => {
            let built = TcpOrigin::with_settings(host, *port, tcp(&rule.options));
            if let Err(error) = &built {
                report.tell(format!("ingress[{index}].service"), None, error.to_string());
            }
            built.ok().map(Origin::Tcp)
        }
        Service::Bastion => {
            let rules = rule.options.ip_rules.clone().unwrap_or_default();
            let bastion = BastionOrigin::with_settings(tcp(&rule.options));
            let bastion = bastion.allow(move |ip, port| network::allows(&rules, ip, port));
            Some(Origin::Bastion(bastion))
        }
    }
}

fn tcp(options: &Options) -> TcpSettings {
    let mut settings = TcpSettings::DEFAULT;
    if let Some(timeout) = options.connect_timeout {
        settings.connect_timeout = unless_zero(timeout);
    }
    if let Some(interval) = options.tcp_keep_alive {
        settings.keep_alive = unless_zero(interval);
    }
    settings.happy_eyeballs = !options.no_happy_eyeballs.unwrap_or(false);
    settings
}

fn http(mut origin: HttpOriginBuilder, options: &Options) -> HttpOriginBuilder {
    if let Some(timeout) = options.connect_timeout {
        origin = origin.connect_timeout(unless_zero(timeout));
    }
    if let Some(interval) = options.tcp_keep_alive {
        origin = origin.tcp_keep_alive(unless_zero(interval));
    }
    if let Some(connections) = options.keep_alive_connections {
        origin = origin.keep_alive_connections(connections as usize);
    }
    if let Some(timeout) = options.keep_alive_timeout {
        origin = origin.keep_alive_timeout(unless_zero(timeout));
    }
    if let Some(host) = options.http_host_header.as_ref().filter(|host| !host.is_empty()) {
        origin = origin.host_header(host);
    }
    origin
        .happy_eyeballs(!options.no_happy_eyeballs.unwrap_or(false))
        .http2(options.http2_origin.unwrap_or(false))
        .without_chunks(options.disable_chunked_encoding.unwrap_or(false))
}

fn tls(
    mut origin: HttpOriginBuilder,
    rule: &Rule,
    environment: &Environment,
) -> Result<HttpOriginBuilder, String> {
    let options = &rule.options;
    let trust = if options.no_tls_verify.unwrap_or(false) {
        environment.danger_trust_anybody()?
    } else {
        let ca_pool = options.ca_pool.as_deref().filter(|path| !path.as_os_str().is_empty());
        environment.trust(ca_pool)?
    };
    if let Some(timeout) = options.tls_timeout {
        origin = origin.tls_timeout(unless_zero(timeout));
    }
    if let Some(name) = options.origin_server_name.as_ref().filter(|name| !name.is_empty()) {
        origin = origin.server_name(name);
    }
    let from_host = options.match_sni_to_host.unwrap_or(false);
    Ok(origin.server_name_from_host(from_host).tls(Arc::new(trust)))
}

/// As in Go, zero is no limit.
fn unless_zero(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}
