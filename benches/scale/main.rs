//! How much one edge process holds: thousands of registered connections over TLS, and a thousand
//! idle WebSocket streams through one tunnel.
//!
//! ```console
//! $ ulimit -n 20000
//! $ cargo run --release -p sekimori-benches --bin scale
//! ```
//!
//! You see bytes for each connection and each stream, and the seconds it took to register all.
//! Only the edge is weighed: the connectors are a second process, this program again.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the figures are the program's result, progress goes beside them"
)]

mod connectors;
mod edge;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use tokio::runtime::Builder;

/// Weighs an edge with many registered connections and many idle streams.
#[derive(Debug, Parser)]
#[command(name = "scale")]
struct Arguments {
    /// Connectors, each with one connection.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Idle WebSocket streams through one tunnel.
    #[arg(long, default_value_t = 1_000)]
    websockets: u32,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The other process: dials, registers, and stays until it is ended.
    #[command(hide = true)]
    Connect {
        /// Where the edge listens.
        edge: SocketAddr,
        /// The edge's authority.
        root: PathBuf,
        /// The first tunnel's number.
        first: u32,
        /// How many connectors, each with a tunnel of its own.
        count: u32,
        /// How many connections each keeps.
        each: u8,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    match &arguments.command {
        Some(Command::Connect { edge, root, first, count, each }) => {
            runtime.block_on(connectors::run(*edge, root, *first..first + count, *each))
        }
        None => runtime.block_on(edge::weigh(arguments.connections, arguments.websockets)),
    }
}
