//! The connector: runs beside a web server that no one can reach, dials out to an edge, and lets
//! the edge's visitors in.
//!
//! ```console
//! $ TUNNEL_TOKEN=... connector tunnel --edge edge.example.jp:7844 run --url http://127.0.0.1:8080
//! $ connector tunnel --config config.yml run
//! $ connector tunnel --config config.yml ingress validate
//! $ connector tunnel --config config.yml ingress rule https://app.example.jp/login
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its terminal")]

use std::{num::NonZero, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use sekimori::{
    connector::{self, TunnelOptions},
    output::{Event, LEVELS, Output, Reporter, chain, init_logs},
    runtime, shutdown,
};

/// Lets an edge's visitors reach servers on this network. Opens no port.
#[derive(Debug, Parser)]
#[command(
    name = "connector",
    version,
    after_help = "\
One web server:
  TUNNEL_TOKEN=... connector tunnel --edge edge.example.jp:7844 run --url http://127.0.0.1:8080

Several servers, with cloudflared's configuration file:
  connector tunnel --config config.yml ingress validate
  connector tunnel --config config.yml ingress rule https://app.example.jp/login
  connector tunnel --config config.yml run

Exit codes: 0 stopped, 1 could not start or was refused, 2 unknown arguments."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tunnels to an edge.
    Tunnel(Tunnel),
}

#[derive(Debug, Args)]
#[command(after_help = "\
A configuration file holds rules and any argument under its long name:
  edge: edge.example.jp:7844
  credentials-file: /etc/connector/tunnel.json
  ingress:
    - hostname: app.example.jp
      service: http://127.0.0.1:8080
    - hostname: ssh.example.jp
      service: ssh://127.0.0.1
    - service: http_status:404

Arguments and variables win over the file. With neither --url nor rules, the edge sends rules.")]
struct Tunnel {
    /// A configuration file in cloudflared's shape (YAML).
    #[arg(long, value_name = "FILE", env = "TUNNEL_CONFIG", global = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: TunnelOptions,
    /// How to write events on standard output.
    #[arg(long, value_enum, default_value_t, global = true)]
    output: Output,
    /// How many threads to work with; half as many as there are processors unless given.
    #[arg(long, value_name = "N", env = "TOKIO_WORKER_THREADS", global = true)]
    threads: Option<NonZero<usize>>,
    /// How much to log on standard error: error, warn, info, debug or trace [default: info].
    #[arg(
        long,
        value_name = "LEVEL",
        value_parser = LEVELS,
        env = "TUNNEL_LOGLEVEL",
        global = true
    )]
    loglevel: Option<String>,
    #[command(subcommand)]
    command: TunnelCommand,
}

#[derive(Debug, Subcommand)]
enum TunnelCommand {
    /// Connect, and serve until told to stop.
    Run,
    /// Look at the rules of the file that --config names, without connecting.
    #[command(subcommand)]
    Ingress(IngressCommand),
}

#[derive(Debug, Subcommand)]
enum IngressCommand {
    /// Say whether the rules can be used, and everything that is wrong with them.
    Validate,
    /// Say which rule a request gets.
    Rule {
        /// What the visitor would open, such as `https://app.example.jp/login`.
        url: String,
    },
}

fn main() -> ExitCode {
    match try_main(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn try_main(arguments: Arguments) -> anyhow::Result<()> {
    let Command::Tunnel(tunnel) = arguments.command;
    match &tunnel.command {
        TunnelCommand::Run => run(tunnel),
        TunnelCommand::Ingress(command) => {
            let file = tunnel.config.as_deref().context("no file; name it with --config FILE")?;
            let answer = match command {
                IngressCommand::Validate => connector::validate(file)?,
                IngressCommand::Rule { url } => connector::matching(file, url)?,
            };
            println!("{answer}");
            Ok(())
        }
    }
}

fn run(tunnel: Tunnel) -> anyhow::Result<()> {
    let Tunnel { config, mut options, output, threads, loglevel, .. } = tunnel;
    let file = config.as_deref().map(connector::read_file).transpose()?;
    if let Some(file) = &file {
        options.fill(file)?;
    }
    let from_file = file.as_ref().and_then(|file| file.settings().get("loglevel"));
    let level = loglevel.as_deref().or(from_file).unwrap_or("info");
    if !["error", "warn", "info", "debug", "trace"].contains(&level) {
        bail!(
            "`loglevel` is `{}`; known are error, warn, info, debug and trace",
            level.escape_debug()
        );
    }
    let _logs = init_logs(level);
    let reporter = Reporter::new(output);
    runtime::build(threads)?.block_on(async {
        let told = reporter.clone();
        let shutdown = async move {
            let _ = shutdown::signalled().await;
            told.tell(&Event::Stopping);
        };
        connector::run(&options, file.as_ref(), reporter, shutdown).await
    })
}
