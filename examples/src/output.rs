//! What the programs tell: events on standard output, logs on standard error.

mod log;

use std::{
    fmt,
    io::{IsTerminal as _, Write as _},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::ValueEnum;
use serde::Serialize;
use time::format_description::well_known::Rfc3339;
use tracing_subscriber::EnvFilter;

pub use self::log::LogGuard;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// Sentences for people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// Something an operator or a test wants to know.
///
/// In JSON an event is one line: `event` names it in `snake_case`, `time` is Unix seconds, and its
/// fields stand beside them.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// Everything listens and the first page can be opened.
    Ready {
        /// What to open.
        urls: Vec<String>,
        /// Who may pass, in words.
        rules: Vec<String>,
        /// Where codes appear.
        codes: String,
        /// Where connectors dial.
        tunnel: String,
        /// Who issues the certificates that visitors see.
        certificates: String,
        /// The edge's own authority: connectors must trust it, and visitors' browsers where it issues for them too.
        ca_file: String,
    },
    /// A code, where no mail server is: for trying things out only.
    Code {
        /// For whom.
        address: String,
        /// The code.
        code: String,
        /// How long it is good for.
        minutes: u64,
    },
    /// A mail with a code went out.
    CodeSent {
        /// Where it went, not in full.
        address: String,
    },
    /// A code was asked for and none was sent. The visitor can't tell.
    CodeNotSent {
        /// For whom, not in full.
        address: String,
        /// Why.
        reason: String,
    },
    /// The mail server did not take a mail yet. It is tried again until the code ends; the visitor sees the
    /// ordinary page.
    MailDelayed {
        /// For whom, not in full.
        address: String,
        /// What happened, and what to look at.
        error: String,
        /// When it is tried again.
        seconds: f64,
    },
    /// The mail server will not take a mail. The visitor sees the ordinary page.
    MailFailed {
        /// For whom, not in full.
        address: String,
        /// What happened, and what to look at.
        error: String,
    },
    /// Somebody entered the right code.
    SignedIn {
        /// Who, not in full.
        address: String,
    },
    /// A code was not accepted.
    CodeRefused {
        /// The true reason, which the visitor is not told.
        reason: String,
    },
    /// A connector's connection registered.
    ConnectorConnected {
        /// The tunnel it serves.
        tunnel: String,
        /// The connector process.
        connector: String,
        /// Which of its connections.
        index: u8,
        /// Its version.
        version: String,
    },
    /// A connector's connection took its leave and is closed.
    ConnectorLeft {
        /// The tunnel it served.
        tunnel: String,
        /// The connector process.
        connector: String,
        /// Which of its connections.
        index: u8,
    },
    /// A connector's connection is gone without leave.
    ConnectorLost {
        /// The tunnel it served.
        tunnel: String,
        /// The connector process.
        connector: String,
        /// Which of its connections.
        index: u8,
        /// Why.
        reason: String,
    },
    /// A connector was turned away.
    ConnectorRefused {
        /// Its address.
        peer: String,
        /// Why.
        reason: String,
    },
    /// This connector's connection registered.
    Connected {
        /// Which one, from 0.
        index: u8,
        /// The edge's location code.
        location: String,
        /// The connection's id, which the edge's log has too.
        id: String,
    },
    /// This connector's connection is gone or could not be made.
    Retrying {
        /// Which one, from 0.
        index: u8,
        /// What happened and what to look at.
        error: String,
        /// When the next attempt starts.
        seconds: f64,
    },
    /// This connector's connection took its leave.
    Disconnected {
        /// Which one, from 0.
        index: u8,
    },
    /// The edge read its rules again and they are in force.
    RulesReplaced {
        /// Who may pass, in words.
        rules: Vec<String>,
    },
    /// The edge read its rules again and could not use them: the old ones stay in force.
    RulesRefused {
        /// What is wrong, and where.
        error: String,
    },
    /// A certificate for visitors was issued and is served.
    CertificateIssued {
        /// What it carries.
        names: Vec<String>,
        /// By whom.
        issuer: String,
        /// In hexadecimal digits.
        serial: String,
        /// Its last second.
        until: String,
    },
    /// A certificate for visitors could not be had. What there is keeps serving.
    CertificateFailed {
        /// What it was to carry.
        names: Vec<String>,
        /// From whom.
        issuer: String,
        /// Why.
        error: String,
        /// When it is tried again.
        seconds: f64,
    },
    /// A host's DNS record was written.
    HostRegistered {
        /// The host.
        host: String,
        /// Where it leads.
        target: String,
    },
    /// A host's DNS record could not be written, or not be taken away.
    HostRefused {
        /// The host.
        host: String,
        /// Why, and what to do.
        error: String,
    },
    /// The DNS record of a host that is not configured any more was taken away.
    HostRemoved {
        /// The host.
        host: String,
    },
    /// The origin gave no answer; the visitor sees a page that says so.
    OriginFailed {
        /// What happened.
        error: String,
    },
    /// The program begins to stop.
    Stopping,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { urls, rules, codes, tunnel, certificates, ca_file } => {
                writeln!(f)?;
                for (url, rule) in urls.iter().zip(rules) {
                    writeln!(f, "  Open     {url}")?;
                    writeln!(f, "  Rule     {rule}")?;
                }
                writeln!(f, "  Codes    {codes}")?;
                writeln!(f, "  Tunnel   {tunnel} (cloudflared's protocol)")?;
                writeln!(f, "  Issuer   {certificates}")?;
                writeln!(f, "  Trust    {ca_file} (for connectors, and browsers that warn)")?;
                writeln!(f, "  Stop     Ctrl-C")
            }
            Self::Code { address, code, minutes } => {
                let (left, right) = code.split_at_checked(3).unwrap_or((code, ""));
                write!(f, "code for {address}: {left} {right} (valid {minutes} min)")
            }
            Self::CodeSent { address } => write!(f, "code sent to {address}"),
            Self::CodeNotSent { address, reason } => {
                write!(f, "no code sent to {address}: {reason}")
            }
            Self::MailDelayed { address, error, seconds } => {
                write!(f, "the code for {address} waits {seconds:.0} s: {error}")
            }
            Self::MailFailed { address, error } => {
                write!(f, "the code for {address} could not be mailed: {error}")
            }
            Self::SignedIn { address } => write!(f, "{address} signed in"),
            Self::CodeRefused { reason } => write!(f, "a code was refused: {reason}"),
            Self::ConnectorConnected { tunnel, connector, index, version } => {
                write!(f, "connector {connector} ({version}), connection {index}: serves {tunnel}")
            }
            Self::ConnectorLeft { tunnel, connector, index } => {
                write!(f, "connector {connector}, connection {index}: left {tunnel}")
            }
            Self::ConnectorLost { tunnel, connector, index, reason } => {
                write!(f, "connector {connector}, connection {index}: lost to {tunnel}: {reason}")
            }
            Self::ConnectorRefused { peer, reason } => {
                write!(f, "connector at {peer} turned away: {reason}")
            }
            Self::Connected { index, location, id } => {
                write!(f, "connection {index} registered at {location} as {id}")
            }
            Self::Retrying { index, error, seconds } => {
                write!(f, "connection {index}: {error}; trying again in {seconds:.1} s")
            }
            Self::Disconnected { index } => write!(f, "connection {index} closed"),
            Self::RulesReplaced { rules } => {
                write!(f, "new rules are in force:")?;
                rules.iter().try_for_each(|rule| write!(f, "\n  Rule     {rule}"))
            }
            Self::RulesRefused { error } => {
                write!(f, "the new rules can't be used, the old ones stay in force: {error}")
            }
            Self::CertificateIssued { names, issuer, serial, until } => {
                let names = names.join(", ");
                write!(f, "certificate for {names}: {serial} from {issuer}, good until {until}")
            }
            Self::CertificateFailed { names, issuer, error, seconds } => {
                let names = names.join(", ");
                write!(
                    f,
                    "no certificate for {names} from {issuer}: {error}; tried again in {seconds:.0} s"
                )
            }
            Self::HostRegistered { host, target } => write!(f, "{host} leads to {target} in DNS"),
            Self::HostRefused { host, error } => write!(f, "DNS of {host}: {error}"),
            Self::HostRemoved { host } => write!(f, "{host} was taken out of DNS"),
            Self::OriginFailed { error } => write!(f, "the origin gave no answer: {error}"),
            Self::Stopping => f.write_str("stopping; requests in flight may finish"),
        }
    }
}

/// Writes events. Clones share the output.
#[derive(Debug, Clone)]
pub struct Reporter {
    output: Output,
    /// Whether the reader is a person at this machine.
    local: bool,
    lock: Arc<std::sync::Mutex<()>>,
}

#[derive(Serialize)]
struct Line<'a> {
    time: f64,
    #[serde(flatten)]
    event: &'a Event,
}

impl Reporter {
    /// Writes to standard output.
    pub fn new(output: Output) -> Self {
        Self { output, local: false, lock: Arc::default() }
    }

    /// For a person who tries things out: names addresses in full, and leaves out of text what
    /// nobody asks about then, such as connections coming and going.
    #[must_use]
    pub fn local(mut self) -> Self {
        self.local = true;
        self
    }

    /// An address as it may be told: in full where the reader sits at the machine and sees the
    /// codes anyway.
    pub fn name(&self, address: &str) -> String {
        if self.local { address.to_owned() } else { mask(address) }
    }

    /// How this reporter writes.
    pub fn output(&self) -> Output {
        self.output
    }

    /// Writes one event. A closed standard output is not an error: nobody is listening.
    pub fn tell(&self, event: &Event) {
        let line = match self.output {
            Output::Text if self.local && event.is_detail() => return,
            Output::Text => event.to_string(),
            Output::Json => {
                let time = now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64();
                match serde_json::to_string(&Line { time, event }) {
                    Ok(line) => line,
                    Err(error) => error.to_string(),
                }
            }
        };
        let _guard = self.lock.lock();
        let mut stdout = std::io::stdout().lock();
        let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    }
}

impl Event {
    fn is_detail(&self) -> bool {
        matches!(
            self,
            Self::ConnectorConnected { .. }
                | Self::ConnectorLeft { .. }
                | Self::ConnectorLost { .. }
                | Self::Connected { .. }
                | Self::Disconnected { .. }
                | Self::CodeSent { .. }
        )
    }
}

/// What `--loglevel` takes.
pub const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Sends logs to standard error. `RUST_LOG` wins over `level`. Keep the guard until the program ends.
#[must_use = "lines are lost when it is dropped early"]
pub fn init_logs(level: &str) -> LogGuard {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // Colours are for eyes (https://no-color.org): in a file they would stand between the words.
    let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let may_colour = std::io::stderr().is_terminal() && !is_refused;
    let (lines, guard) = log::start(std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || lines.clone())
        .with_ansi(may_colour)
        .with_target(false)
        .init();
    guard
}

/// An error and its sources in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        // Wrappers like to repeat what they wrap.
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
        source = error.source();
    }
    line
}

/// An e-mail address for logs: the first letter and the domain.
pub fn mask(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((local, domain)) => {
            let first: String = local.chars().take(1).collect();
            format!("{first}***@{domain}")
        }
        None => "***".into(),
    }
}

/// A time for people and programs, such as `2026-11-26T09:30:00Z`.
pub fn time_text(time: SystemTime) -> String {
    let time = time::OffsetDateTime::from(time).replace_nanosecond(0);
    let text = time.map(|time| time.format(&Rfc3339).unwrap_or_default());
    text.unwrap_or_default()
}

/// The wall clock.
pub fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_not_told_in_full() {
        assert_eq!(mask("alice@example.jp"), "a***@example.jp");
        assert_eq!(mask("nonsense"), "***");
    }

    #[test]
    fn json_is_one_line() {
        let event = Event::CodeNotSent { address: "a\nb".into(), reason: "x".into() };
        let line = serde_json::to_string(&Line { time: 1.5, event: &event }).unwrap();
        assert_eq!(line, r#"{"time":1.5,"event":"code_not_sent","address":"a\nb","reason":"x"}"#);
    }
}
