//! The connector's configuration file, in cloudflared's shape.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use tunnel_proto::ingress::{ConfigurationFile, Problems, Settings};

use super::TunnelOptions;

/// Arguments that may stand in the file under their long names.
const SETTINGS: [&str; 12] = [
    "bastion",
    "cacert",
    "grace-period",
    "ha-connections",
    "hello-world",
    "loglevel",
    "no-autoupdate",
    "protocol",
    "token",
    "token-file",
    "unix-socket",
    "url",
];

/// Arguments that may be given several times, in the file as a list.
const LISTS: [&str; 1] = ["edge"];

/// Reads a file.
///
/// # Errors
///
/// It can't be read, or something in it is wrong: everything that is, one a line.
pub fn read(file: &Path) -> anyhow::Result<ConfigurationFile> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("can't read the configuration `{}`", file.display()))?;
    ConfigurationFile::parse(&text, &SETTINGS, &LISTS)
        .map_err(|problems| listed(&format!("`{}` can't be used", file.display()), &problems))
}

/// Problems below a headline, one a line.
pub(super) fn listed(headline: &str, problems: &Problems) -> anyhow::Error {
    let lines: Vec<String> = problems.iter().map(|problem| format!("\n  {problem}")).collect();
    anyhow!("{headline}:{}", lines.concat())
}

impl TunnelOptions {
    /// Takes from the file what neither an argument nor a variable says.
    ///
    /// # Errors
    ///
    /// A setting that can't be.
    pub fn fill(&mut self, file: &ConfigurationFile) -> anyhow::Result<()> {
        let settings = file.settings();
        if self.edge.is_empty() {
            self.edge = settings.all("edge").to_vec();
        }
        let path = |key| settings.get(key).map(PathBuf::from);
        self.cacert = self.cacert.take().or_else(|| path("cacert"));
        // One way to the credentials is enough, so an argument takes the place of all in the file.
        if self.token.is_none() && self.token_file.is_none() && self.credentials_file.is_none() {
            self.token = settings.get("token").map(str::to_owned);
            self.token_file = path("token-file");
            self.credentials_file = file.credentials_file().map(PathBuf::from);
        }
        if !self.has_service() {
            self.url = settings.get("url").map(str::to_owned);
            self.unix_socket = path("unix-socket");
            self.hello_world = flag(settings, "hello-world")?;
            self.bastion = flag(settings, "bastion")?;
        }
        if let (None, Some(number)) = (self.ha_connections, settings.get("ha-connections")) {
            let connections = number.parse().ok().filter(|number| (1..=64).contains(number));
            let connections = connections
                .with_context(|| format!("`ha-connections` is `{number}`, not from 1 to 64"))?;
            self.ha_connections = Some(connections);
        }
        if let (None, Some(text)) = (self.grace_period, settings.get("grace-period")) {
            let period = super::parse_duration(text);
            self.grace_period =
                Some(period.map_err(|what| anyhow!(what).context("in `grace-period`"))?);
        }
        if let Some(protocol) = settings.get("protocol")
            && !matches!(protocol, "auto" | "http2")
        {
            bail!("`protocol` is `{}`; this connector speaks `http2`", protocol.escape_debug());
        }
        if settings.get("no-autoupdate").is_some() && !flag(settings, "no-autoupdate")? {
            bail!("`no-autoupdate` is off, but this connector never updates itself");
        }
        Ok(())
    }
}

fn flag(settings: &Settings, key: &str) -> anyhow::Result<bool> {
    match settings.get(key) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => bail!("`{key}` is `{}`, not `true` or `false`", other.escape_debug()),
    }
}
