//! The edge's configuration: one TOML file, ten lines for the common case.
//!
//! ```toml
//! zone = "t.example.jp"
//! [listen]
//! https = "0.0.0.0:443"
//! [mail]
//! smtp = "smtps://mail.example.jp"
//! from = "access@example.jp"
//! [[app]]
//! host = "saito"
//! tunnel = "home"
//! allow = ["*@example.jp"]
//! ```

mod acme;
mod dns;
mod keys;

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use access_policy::{Application, Policies, Policy, PolicyEntry, Rule};
use anyhow::{Context as _, bail};
use otp_auth::{
    locale::Locale,
    mail::{MailPart, MailTexts, SmtpMailer},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, de::IgnoredAny};

pub use self::{
    acme::{Acme, Challenge, Fallback},
    dns::Dns,
};
use crate::rules::{Countries, People, Rules};

/// A whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The domain under which short host names stand.
    pub zone: String,
    /// Where people sign in. `auth.ZONE` unless set.
    pub auth_host: Option<String>,
    /// The directory with keys and secrets, relative to this file. `state` unless set.
    #[serde(default = "default_state")]
    pub state: PathBuf,
    /// The port that visitors use, if something in front of the edge moves it.
    pub public_port: Option<u16>,
    /// A short code for this edge, shown to operators of connectors. `edge` unless set.
    #[serde(default = "default_location")]
    pub location: String,
    /// A database of countries (`.mmdb`), for policies with `geo`, relative to
    /// this file.
    pub country_database: Option<PathBuf>,
    /// A file of what is known about people besides their addresses: GitHub organisations, groups,
    /// claims. Relative to this file.
    pub identities: Option<PathBuf>,
    /// Sockets.
    pub listen: Listen,
    /// How codes are delivered.
    pub mail: Mail,
    /// Authorities that issue public certificates, in the order of preference. The edge's own unless there is one.
    #[serde(default, deserialize_with = "acme::one_or_several")]
    pub acme: Vec<Acme>,
    /// A zone that the edge may change: for challenges, and for records of hosts.
    pub dns: Option<Dns>,
    /// Applications.
    #[serde(default)]
    pub app: Vec<App>,
}

/// Addresses to listen at.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Visitors, and connectors unless `tunnel` is set.
    pub https: SocketAddr,
    /// Plain HTTP, sent on to HTTPS.
    pub http: Option<SocketAddr>,
    /// Connectors only.
    pub tunnel: Option<SocketAddr>,
}

/// A mail server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// `smtp://HOST[:PORT]` or `smtps://HOST[:PORT]`.
    pub smtp: String,
    /// The sender's address.
    pub from: String,
    /// The mail server's user.
    pub user: Option<String>,
    /// The file with the user's password, relative to this file.
    pub password_file: Option<PathBuf>,
    /// A directory with other words for the mails, relative to this file; see [`Config::mail_texts`].
    pub templates: Option<PathBuf>,
}

/// An application.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// The host name: one word under the zone, or a whole name; with a path, what lies below it.
    pub host: String,
    /// The tunnel that serves it.
    pub tunnel: String,
    /// Who may pass: `a@example.jp`, `*@example.jp` or `*` for everybody with an address.
    #[serde(default)]
    pub allow: Vec<String>,
    /// From where only: addresses or networks such as `192.0.2.0/24`.
    #[serde(default)]
    pub require_ip: Vec<String>,
    /// A file with policies in Access's JSON instead, relative to this file.
    pub policies: Option<PathBuf>,
}

fn default_state() -> PathBuf {
    "state".into()
}

fn default_location() -> String {
    "edge".into()
}

impl Config {
    /// Reads a file. Paths in it become relative to its directory.
    ///
    /// # Errors
    ///
    /// Names file, line and remedy: an unknown key comes with the nearest known one.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("can't read the configuration `{}`", path.display()))?;
        let mut config = Self::parse(&text).with_context(|| format!("in `{}`", path.display()))?;
        let directory = path.parent().unwrap_or(Path::new("."));
        config.state = directory.join(&config.state);
        let mail = &mut config.mail;
        let files = [&mut mail.password_file, &mut mail.templates, &mut config.country_database];
        for file in files.into_iter().chain([&mut config.identities]).flatten() {
            *file = directory.join(&*file);
        }
        for app in &mut config.app {
            if let Some(file) = &mut app.policies {
                *file = directory.join(&*file);
            }
        }
        let acme = config.acme.iter_mut().flat_map(|it| [&mut it.ca_file, &mut it.eab_key_file]);
        let dns = config.dns.iter_mut().flat_map(|it| [&mut it.key_file, &mut it.hook]);
        for file in acme.chain(dns).flatten() {
            *file = directory.join(&*file);
        }
        Ok(config)
    }

    /// Reads a text.
    ///
    /// # Errors
    ///
    /// As [`Config::read`], without the file's name.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        keys::check(text)?;
        let mut config: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| keys::line_of(text, span.start));
            anyhow::anyhow!("line {line}: {}", error.message())
        })?;
        config.zone = normal_host("zone", &config.zone)?;
        config.auth_host =
            config.auth_host.map(|host| normal_host("auth_host", &host)).transpose()?;
        for app in &mut config.app {
            let (host, path) = app.host.split_at(app.host.find('/').unwrap_or(app.host.len()));
            app.host = normal_host("app.host", host)? + path;
        }
        for app in &config.app {
            let name = app.host.escape_debug();
            if app.policies.is_some() != app.allow.is_empty() {
                bail!("app `{name}`: say who may pass, with either `allow` or `policies`");
            }
            if app.policies.is_some() && !app.require_ip.is_empty() {
                bail!(
                    "app `{name}`: `require_ip` goes with `allow`; with `policies`, say it there"
                );
            }
            if config.host_of(app) == config.team_host() {
                bail!(
                    "app `{name}`: people sign in at this host; give the application another one"
                );
            }
        }
        config.dns.as_ref().map(Dns::check).transpose()?;
        config.check_acme()?;
        Ok(config)
    }

    /// The host where people sign in.
    pub fn team_host(&self) -> String {
        self.auth_host.clone().unwrap_or_else(|| format!("auth.{}", self.zone))
    }

    /// All hosts that visitors come to: of the applications, and where they sign in.
    pub fn hosts(&self) -> BTreeSet<String> {
        let hosts = self.app.iter().map(|app| self.host_of(app));
        hosts.chain([self.team_host()]).collect()
    }

    /// The whole host name of an application, without its path.
    pub fn host_of(&self, app: &App) -> String {
        let pattern = self.pattern_of(app);
        pattern.split('/').next().unwrap_or_default().to_owned()
    }

    /// The path that visitors open first: where the application begins.
    pub fn path_of(&self, app: &App) -> String {
        let pattern = self.pattern_of(app);
        pattern.find('/').map_or_else(|| "/".to_owned(), |at| pattern[at..].to_owned())
    }

    /// Host and path that an application protects.
    fn pattern_of(&self, app: &App) -> String {
        let (host, path) = app.host.split_at(app.host.find('/').unwrap_or(app.host.len()));
        if host.contains('.') { app.host.clone() } else { format!("{host}.{}{path}", self.zone) }
    }

    /// The policies of all applications, with people and countries.
    ///
    /// # Errors
    ///
    /// As [`Config::policies`]; policies that contradict one another; an unreadable file of people.
    /// A database of countries that can't be read is none: then rules about countries admit nobody.
    pub fn rules(&self) -> anyhow::Result<Rules> {
        let mut rules =
            Rules::new(self.policies()?).map_err(|error| self.name_application(error))?;
        if let Some(file) = &self.identities {
            rules = rules.people(People::read(file)?);
        }
        if let Some(file) = &self.country_database {
            rules = rules.countries(Countries::open(file));
        }
        Ok(rules)
    }

    /// The policies of all applications.
    ///
    /// # Errors
    ///
    /// Names the application and what is wrong with it.
    pub fn policies(&self) -> anyhow::Result<Policies> {
        let applications = self.app.iter().map(|app| {
            let pattern = self.pattern_of(app);
            Self::application(app, &pattern)
                .with_context(|| format!("app `{}`", pattern.escape_debug()))
        });
        Ok(Policies::new(applications.collect::<anyhow::Result<Vec<_>>>()?))
    }

    /// Puts the name of the application before a fault that tells it by position.
    fn name_application(&self, error: access_policy::Error) -> anyhow::Error {
        let place = error.location().and_then(|place| place.strip_prefix("/applications/"));
        let position = place.and_then(|place| place.split('/').next()?.parse::<usize>().ok());
        match position.and_then(|at| self.app.get(at)) {
            Some(app) => {
                let name = self.pattern_of(app).escape_debug().to_string();
                anyhow::Error::from(error).context(format!("app `{name}`"))
            }
            None => error.into(),
        }
    }

    fn application(app: &App, pattern: &str) -> anyhow::Result<Application> {
        if let Some(file) = &app.policies {
            let text = fs::read_to_string(file)
                .with_context(|| format!("can't read `{}`", file.display()))?;
            // Passed on as it stands, so that a key given twice is still found.
            serde_json::from_str::<IgnoredAny>(&text)
                .with_context(|| format!("`{}` is not JSON", file.display()))?;
            let id = serde_json::Value::from(pattern);
            let document = format!(
                r#"{{"applications": [{{"id": {id}, "name": {id}, "domain": {id}, "policies":
{text}}}]}}"#
            );
            let mut policies = Policies::from_json(&document)
                .with_context(|| format!("in `{}`", file.display()))?;
            let application = policies.applications.pop().context("no application")?;
            for entry in &application.policies {
                if let PolicyEntry::Inline(policy) = entry
                    && policy.obligations().is_some()
                {
                    bail!(
                        "in `{}`: policy `{}` demands more than a login (a second factor, an \
                         approval, a purpose, isolation), which this edge can't enforce",
                        file.display(),
                        policy.name.escape_debug()
                    );
                }
            }
            return Ok(application);
        }
        let mut policy = Policy::allow("allow");
        for mail in &app.allow {
            policy = policy.include(Rule::from_allowed_mail(mail)?);
        }
        match app.require_ip.as_slice() {
            [] => {}
            [network] => policy = policy.require(Rule::Ip(network.parse()?)),
            _ => bail!("`require_ip` takes one network; for several, use a file with `policies`"),
        }
        Ok(Application::new(pattern).destination(pattern.parse()?).policy(policy))
    }

    /// The words of the mails: of the files `en.subject.txt`, `en.text.txt`, `en.html` and the same with `ja`
    /// those that `mail.templates` has, ours for the rest.
    ///
    /// # Errors
    ///
    /// A file with another name, none at all, or one with a fault, which is named with its line.
    pub fn mail_texts(&self) -> anyhow::Result<Vec<(Locale, MailTexts)>> {
        let Some(directory) = &self.mail.templates else { return Ok(Vec::new()) };
        let names = fs::read_dir(directory)
            .and_then(|entries| {
                entries.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>, _>>()
            })
            .with_context(|| format!("can't read `{}`", directory.display()))?;
        let mut texts = [Locale::En, Locale::Ja].map(|locale| (locale, MailTexts::ours(locale)));
        for name in &names {
            let known = TEMPLATES.iter().find(|(known, ..)| name.to_str() == Some(known));
            let path = directory.join(name);
            let Some((_, locale, part)) = known else {
                let known = TEMPLATES.map(|(name, ..)| name).join(", ");
                bail!("`{}` is none of {known}", path.display());
            };
            let template = read_template(&path)?;
            for (_, texts) in texts.iter_mut().filter(|(its, _)| its == locale) {
                let changed = match part {
                    MailPart::Subject => texts.clone().subject(&template),
                    MailPart::Text => texts.clone().text(&template),
                    MailPart::Html => texts.clone().html(&template),
                };
                *texts = changed.with_context(|| format!("in `{}`", path.display()))?;
            }
        }
        if names.is_empty() {
            bail!(
                "`{}` is empty; leave `mail.templates` out to use our words",
                directory.display()
            );
        }
        Ok(texts.into())
    }

    /// The mailer.
    ///
    /// # Errors
    ///
    /// A URL, address or password file that can't be used.
    pub fn mailer(&self) -> anyhow::Result<SmtpMailer> {
        let mail = &self.mail;
        let (scheme, rest) = mail
            .smtp
            .split_once("://")
            .context("`mail.smtp` must begin with `smtp://` or `smtps://`")?;
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let login = match (&mail.user, &mail.password_file) {
            (None, None) => String::new(),
            (Some(user), Some(file)) => {
                let password = fs::read_to_string(file)
                    .with_context(|| format!("can't read `{}`", file.display()))?;
                format!("{}:{}@", encode(user), encode(password.trim_end_matches(['\r', '\n'])))
            }
            _ => bail!("`mail.user` and `mail.password_file` go together"),
        };
        let glue = if rest.contains('?') { '&' } else { '?' };
        let from = encode(&mail.from);
        SmtpMailer::from_url(&format!("{scheme}://{login}{rest}{glue}from={from}"))
            .context("`mail` can't be used")
    }
}

/// The files that a directory of templates may have.
const TEMPLATES: [(&str, Locale, MailPart); 6] = [
    ("en.subject.txt", Locale::En, MailPart::Subject),
    ("en.text.txt", Locale::En, MailPart::Text),
    ("en.html", Locale::En, MailPart::Html),
    ("ja.subject.txt", Locale::Ja, MailPart::Subject),
    ("ja.text.txt", Locale::Ja, MailPart::Text),
    ("ja.html", Locale::Ja, MailPart::Html),
];

/// A template is shorter.
const TEMPLATE_BYTES: u64 = 128 * 1024;

fn read_template(file: &Path) -> anyhow::Result<String> {
    let context = || format!("can't read `{}`", file.display());
    let mut text = String::new();
    let opened = fs::File::open(file).with_context(context)?;
    opened.take(TEMPLATE_BYTES).read_to_string(&mut text).with_context(context)?;
    Ok(text)
}

/// A host name in the one form that everything compares: lower case, no trailing dot.
fn normal_host(key: &str, text: &str) -> anyhow::Result<String> {
    let request = access_policy::Request::new(text, "/").ok().filter(|_| !text.contains(':'));
    match request {
        Some(request) => Ok(request.host().to_owned()),
        None => bail!(
            "`{key}` is `{}`; a host name such as `t.example.jp` is meant",
            text.escape_debug()
        ),
    }
}

#[cfg(test)]
mod tests;
