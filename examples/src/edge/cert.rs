//! `edge cert`: certificates in the state directory, beside an edge at work or without one.
//!
//! Nothing is asked of a running edge itself: wishes lie in the store, where it sees them within seconds.

#![allow(clippy::print_stdout, reason = "a program talks to its terminal")]

mod listing;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, bail};
use cert_manager::{
    Certificate, Resolver,
    manager::{Ledger, Stored},
    presets,
};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use self::listing::Listing;
use super::{certificates::Public, config::Config, state::State};
use crate::{
    output::{Output, now, time_text},
    runtime,
};

/// `edge cert`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List certificates: from whom, until when, what comes next, and what went wrong last.
    List(List),
    /// Renew a certificate now. The old one serves until the new one is there.
    Renew(Renew),
    /// Take a certificate back at the authority that issued it, and replace it.
    Revoke(Revoke),
}

#[derive(Debug, Args)]
struct Common {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "edge.toml", env = "SEKIMORI_CONFIG")]
    config: PathBuf,
    /// How to write the answer.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// `edge cert list`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    common: Common,
}

/// `edge cert renew`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 renewed, or noted for the next start because no edge is at work; 1 not renewed")]
pub struct Renew {
    /// A host, or the name that the certificate carries.
    name: String,
    /// How long to wait for an edge at work to do it.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    wait: u64,
    #[command(flatten)]
    common: Common,
}

/// `edge cert revoke`.
#[derive(Debug, Args)]
#[command(after_help = "\
The authority is asked first, then an edge at work replaces the certificate with a new key; without
one, the next start does. What the edge's own authority issued ends by itself within a week and is
only replaced.

Exit codes: 0 revoked and replaced, or noted for the next start because no edge is at work;
1 not revoked, or not replaced")]
pub struct Revoke {
    /// A host, or the name that the certificate carries.
    name: String,
    /// Why.
    #[arg(long, value_enum, default_value_t)]
    reason: Reason,
    /// How long to wait for an edge at work to replace it.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    wait: u64,
    #[command(flatten)]
    common: Common,
}

/// Why a certificate is taken back (RFC 5280 section 5.3.1), as far as authorities take it from customers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Reason {
    /// No reason is told.
    #[default]
    Unspecified,
    /// Others may have the key.
    KeyCompromise,
    /// The name of the holder has changed.
    AffiliationChanged,
    /// There is a new one.
    Superseded,
    /// The site is closed.
    CessationOfOperation,
}

impl Reason {
    fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
        }
    }
}

/// Runs one of them.
///
/// # Errors
///
/// A configuration or state directory that can't be read, a name without a certificate, an authority that refuses.
pub fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let runtime = runtime::build(None)?;
    match command {
        Command::List(arguments) => {
            let desk = Desk::open(&arguments.common)?;
            runtime.block_on(desk.list())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Renew(arguments) => {
            let desk = Desk::open(&arguments.common)?;
            let patience = Duration::from_secs(arguments.wait);
            runtime.block_on(desk.renew(&arguments.name, patience))
        }
        Command::Revoke(arguments) => {
            let desk = Desk::open(&arguments.common)?;
            let patience = Duration::from_secs(arguments.wait);
            runtime.block_on(desk.revoke(&arguments.name, arguments.reason, patience))
        }
    }
}

/// What the commands work with.
struct Desk {
    config: Config,
    state: State,
    ledger: Ledger,
    output: Output,
}

/// What became of one certificate.
#[derive(Debug, Serialize)]
struct Report {
    names: Vec<String>,
    /// `renewed`, `replaced`, `noted` for the next start, `failed` or `waiting`.
    outcome: &'static str,
    /// Whether the authority has taken the old one back; nothing if that was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<bool>,
    old_serial: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<String>,
    until: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Desk {
    fn open(common: &Common) -> anyhow::Result<Self> {
        let config = Config::read(&common.config)?;
        let state = State::open(&config.state)?;
        let ledger = Ledger::new(state.certificates());
        Ok(Self { config, state, ledger, output: common.output })
    }

    async fn list(&self) -> anyhow::Result<()> {
        let listed = self.ledger.list().await.context("can't read the certificates")?;
        let is_at_work = self.state.has_edge_at_work()?;
        let listing = Listing::new(&listed, &self.wanted(), is_at_work, now());
        match self.output {
            Output::Json => println!("{}", serde_json::to_string(&listing)?),
            Output::Text => println!("{}", listing.to_string().trim_end()),
        }
        Ok(())
    }

    async fn renew(&self, name: &str, patience: Duration) -> anyhow::Result<ExitCode> {
        let old = match self.find(name).await {
            Ok(old) => old,
            Err(missing) => {
                let is_tried = self.ledger.renew(name).await.unwrap_or_default();
                let again = "a running edge tries again as soon as the authority allows; see `edge cert list`";
                return Err(if is_tried { missing.context(again) } else { missing });
            }
        };
        let asked_at = now();
        self.ledger.renew(&name_of(&old)).await.context("can't note the wish")?;
        let report = self.await_new(old, asked_at, patience, None).await?;
        self.tell(&report)
    }

    async fn revoke(
        &self,
        name: &str,
        reason: Reason,
        patience: Duration,
    ) -> anyhow::Result<ExitCode> {
        let old = self.find(name).await?;
        let certificate = self.ledger.find(&name_of(&old)).await?;
        let certificate = certificate.context("the certificate has gone meanwhile")?;
        let is_revoked = self.take_back(&old, &certificate, reason).await?;
        let asked_at = now();
        let noted = self.ledger.replace(&name_of(&old)).await;
        noted
            .context("the certificate is revoked, but can't be marked to be replaced; renew it")?;
        let report = self.await_new(old, asked_at, patience, Some(is_revoked)).await?;
        self.tell(&report)
    }

    /// Asks the authority that issued it. Whether there was one to ask.
    async fn take_back(
        &self,
        old: &Stored,
        certificate: &Certificate,
        reason: Reason,
    ) -> anyhow::Result<bool> {
        if old.issuer.starts_with("private-") {
            return Ok(false);
        }
        let ca = Arc::new(self.state.certificate_authority()?);
        let public = Public::configured(&self.config, &self.state, &ca, &Resolver::new())?;
        let issuer = public.issuers.iter().find(|issuer| issuer.id() == old.issuer);
        let issuer = issuer.with_context(|| {
            format!("it came from {}, which is not configured any more in `[acme]`", old.issuer)
        })?;
        let revoked = issuer.revoke(certificate, reason.code()).await;
        revoked.with_context(|| format!("{} did not revoke it", old.issuer))?;
        Ok(true)
    }

    /// Waits until an edge at work has another one, if there is such an edge.
    async fn await_new(
        &self,
        old: Stored,
        asked_at: SystemTime,
        patience: Duration,
        revoked: Option<bool>,
    ) -> anyhow::Result<Report> {
        let mut report = Report {
            names: texts(&old),
            outcome: "waiting",
            revoked,
            old_serial: old.serial.clone(),
            serial: None,
            until: time_text(old.not_after),
            error: None,
        };
        let start = Instant::now();
        loop {
            let listed = self.ledger.list().await?;
            let found = listed.certificates.into_iter().find(|it| it.names == old.names);
            if let Some(new) = found.as_ref().filter(|new| new.serial != old.serial) {
                report.outcome = if revoked.is_some() { "replaced" } else { "renewed" };
                report.serial = Some(new.serial.clone());
                report.until = time_text(new.not_after);
                return Ok(report);
            }
            let failed = found.and_then(|it| it.failed).filter(|failed| failed.at >= asked_at);
            if let Some(failed) = failed {
                report.outcome = "failed";
                let again = time_text(failed.retry_at);
                report.error = Some(format!("{}; tried again at {again}", failed.error));
                return Ok(report);
            }
            if !self.state.has_edge_at_work()? {
                report.outcome = "noted";
                return Ok(report);
            }
            if start.elapsed() >= patience {
                report.error =
                    Some(format!("the edge at work has not done it within {patience:?}"));
                return Ok(report);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn tell(&self, report: &Report) -> anyhow::Result<ExitCode> {
        match self.output {
            Output::Json => println!("{}", serde_json::to_string(report)?),
            Output::Text => println!("{}", in_words(report)),
        }
        let is_done = matches!(report.outcome, "renewed" | "replaced" | "noted");
        Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The certificate that serves a host, among those that the configuration wants.
    async fn find(&self, name: &str) -> anyhow::Result<Stored> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let above = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let wanted = self.wanted();
        let listed = self.ledger.list().await.context("can't read the certificates")?;
        let carries = |names: &[String]| {
            names.contains(&name) || above.as_ref().is_some_and(|above| names.contains(above))
        };
        let mut serving = listed.certificates.into_iter().filter(|it| wanted.contains(&texts(it)));
        if let Some(found) = serving.find(|stored| carries(&texts(stored))) {
            return Ok(found);
        }
        let failed = listed.missing.iter().find(|failed| {
            carries(&failed.names.iter().map(ToString::to_string).collect::<Vec<_>>())
        });
        let name = name.escape_debug();
        match failed {
            // An authority's own words may hold anything.
            Some(failed) => {
                bail!("there is no certificate for `{name}` yet: {}", failed.error.escape_debug())
            }
            None if wanted.iter().any(|names| carries(names)) => {
                bail!("there is no certificate for `{name}` yet: an edge orders it when it starts")
            }
            None => {
                bail!("there is no certificate for `{name}`; `edge cert list` shows what there is")
            }
        }
    }

    /// The names of each certificate that an edge with this configuration looks after, sorted.
    fn wanted(&self) -> Vec<Vec<String>> {
        let mut tunnel: Vec<String> =
            presets::tunnel_names().iter().map(ToString::to_string).collect();
        tunnel.sort_unstable();
        let mut wanted = self.config.certificates();
        wanted.push(tunnel);
        wanted
    }
}

fn in_words(report: &Report) -> String {
    let names = report.names.join(", ");
    let taken_back = match report.revoked {
        Some(true) => format!("revoked {} ({names})\n", report.old_serial),
        Some(false) => format!(
            "{} ({names}) is of the edge's own authority, which takes nothing back: it ends at {}\n",
            report.old_serial, report.until
        ),
        None => String::new(),
    };
    let serial = report.serial.as_deref().unwrap_or_default();
    let error = report.error.as_deref().unwrap_or_default().escape_debug();
    let rest = match report.outcome {
        "noted" => format!(
            "noted for {names}: no edge is at work with this state directory; the next one to start \
             orders a new certificate first"
        ),
        "failed" | "waiting" => {
            format!(
                "no new certificate for {names} yet: {error}\nthe old one serves until {}",
                report.until
            )
        }
        done => format!("{done} {names}: {serial}, good until {}", report.until),
    };
    taken_back + &rest
}

fn texts(stored: &Stored) -> Vec<String> {
    let mut names: Vec<String> = stored.names.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    names
}

/// One of its names, by which the ledger finds it.
fn name_of(stored: &Stored) -> String {
    texts(stored).into_iter().next().unwrap_or_default()
}

const LOOK_EVERY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_an_authority_move_no_cursor() {
        let report = Report {
            names: vec!["a.test".to_owned()],
            outcome: "failed",
            revoked: None,
            old_serial: "1".to_owned(),
            serial: None,
            until: "tomorrow".to_owned(),
            error: Some("x\u{1b}[2J\nforged".to_owned()),
        };
        let text = in_words(&report);
        assert!(!text.contains('\u{1b}') && !text.contains("\nforged"), "{text}");
        assert!(text.contains("forged"), "{text}");
    }
}
