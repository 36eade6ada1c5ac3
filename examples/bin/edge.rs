//! The edge: HTTPS and login in front of web servers that only a tunnel reaches.
//!
//! ```console
//! $ edge tunnel create home --config edge.toml     # prints the connector's command line
//! $ edge run --config edge.toml
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its terminal")]

use std::{
    collections::BTreeSet, net::IpAddr, num::NonZero, path::PathBuf, process::ExitCode, sync::Arc,
};

use access_policy::{EmailAddress, Engine, Identity, Request};
use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use http::Uri;
use sekimori::{
    edge::{self, config::Config, state::State},
    gate::{self, Gate},
    listener,
    output::{Event, LEVELS, Output, Reporter, chain, init_logs},
    runtime,
    shutdown::{self, Shutdown},
};
use tunnel_proto::edge::Router;

/// HTTPS and login in front of web servers that only a tunnel reaches.
#[derive(Debug, Parser)]
#[command(
    name = "edge",
    version,
    after_help = "\
Start here:
  edge tunnel create home --config edge.toml   draw a secret, print the connector's command
  edge check --config edge.toml                read the configuration, say who may pass
  edge run --config edge.toml                  serve

Exit codes: 0 done, 1 failed, 2 unknown arguments, 3 `policy test`: the visitor would not pass"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve visitors and connectors until told to stop.
    Run(Run),
    /// Read the configuration and say what it means.
    Check(File),
    /// Tunnels and their tokens.
    #[command(subcommand)]
    Tunnel(Tunnel),
    /// Try the policies without a visitor.
    #[command(subcommand)]
    Policy(PolicyCommand),
}

#[derive(Debug, Args)]
struct File {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "edge.toml", env = "SEKIMORI_CONFIG")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    file: File,
    /// How to write events on standard output.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// How many threads to work with; half as many as there are processors unless given.
    #[arg(long, value_name = "N", env = "TOKIO_WORKER_THREADS")]
    threads: Option<NonZero<usize>>,
    /// How much to log on standard error: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = LEVELS)]
    loglevel: String,
}

#[derive(Debug, Subcommand)]
enum Tunnel {
    /// Draw credentials for a new tunnel and print its token.
    Create(TunnelName),
    /// Print a tunnel's token again.
    Token(TunnelName),
}

#[derive(Debug, Args)]
struct TunnelName {
    /// The name that `tunnel = "..."` in the configuration uses.
    name: String,
    #[command(flatten)]
    file: File,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Say what would happen to a visitor, and why.
    Test(PolicyTest),
}

#[derive(Debug, Args)]
struct PolicyTest {
    /// The address that the visitor opens, such as `https://saito.t.example.jp/admin`.
    #[arg(long)]
    url: Uri,
    /// The e-mail address that the visitor has proved; nobody has signed in unless given.
    #[arg(long = "as", value_name = "ADDRESS")]
    email: Option<String>,
    /// The visitor's network address.
    #[arg(long)]
    ip: Option<IpAddr>,
    #[command(flatten)]
    file: File,
}

fn main() -> ExitCode {
    match try_main(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn try_main(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Run(arguments) => {
            let _logs = init_logs(&arguments.loglevel);
            runtime::build(arguments.threads)?.block_on(run(arguments))?;
        }
        Command::Check(file) => check(&Config::read(&file.config)?)?,
        Command::Tunnel(Tunnel::Create(tunnel)) => create_tunnel(&tunnel)?,
        Command::Tunnel(Tunnel::Token(tunnel)) => {
            let config = Config::read(&tunnel.file.config)?;
            println!("{}", State::open(&config.state)?.tunnel(&tunnel.name)?.to_token());
        }
        Command::Policy(PolicyCommand::Test(test)) => return test_policy(&test),
    }
    Ok(ExitCode::SUCCESS)
}

async fn run(arguments: Run) -> anyhow::Result<()> {
    let config = Config::read(&arguments.file.config)?;
    let reporter = Reporter::new(arguments.output);
    let state = State::open(&config.state)?;
    let ca = state.certificate_authority()?;
    let ca_file = state.publish(&ca)?;

    let listen = &config.listen;
    let https = listener::bind(listen.https, "visitors (`listen.https`)").await?;
    let http = match listen.http {
        Some(address) => Some(listener::bind(address, "plain HTTP (`listen.http`)").await?),
        None => None,
    };
    let tunnel = match listen.tunnel {
        Some(address) => Some(listener::bind(address, "connectors (`listen.tunnel`)").await?),
        None => None,
    };
    let tunnel_address = listener::local_address(tunnel.as_ref().unwrap_or(&https))?;
    let public_port = config.public_port.unwrap_or(listener::local_address(&https)?.port());

    let router = Arc::new(Router::new());
    let mut tunnels = Vec::new();
    for app in &config.app {
        let credentials = state.tunnel(&app.tunnel)?;
        let host = config.host_of(app);
        if router.route(&host).is_some_and(|other| other != credentials.tunnel_id()) {
            bail!("`{host}` is named with two tunnels; one tunnel serves a whole host");
        }
        router.set_route(&host, credentials.tunnel_id())?;
        tunnels.push((app.tunnel.clone(), credentials));
    }
    let policies = config.policies()?;
    let rules = policies.applications.iter().map(ToString::to_string).collect();
    let gate = Gate::new(gate::Settings {
        team_host: config.team_host(),
        public_port,
        policies,
        router: Arc::clone(&router),
        mailer: Arc::new(config.mailer()?),
        mail_budget: gate::default_mail_budget()?,
        keys: state.session_keys()?,
        state_key: state.state_key()?,
        reporter: reporter.clone(),
    })?;
    // Several applications may share a host.
    let hosts: BTreeSet<String> = config.app.iter().map(|app| config.host_of(app)).collect();
    let ready = Event::Ready {
        urls: config
            .app
            .iter()
            .map(|app| gate.origin_of(&config.host_of(app)) + &config.path_of(app))
            .collect(),
        rules,
        codes: format!("by mail through {}", config.mail.smtp),
        tunnel: tunnel_address.to_string(),
        ca_file: ca_file.display().to_string(),
    };
    let (trigger, shutdown) = Shutdown::new();
    let settings = edge::Settings {
        https,
        http,
        tunnel,
        ca,
        hosts: hosts.into_iter().chain([config.team_host()]).collect(),
        tunnels,
        location: config.location.clone(),
        router,
        gate,
        reporter: reporter.clone(),
    };
    let running = edge::start(settings, shutdown)?;
    reporter.tell(&ready);
    shutdown::signalled().await?;
    reporter.tell(&Event::Stopping);
    trigger.tell();
    running.finished().await;
    Ok(())
}

fn check(config: &Config) -> anyhow::Result<()> {
    let policies = config.policies()?;
    Engine::compile(policies.clone())?;
    config.mailer()?;
    let state = State::open(&config.state)?;
    for app in &config.app {
        state.tunnel(&app.tunnel)?;
    }
    println!("sign in at {}", config.team_host());
    println!("{}", policies.to_string().trim_end());
    Ok(())
}

fn create_tunnel(tunnel: &TunnelName) -> anyhow::Result<()> {
    let config = Config::read(&tunnel.file.config)?;
    let state = State::open(&config.state)?;
    let credentials = state.create_tunnel(&tunnel.name)?;
    let ca = state.publish(&state.certificate_authority()?)?;
    println!("{}", credentials.to_token());
    let (name, listen) = (&tunnel.name, config.listen.tunnel.unwrap_or(config.listen.https));
    let edge = if listen.ip().is_unspecified() {
        format!("{}:{}", config.team_host(), listen.port())
    } else {
        listen.to_string()
    };
    eprintln!(
        "
This token is the key to tunnel `{name}`: whoever has it can answer for its host names.
On the server behind NAT, with {} copied there as ca.pem:

  TUNNEL_TOKEN=... connector tunnel --edge {edge} --cacert ca.pem run --url http://127.0.0.1:8080",
        ca.display()
    );
    Ok(())
}

/// Exit code 0 if the visitor passes, 3 if not.
fn test_policy(test: &PolicyTest) -> anyhow::Result<ExitCode> {
    let config = Config::read(&test.file.config)?;
    let engine = Engine::compile(config.policies()?)?;
    let host = test.url.authority().context("`--url` needs a host")?.as_str();
    let mut request = Request::new(host, test.url.path())?;
    if let Some(ip) = test.ip {
        request = request.client_ip(ip);
    }
    let identity = test.email.as_deref().map(EmailAddress::parse).transpose()?.map(Identity::new);
    if let Some(identity) = &identity {
        request = request.identity(identity);
    }
    let decision = engine.decide(&request);
    println!("{}", decision.explain());
    Ok(if decision.is_pass() { ExitCode::SUCCESS } else { ExitCode::from(3) })
}
