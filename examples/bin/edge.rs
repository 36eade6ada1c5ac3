//! The edge: HTTPS and login in front of web servers that only a tunnel reaches.
//!
//! ```console
//! $ edge tunnel create home --config edge.toml     # prints the connector's command line
//! $ edge run --config edge.toml
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its terminal")]

use std::{
    collections::BTreeMap, convert::Infallible, num::NonZero, path::PathBuf, pin::pin,
    process::ExitCode, sync::Arc,
};

use cert_manager::dns::RecordName;
use clap::{Args, Parser, Subcommand};
use sekimori::{
    edge::{
        self, cert,
        certificates::Certificates,
        config::Config,
        dns,
        dns::Registrar,
        policy,
        reload::{Registration, Reload, routes, words_of},
        state::State,
    },
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

  edge policy test suite.json                  ask the policies what you expect of them
  edge cert list                               certificates: from whom, until when, what went wrong
  edge dns register                            write the records of hosts, where `[dns]` says so
  kill -HUP PID                                read rules, people, countries and hosts again

Exit codes: 0 done, 1 failed, 2 unknown arguments; `edge policy --help` tells its own"
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
    /// Ask the policies without a visitor: suites of expectations, one request, remarks.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Certificates: list, renew, revoke, beside an edge at work or without one.
    #[command(subcommand)]
    Cert(cert::Command),
    /// Records of hosts in DNS, where the configuration has `[dns]` with a `target`.
    #[command(subcommand)]
    Dns(dns::Command),
}

#[derive(Debug, Args)]
struct File {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "edge.toml", env = "SEKIMORI_CONFIG")]
    config: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Certificates come from the edge's own authority, or from public ones by ACME:

  [acme]
  agree_to_terms = true                # Let's Encrypt's, unless `directory` names another
  contact = \"ops@example.jp\"
  fallback = \"private\"                 # who issues if no authority does; leave it out for nobody

Challenges are answered on `listen.http`, or `listen.https` without it; with a zone, in DNS:

  [dns]
  server = \"192.0.2.53\"                # takes updates (RFC 2136); or `hook`, a program
  key_file = \"tsig.key\"                # tsig-keygen edge > tsig.key
  target = \"203.0.113.7\"               # where hosts lead: they are written into the zone

`edge check` says what will happen. examples/README.md has all keys.")]
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
        Command::Policy(command) => return Ok(policy::run(&command)),
        Command::Cert(command) => return cert::run(&command),
        Command::Dns(command) => dns::run(&command)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn run(arguments: Run) -> anyhow::Result<()> {
    let config = Config::read(&arguments.file.config)?;
    let reporter = Reporter::new(arguments.output);
    let state = State::open(&config.state)?;
    let _at_work = state.at_work()?;
    let ca = state.certificate_authority()?;
    let ca_file = state.publish(&ca)?;
    let certificates = Certificates::configured(&config, &state, ca)?;
    let registrar = Registrar::new(&config, &state, reporter.clone())?;

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
        tunnels.push((app.tunnel.clone(), state.tunnel(&app.tunnel)?));
    }
    let ids = tunnels.iter().map(|(name, credentials)| (name.clone(), credentials.tunnel_id()));
    let ids: BTreeMap<_, _> = ids.collect();
    for (host, tunnel) in routes(&config, &ids)? {
        router.set_route(&host, tunnel)?;
    }
    let rules = config.rules()?;
    rules.warn_of_missing_facts();
    let in_words = words_of(&rules);
    let revocations = state.revocations().await?;
    let session_keys = state.session_keys()?;
    let (outbox, outbox_key) = state.outbox()?;
    let gate = Gate::new(gate::Settings {
        team_host: config.team_host(),
        public_port,
        rules,
        router: Arc::clone(&router),
        mailer: Arc::new(config.mailer()?),
        outbox: Arc::new(outbox),
        outbox_key,
        mail_limits: gate::MailLimits::try_default()?,
        mail_texts: config.mail_texts()?,
        keys: session_keys.clone(),
        revocations: Arc::clone(&revocations),
        state_key: state.state_key()?,
        pepper: state.pepper()?,
        reporter: reporter.clone(),
    })
    .await?;
    let ready = Event::Ready {
        urls: config
            .app
            .iter()
            .map(|app| gate.origin_of(&config.host_of(app)) + &config.path_of(app))
            .collect(),
        rules: in_words,
        codes: format!("by mail through {}", config.mail.smtp),
        tunnel: tunnel_address.to_string(),
        certificates: config.issuers_in_words(),
        ca_file: ca_file.display().to_string(),
    };
    let (trigger, shutdown) = Shutdown::new();
    let settings = edge::Settings {
        https,
        http,
        tunnel,
        certificates,
        tunnels,
        location: config.location.clone(),
        router: Arc::clone(&router),
        gate: Arc::clone(&gate),
        reporter: reporter.clone(),
    };
    let mut dns = registrar.as_ref().map(Registrar::ends);
    let hosts = config.registered_hosts()?;
    let mut registering = pin!(register(registrar));
    let running = tokio::select! {
        running = start(dns.as_mut(), &hosts, settings, shutdown) => running?,
        never = &mut registering => match never {},
        // An order that is under way goes on at the next start.
        stopped = shutdown::signalled() => {
            stopped?;
            reporter.tell(&Event::Stopping);
            return Ok(());
        }
    };
    reporter.tell(&ready);
    let (file, certificates) = (arguments.file.config, running.certificates());
    let (tunnels, waiting) = (ids, None);
    let mut reload = Reload { file, config, gate, router, tunnels, certificates, dns, waiting };
    let reload = shutdown::on_hangup(|| reporter.tell(&reload.now()));
    tokio::select! {
        stopped = shutdown::signalled() => stopped?,
        failed = reload => failed?,
        never = state.rotate_session_keys(&session_keys) => match never {},
        never = state.keep_revocations(&revocations) => match never {},
        never = registering => match never {},
    }
    reporter.tell(&Event::Stopping);
    trigger.tell();
    running.finished().await;
    Ok(())
}

/// Keeps hosts registered in DNS, if they are to be.
async fn register(registrar: Option<Registrar<'_>>) -> Infallible {
    match registrar {
        Some(registrar) => registrar.keep().await,
        None => std::future::pending().await,
    }
}

/// Starts once each host was tried in DNS: authorities follow the records that are written there.
async fn start(
    dns: Option<&mut Registration>,
    hosts: &[RecordName],
    settings: edge::Settings,
    shutdown: Shutdown,
) -> anyhow::Result<edge::Running> {
    if let Some(dns) = dns {
        dns.wait_for(hosts).await;
    }
    edge::start(settings, shutdown).await
}

fn check(config: &Config) -> anyhow::Result<()> {
    let rules = config.rules()?;
    config.mailer()?;
    config.mail_texts()?;
    let state = State::open(&config.state)?;
    for app in &config.app {
        state.tunnel(&app.tunnel)?;
    }
    let ca = state.certificate_authority()?;
    // Reads what it names: keys, roots, secrets. Nothing is sent.
    let _usable = Certificates::configured(config, &state, ca)?;
    println!("sign in at {}", config.team_host());
    println!("{}", rules.engine().to_string().trim_end());
    for (application, fact, remedy) in rules.missing_facts() {
        println!("note: the policies of {application} ask for {fact}; {remedy}");
    }
    println!(
        "certificates for {} from {}",
        config.certificates().concat().join(", "),
        config.issuers_in_words()
    );
    check_dns(config, &state)
}

/// What will be written into the zone, and what will be taken away.
fn check_dns(config: &Config, state: &State) -> anyhow::Result<()> {
    let Some((_, target)) = config.host_names()? else {
        println!("hosts are not written into DNS: point them at this edge yourself");
        return Ok(());
    };
    let hosts: Vec<String> = config.registered_hosts()?.iter().map(ToString::to_string).collect();
    let kind = target.record_type().as_str();
    println!(
        "in DNS {} will lead to {target} ({kind}), unless others' records are there",
        hosts.join(", ")
    );
    for host in config.hosts().iter().filter(|host| !hosts.contains(host)) {
        println!("note: {host} lies outside of `dns.zone`: point it at this edge yourself");
    }
    for host in state.noted_hosts()?.iter().filter(|host| !hosts.contains(host)) {
        println!("note: {host} is not configured any more: its record will be taken away");
    }
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
