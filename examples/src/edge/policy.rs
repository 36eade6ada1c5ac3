//! `edge policy`: asks policies without a visitor.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its terminal")]

use std::{
    fmt, fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use access_policy::{
    Coverage, EmailAddress, Engine, Failure, Lint, Mode, Policies, Request, Suite, SuiteReport,
};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use http::Uri;
use serde::Serialize;

use super::config::Config;
use crate::{
    output::{Output, chain},
    rules::Rules,
};

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask the policies what suites expect of them.
    Test(Test),
    /// Say what would happen to a visitor, and why, rule by rule.
    Explain(Explain),
    /// Look for rules that do nothing and doors that stand wide open.
    Lint(LintArguments),
}

/// Where policies come from.
#[derive(Debug, Args)]
struct Source {
    /// The edge's configuration, with the policies of its applications.
    #[arg(long, value_name = "FILE", default_value = "edge.toml", env = "SEKIMORI_CONFIG")]
    config: PathBuf,
    /// A file of applications instead, as Cloudflare's API returns them, or Terraform's state.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    policies: Option<PathBuf>,
    /// Carry fields of `--policies` that are unknown, instead of refusing them.
    #[arg(long, requires = "policies")]
    lenient: bool,
}

/// `edge policy test`.
#[derive(Debug, Args)]
#[command(after_help = "\
A suite is JSON, or TOML if its name ends in .toml:

  [[expectations]]
  name = \"contractors cannot reach /admin\"
  expect = \"deny\"
  host = \"app.example.jp\"
  path = \"/admin\"
  email = \"contractor@example.org\"      # leave it out for a visitor who has not signed in
  ip = \"203.0.113.5\"
  country = \"JP\"
  provider = \"5a1e8b8c\"                 # the login's identity provider
  github = { acme = [\"ops\"] }           # organisations, each with teams

expect: pass (allow, `service auth` or bypass), allow, login, deny, and finer: `deny identity`,
`deny non_identity`, `deny missing_fact`, `deny no_application`. Beside it, `policy` and
`application` name what must have decided. A fact that is left out is not known, and what is not
known admits nobody.

Exit codes: 0 all expectations are met, 1 some are not, 2 a file can't be read or used")]
pub struct Test {
    /// Suites of expectations.
    #[arg(required = true, value_name = "SUITE")]
    suites: Vec<PathBuf>,
    /// Fail too if a rule was never tried both ways.
    #[arg(long)]
    require_coverage: bool,
    /// How to write the report.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    source: Source,
}

/// `edge policy explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
With `--config`, countries and people come from its `country_database` and `identities`.

Exit codes: 0 the visitor passes, 1 does not, 2 a file or argument can't be used")]
pub struct Explain {
    /// The address that the visitor opens, such as `https://saito.t.example.jp/admin`.
    #[arg(long)]
    url: Uri,
    /// The e-mail address that the visitor has proved; nobody has signed in unless given.
    #[arg(long = "as", value_name = "ADDRESS")]
    email: Option<String>,
    /// The visitor's network address.
    #[arg(long)]
    ip: Option<IpAddr>,
    /// The visitor's country; looked up from `--ip` unless given.
    #[arg(long)]
    country: Option<String>,
    /// How to write the explanation.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    source: Source,
}

/// `edge policy lint`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 nothing to remark, 1 remarks, 2 a file can't be used")]
pub struct LintArguments {
    /// How to write the remarks.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    source: Source,
}

/// Runs a command: exit code 0 for yes, 1 for no, 2 if it can't be known.
pub fn run(command: &Command) -> ExitCode {
    let answer = match command {
        Command::Test(test) => test.run(),
        Command::Explain(explain) => explain.run(),
        Command::Lint(lint) => lint.run(),
    };
    match answer {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", chain(&*error));
            ExitCode::from(2)
        }
    }
}

impl Source {
    fn rules(&self) -> anyhow::Result<Rules> {
        self.read().map(|(rules, _)| rules)
    }

    /// The rules, and remarks that only the text gives cause to.
    fn read(&self) -> anyhow::Result<(Rules, Vec<Lint>)> {
        let Some(file) = &self.policies else {
            return Ok((Config::read(&self.config)?.rules()?, Vec::new()));
        };
        let text = fs::read(file).with_context(|| format!("can't read `{}`", file.display()))?;
        let mode = if self.lenient { Mode::Lenient } else { Mode::Strict };
        let import = Policies::import(&text, mode).map_err(|error| all_problems(file, &error))?;
        for warning in &import.warnings {
            eprintln!("warning: in `{}`: {}", file.display(), chain(warning));
        }
        let rules = Rules::new(import.policies).map_err(|error| all_problems(file, &error))?;
        Ok((rules, import.lints))
    }
}

/// Every fault of a file, one a line.
fn all_problems(file: &Path, error: &access_policy::Error) -> anyhow::Error {
    let lines = error.problems().map(|problem| {
        let place = problem.location().unwrap_or("the file");
        format!("\n  {place}: {}", problem.message())
    });
    anyhow::anyhow!("`{}` can't be used{}", file.display(), lines.collect::<String>())
}

/// What became of all suites.
#[derive(Debug, Serialize)]
struct Report {
    passed: bool,
    met: usize,
    failed: usize,
    suites: Vec<OneSuite>,
    coverage: Coverage,
}

#[derive(Debug, Serialize)]
struct OneSuite {
    file: String,
    met: usize,
    failures: Vec<Failure>,
}

impl Test {
    fn run(&self) -> anyhow::Result<bool> {
        let rules = self.source.rules()?;
        let report = self.report(rules.engine())?;
        match self.output {
            Output::Text => print!("{report}"),
            Output::Json => println!("{}", serde_json::to_string(&report)?),
        }
        Ok(report.passed)
    }

    fn report(&self, engine: &Engine) -> anyhow::Result<Report> {
        let mut all = Suite::default();
        let mut suites = Vec::new();
        for file in &self.suites {
            let suite = read_suite(file)?;
            let SuiteReport { met, failures, .. } = suite.run(engine);
            suites.push(OneSuite { file: file.display().to_string(), met, failures });
            all.expectations.extend(suite.expectations);
        }
        let SuiteReport { met, failures, coverage, .. } = all.run(engine);
        let is_covered = coverage.untested_rules.is_empty();
        let passed = failures.is_empty() && (is_covered || !self.require_coverage);
        Ok(Report { passed, met, failed: failures.len(), suites, coverage })
    }
}

/// The text form: failures with their explanations, what no expectation tried, and sums.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for suite in &self.suites {
            let sum = suite.met + suite.failures.len();
            writeln!(f, "{}: {} of {sum} met", suite.file, suite.met)?;
            for failure in &suite.failures {
                writeln!(f, "  FAILED {}: {}", failure.name, failure.problem)?;
                for line in failure.explanation.lines() {
                    writeln!(f, "      {line}")?;
                }
            }
        }
        let coverage = &self.coverage;
        for policy in &coverage.undecided_policies {
            writeln!(f, "never decided: {policy}")?;
        }
        for rule in &coverage.untested_rules {
            writeln!(f, "never tried both ways: {rule}")?;
        }
        writeln!(
            f,
            "{} met, {} failed; {} of {} policies decided, {} of {} rules tried both ways",
            self.met,
            self.failed,
            coverage.policies - coverage.undecided_policies.len(),
            coverage.policies,
            coverage.rules - coverage.untested_rules.len(),
            coverage.rules,
        )
    }
}

fn read_suite(file: &Path) -> anyhow::Result<Suite> {
    let text = fs::read_to_string(file)
        .with_context(|| format!("can't read the suite `{}`", file.display()))?;
    let is_toml = file.extension().is_some_and(|extension| extension == "toml");
    let suite = if is_toml {
        toml::from_str(&text).map_err(anyhow::Error::from)
    } else {
        Suite::from_json(&text).map_err(anyhow::Error::from)
    };
    suite.with_context(|| format!("`{}` is no suite of expectations", file.display()))
}

impl Explain {
    fn run(&self) -> anyhow::Result<bool> {
        let rules = self.source.rules()?;
        let host = self.url.authority().context("`--url` needs a host")?.as_str();
        let mut request = match self.ip {
            Some(ip) => rules.request(host, self.url.path(), ip)?,
            None => Request::new(host, self.url.path())?,
        };
        if let Some(country) = &self.country {
            request = request.country(country.parse::<access_policy::CountryCode>()?);
        }
        let email = self.email.as_deref().map(EmailAddress::parse).transpose()?;
        let identity = email.and_then(|email| rules.identity(email.as_str()));
        if let Some(identity) = &identity {
            request = request.identity(identity);
        }
        let decision = rules.engine().decide(&request);
        match self.output {
            Output::Text => println!("{}", decision.explain()),
            Output::Json => println!("{}", serde_json::to_string(&decision.explain())?),
        }
        Ok(decision.is_pass())
    }
}

impl LintArguments {
    fn run(&self) -> anyhow::Result<bool> {
        let (rules, mut lints) = self.source.read()?;
        lints.extend(rules.engine().lint());
        match self.output {
            Output::Text => lints.iter().for_each(|lint| println!("{lint}")),
            Output::Json => println!("{}", serde_json::to_string(&lints)?),
        }
        Ok(lints.is_empty())
    }
}
