//! The connector: runs beside a web server that no one can reach, dials out to an edge, and lets
//! the edge's visitors in.
//!
//! ```console
//! $ TUNNEL_TOKEN=... connector tunnel --edge edge.example.jp:7844 run --url http://127.0.0.1:8080
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its terminal")]

use std::{num::NonZero, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use sekimori::{
    connector::{self, TunnelOptions},
    output::{Event, LEVELS, Output, Reporter, chain, init_logs},
    runtime, shutdown,
};

/// Lets an edge's visitors reach a web server on this network. Opens no port.
#[derive(Debug, Parser)]
#[command(
    name = "connector",
    version,
    after_help = "\
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
struct Tunnel {
    #[command(flatten)]
    options: TunnelOptions,
    /// How to write events on standard output.
    #[arg(long, value_enum, default_value_t, global = true)]
    output: Output,
    /// How many threads to work with; half as many as there are processors unless given.
    #[arg(long, value_name = "N", env = "TOKIO_WORKER_THREADS", global = true)]
    threads: Option<NonZero<usize>>,
    /// How much to log on standard error: error, warn, info, debug or trace.
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "info", value_parser = LEVELS,
        env = "TUNNEL_LOGLEVEL",
        global = true
    )]
    loglevel: String,
    #[command(subcommand)]
    command: TunnelCommand,
}

#[derive(Debug, Subcommand)]
enum TunnelCommand {
    /// Connect, and serve until told to stop.
    Run,
}

fn main() -> ExitCode {
    match try_main(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn try_main(arguments: &Arguments) -> anyhow::Result<()> {
    let Command::Tunnel(tunnel) = &arguments.command;
    let TunnelCommand::Run = tunnel.command;
    let _logs = init_logs(&tunnel.loglevel);
    let reporter = Reporter::new(tunnel.output);
    runtime::build(tunnel.threads)?.block_on(async {
        let told = reporter.clone();
        let shutdown = async move {
            let _ = shutdown::signalled().await;
            told.tell(&Event::Stopping);
        };
        connector::run(&tunnel.options, reporter, shutdown).await
    })
}
