//! The connector program's parts: arguments, configuration file, edge addresses, rules, events.

mod file;
mod rules;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use cert_manager::presets;
use clap::Args;
use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tracing::warn;
use tunnel_proto::{
    Credentials, Error, TunnelId,
    connector::{self, Connector, TlsDialer},
    ingress::{ConfigurationFile, Settings},
    limits,
};

pub use self::{
    file::read as read_file,
    rules::{matching, validate},
};
use crate::output::{Event, Reporter, chain};

/// Options of `connector tunnel`, as cloudflared has them.
#[derive(Debug, Clone, Args)]
pub struct TunnelOptions {
    /// The edge's address; name several to use several.
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "TUNNEL_EDGE",
        value_delimiter = ',',
        global = true
    )]
    pub edge: Vec<String>,
    /// The certificate authority that signed the edge's certificate (PEM). The system's
    /// authorities unless given.
    #[arg(long, value_name = "FILE", env = "TUNNEL_CACERT", global = true)]
    pub cacert: Option<PathBuf>,
    /// The tunnel's token. Other users of this machine can see it in the process list: prefer the
    /// variable or --token-file.
    #[arg(long, value_name = "TOKEN", env = "TUNNEL_TOKEN", hide_env_values = true, global = true)]
    pub token: Option<String>,
    /// A file with the tunnel's token.
    #[arg(long, value_name = "FILE", env = "TUNNEL_TOKEN_FILE", global = true)]
    pub token_file: Option<PathBuf>,
    /// A file with the tunnel's credentials (JSON).
    #[arg(long, value_name = "FILE", env = "TUNNEL_CRED_FILE", global = true)]
    pub credentials_file: Option<PathBuf>,
    /// What to show: a web server (`http://127.0.0.1:8080`, `https://10.0.0.5`,
    /// `unix:/run/app.sock`), or a TCP service for `cloudflared access` (`ssh://127.0.0.1`,
    /// `tcp://10.0.0.5:5432`).
    #[arg(long, value_name = "URL", env = "TUNNEL_URL", global = true)]
    pub url: Option<String>,
    /// Show the web server on this Unix socket.
    #[arg(long, value_name = "FILE", env = "TUNNEL_UNIX_SOCKET", global = true)]
    pub unix_socket: Option<PathBuf>,
    /// Show a page to try the tunnel with.
    #[arg(long, env = "TUNNEL_HELLO_WORLD", global = true)]
    pub hello_world: bool,
    /// Let visitors with `cloudflared access --destination` choose any TCP service that this
    /// machine can reach. A file's rule with `service: bastion` and `ipRules` allows only some.
    #[arg(long, env = "TUNNEL_BASTION", global = true)]
    pub bastion: bool,
    /// How many connections to keep [default: 4].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64), env = "TUNNEL_HA_CONNECTIONS", global = true)]
    pub ha_connections: Option<u8>,
    /// How long requests in flight may take once the program stops [default: 30s].
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, env = "TUNNEL_GRACE_PERIOD", global = true)]
    pub grace_period: Option<Duration>,
}

impl TunnelOptions {
    /// The tunnel's credentials, from wherever they are.
    ///
    /// # Errors
    ///
    /// None or several were given, or they can't be read. Secrets are not repeated.
    pub fn credentials(&self) -> anyhow::Result<Credentials> {
        let read = |file: &PathBuf| {
            std::fs::read_to_string(file)
                .with_context(|| format!("can't read `{}`", file.display()))
        };
        match (&self.token, &self.token_file, &self.credentials_file) {
            (Some(token), None, None) => Ok(Credentials::from_token(token)?),
            (None, Some(file), None) => Credentials::from_token(&read(file)?)
                .with_context(|| format!("in `{}`", file.display())),
            (None, None, Some(file)) => Credentials::from_json(&read(file)?)
                .with_context(|| format!("in `{}`", file.display())),
            (None, None, None) => bail!(
                "no token; the edge's operator gets one with `edge tunnel create NAME`; \
                 set TUNNEL_TOKEN or give --token-file"
            ),
            _ => bail!("several of --token, --token-file and --credentials-file; one is enough"),
        }
    }

    /// Where the edge is.
    ///
    /// # Errors
    ///
    /// No address, or authorities that can't be read.
    pub fn dialer(&self) -> anyhow::Result<TlsDialer> {
        if self.edge.is_empty() {
            bail!("no edge to connect to; give --edge HOST:PORT or set TUNNEL_EDGE");
        }
        let config = ClientConfig::builder_with_provider(presets::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?)
            .with_no_client_auth();
        Ok(TlsDialer::new(self.edge.clone(), Arc::new(config))?)
    }

    fn roots(&self) -> anyhow::Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        if let Some(file) = &self.cacert {
            let name = file.display();
            for certificate in CertificateDer::pem_file_iter(file)
                .with_context(|| format!("can't read the authority `{name}` (--cacert)"))?
            {
                let certificate =
                    certificate.with_context(|| format!("`{name}` is not a PEM certificate"))?;
                roots.add(certificate).with_context(|| format!("`{name}` can't be trusted"))?;
            }
            if roots.is_empty() {
                bail!("`{name}` holds no certificate (--cacert)");
            }
        } else {
            let native = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(native.certs);
            if roots.is_empty() {
                bail!("this system has no certificate authorities; give the edge's with --cacert");
            }
        }
        Ok(roots)
    }
}

/// Runs a connector until told to stop, by the options and by the file that filled them.
///
/// # Errors
///
/// Whatever the options get wrong, or the edge's refusal of the credentials.
pub async fn run(
    options: &TunnelOptions,
    file: Option<&ConfigurationFile>,
    reporter: Reporter,
    shutdown: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let credentials = options.credentials()?;
    check_tunnel(&credentials, file)?;
    let rules = options.rules(file)?;
    let settings = file.map_or_else(Settings::default, |file| file.settings().clone());
    let told = rules.as_ref().map(|rules| rules.to_local_configuration_json(&settings));
    let ingress = rules::serve(rules)?;
    let mut connector = Connector::builder(credentials, options.dialer()?)
        .connections(options.ha_connections.unwrap_or(4))
        .grace_period(options.grace_period.unwrap_or(Duration::from_secs(30)))
        .on_event(move |event| tell(&reporter, &event));
    if let Some(json) = told {
        let most = limits::TOLD_CONFIGURATION_BYTES;
        if json.len() <= most {
            connector = connector.local_configuration(json);
        } else {
            let bytes = json.len();
            warn!(
                bytes,
                most, "the rules are too long to be shown at the edge; they hold all the same"
            );
        }
    } else {
        // Rules of one's own are one's own: an edge can't change them.
        warn!(
            "no --url and no `ingress` rules: visitors get 503 until the edge sends rules; \
             to show a web server now, give --url http://127.0.0.1:8080"
        );
        let ingress = ingress.clone();
        connector = connector.remote_configuration(move |json| rules::apply(&ingress, json));
    }
    let connector = connector.service(ingress)?;
    connector.run(shutdown).await.map_err(|error| {
        let refused = chain(&error);
        anyhow::anyhow!(
            "{refused}; was the tunnel created at this edge, and is the token the one it printed?"
        )
    })
}

/// A file that names a tunnel by its id means that one.
fn check_tunnel(credentials: &Credentials, file: Option<&ConfigurationFile>) -> anyhow::Result<()> {
    let named = file.and_then(ConfigurationFile::tunnel);
    if let Some(id) = named.and_then(|tunnel| tunnel.parse::<TunnelId>().ok())
        && id != credentials.tunnel_id()
    {
        let own = credentials.tunnel_id();
        bail!("the file is for the tunnel {id}, but the credentials are for {own}");
    }
    Ok(())
}

/// Tells a connector's event in the programs' words.
pub fn tell(reporter: &Reporter, event: &connector::Event) {
    let event = match event {
        connector::Event::Connected { index, registered } => Event::Connected {
            index: *index,
            location: registered.location.escape_debug().to_string(),
            id: registered.connection_id.to_string(),
        },
        connector::Event::Retrying { index, error, after } => {
            Event::Retrying { index: *index, error: explain(error), seconds: after.as_secs_f64() }
        }
        connector::Event::Disconnected { index } => Event::Disconnected { index: *index },
        connector::Event::OriginFailed { error } => Event::OriginFailed { error: error.clone() },
        _ => return,
    };
    reporter.tell(&event);
}

/// An error with what to look at.
fn explain(error: &Error) -> String {
    let line = chain(error);
    match advice(error) {
        Some(advice) => format!("{line} ({advice})"),
        None => line,
    }
}

fn advice(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            // `source` of an I/O error is its content's source, so look inside first.
            if let Some(tls) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
            {
                return tls_advice(tls);
            }
            match io.kind() {
                std::io::ErrorKind::ConnectionRefused => {
                    return Some("is the edge running, and is --edge its tunnel address?");
                }
                std::io::ErrorKind::NetworkUnreachable
                | std::io::ErrorKind::HostUnreachable
                | std::io::ErrorKind::TimedOut => return Some("is this machine's network up?"),
                _ => {}
            }
        }
        next = error.source();
    }
    None
}

fn tls_advice(error: &rustls::Error) -> Option<&'static str> {
    match error {
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => Some("the edge's certificate is from the future: is this machine's clock right?"),
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => Some("the edge's certificate has expired: is this machine's clock right?"),
        // Authorities of two edges have the same name, so a wrong one shows as a wrong signature.
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => Some("does --cacert name the edge's authority?"),
        _ => None,
    }
}

/// `30s`, `500ms`, `2m`: one number and one unit, as in cloudflared's files.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let number: u64 =
        digits.parse().map_err(|_| format!("`{text}` is not a duration; write it as `30s`"))?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => number
            .checked_mul(60)
            .map(Duration::from_secs)
            .ok_or_else(|| format!("`{text}` is longer than anybody waits")),
        _ => Err(format!("`{text}` lacks its unit; write it as `30s`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "30", "s", "-1s", "1h30m", "1.5s", "9999999999999999999m"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
