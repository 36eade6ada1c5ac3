//! What a connector shows: one service, a file's rules, or what the edge sends.

use std::path::Path;

use anyhow::{Context as _, bail};
use cert_manager::presets;
use rustls::RootCertStore;
use tunnel_proto::ingress::{Configuration, ConfigurationFile, Environment, Ingress};

use super::{TunnelOptions, file};
use crate::output::chain;

impl TunnelOptions {
    /// Whether the arguments name a service.
    pub(super) fn has_service(&self) -> bool {
        self.url.is_some() || self.unix_socket.is_some() || self.hello_world || self.bastion
    }

    /// The rules to go by. None without any: the edge is to send them.
    ///
    /// # Errors
    ///
    /// Several services, a service beside a file's rules, or one that can't be.
    pub fn rules(&self, file: Option<&ConfigurationFile>) -> anyhow::Result<Option<Configuration>> {
        let from_file = file.and_then(ConfigurationFile::configuration);
        let socket = self.unix_socket.as_ref().map(|path| format!("unix:{}", path.display()));
        let services: Vec<(&str, String)> = [
            ("--url", self.url.as_deref().map(with_scheme)),
            ("--unix-socket", socket),
            ("--hello-world", self.hello_world.then(|| "hello_world".into())),
            ("--bastion", self.bastion.then(|| "bastion".into())),
        ]
        .into_iter()
        .filter_map(|(name, service)| Some((name, service?)))
        .collect();
        match (&services[..], from_file) {
            ([], rules) => Ok(rules.cloned()),
            ([(name, _), ..], Some(_)) => {
                bail!("{name} beside the file's `ingress` rules; one of them is enough")
            }
            ([(name, service)], None) => {
                let single = Configuration::single(service)
                    .map_err(|problems| anyhow::anyhow!("{problems} ({name})"))?;
                Ok(Some(single))
            }
            ([(one, _), (other, _), ..], None) => {
                bail!("{one} beside {other}; a connector without `ingress` rules has one service")
            }
        }
    }
}

/// Makes origins for rules.
///
/// # Errors
///
/// Authorities that rules name and that can't be read, each with its place.
pub(super) fn serve(rules: Option<Configuration>) -> anyhow::Result<Ingress> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let environment = Environment::new().tls(presets::provider(), roots);
    match rules {
        Some(rules) => Ok(Ingress::from_configuration(rules, environment)?),
        None => Ok(Ingress::empty(environment)),
    }
}

/// Puts what the edge sent into force.
///
/// # Errors
///
/// Why not, for the edge's operator; then the former rules stay.
pub(super) fn apply(ingress: &Ingress, json: &str) -> Result<(), String> {
    ingress.replace(json.as_bytes()).map_err(|error| chain(&error))
}

/// `tunnel ingress validate`: says whether a file's rules can be used.
///
/// # Errors
///
/// Everything that is wrong with them.
pub fn validate(path: &Path) -> anyhow::Result<String> {
    let rules = from_file(path)?;
    let count = rules.rules().len();
    serve(Some(rules)).with_context(|| format!("`{}` can't be used", path.display()))?;
    let noun = if count == 1 { "rule" } else { "rules" };
    Ok(format!("Validating rules from {}\nOK: {count} {noun}", path.display()))
}

/// `tunnel ingress rule URL`: says which rule a request would get, counted from 0 as in messages.
///
/// # Errors
///
/// A URL without a host, or rules that can't be used.
pub fn matching(path: &Path, url: &str) -> anyhow::Result<String> {
    let rules = from_file(path)?;
    let uri: http::Uri = url.parse().with_context(|| format!("`{url}` is not a URL"))?;
    let (Some(_), Some(host)) = (uri.scheme(), uri.host()) else {
        bail!("`{url}` is not a whole URL; write it as `https://app.example.jp/path`");
    };
    let (index, rule) = rules.find(host, uri.path());
    Ok(format!("Using rules from {}\nMatched rule #{index}\n{rule}", path.display()))
}

fn from_file(path: &Path) -> anyhow::Result<Configuration> {
    let file = file::read(path)?;
    let rules = file.configuration().cloned();
    rules.with_context(|| format!("`{}` has no `ingress` rules", path.display()))
}

/// As in cloudflared, `HOST:PORT` alone is a web server's.
fn with_scheme(url: &str) -> String {
    let is_host = url.parse::<http::uri::Authority>().is_ok_and(|host| host.port().is_some())
        && !url.starts_with("http_status:");
    if is_host { format!("http://{url}") } else { url.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_port_are_a_web_server() {
        for (url, expected) in [
            ("localhost:8080", "http://localhost:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("https://a.test", "https://a.test"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
            ("http_status:404", "http_status:404"),
            ("hello_world", "hello_world"),
            ("", ""),
        ] {
            assert_eq!(with_scheme(url), expected);
        }
    }
}
