//! Sekimori beside its peers: two hops over TLS, in one run, on one machine.
//!
//! ```console
//! $ cargo build --release -p sekimori
//! $ cargo run --release -p sekimori-benches --bin compare
//! ```
//!
//! You see two markdown tables: every figure of every system, and each bar with what was measured.
//! `benches/README.md` says what the figures mean and what they do not.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the tables are the program's result, progress goes beside it"
)]

mod caddy;
mod certificates;
mod client;
mod figures;
mod haproxy;
mod load;
mod measure;
mod nginx;
mod pair;
mod process;
mod programs;
mod rathole;
mod sekimori;
mod sink;
mod systems;
mod visitor;

use std::{path::Path, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;

use self::{
    certificates::Certificates,
    figures::Figures,
    measure::Measure,
    programs::Programs,
    sekimori::Sekimori,
    systems::{Processes, System},
};

/// Measures visitor TLS → edge → tunnel TLS → connector → nginx beside nginx TLS → nginx TLS →
/// nginx and others.
#[derive(Debug, Parser)]
#[command(name = "compare")]
struct Arguments {
    /// How often each figure is taken; the systems take turns.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many open connections, one figure each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    connections: Vec<u32>,
    /// Fewer (0.1) or more (10) requests than usual.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Only nginx → nginx and ours.
    #[arg(long)]
    without_peers: bool,
    /// Only requests: neither large bodies, new connections nor memory with open ones.
    #[arg(long)]
    requests_only: bool,
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
    let programs = Programs::find()?;
    let directory = tempfile::tempdir().context("can't make a temporary directory")?;
    let directory = directory.path();
    let mut processes = Processes::default();
    let systems = start(&programs, directory, arguments.without_peers, &mut processes)?;
    let mut figures = Figures::new(heading(&programs, arguments.rounds), &systems);
    let measure = Measure {
        programs: &programs,
        processes: &processes,
        systems: &systems,
        directory,
        rounds: arguments.rounds,
        scale: arguments.scale,
    };
    measure.idle(&mut figures)?;
    if !arguments.requests_only {
        measure.open(&mut figures)?;
    }
    for system in &systems {
        load::run(&programs, system, 16, 2_000, None)?;
    }
    for &connections in &arguments.connections {
        measure.rates(&mut figures, connections)?;
    }
    measure.paced(&mut figures)?;
    if !arguments.requests_only {
        measure.new_connections(&mut figures)?;
        measure.bodies(&mut figures)?;
    }
    print!("{figures}");
    Ok(())
}

/// Starts everything. The reference is first.
fn start(
    programs: &Programs,
    directory: &Path,
    without_peers: bool,
    processes: &mut Processes,
) -> anyhow::Result<Vec<System>> {
    let certificates = Certificates::new(directory)?;
    let origin = nginx::origin(programs, directory)?;
    let origins = (origin.port, sink::start()?);
    processes.add([origin.server]);
    let reference = nginx::chain(programs, &certificates, directory, origins, processes)?;
    let (ours, servers) = Sekimori::start(programs, directory, origins.0, processes)?;
    let mut systems = vec![reference];
    systems.extend(ours.systems(&servers)?);
    ours.take_uploads(programs, directory, origins.1, processes)?;
    if !without_peers {
        systems.extend(ours.cloudflared(programs, directory, origins.0, processes)?);
        for start in [haproxy::start, caddy::start, rathole::start] {
            systems.extend(start(programs, &certificates, directory, origins, processes)?);
        }
    }
    Ok(systems)
}

fn heading(programs: &Programs, rounds: u32) -> String {
    format!(
        "{}\nnginx: 1 worker process each; haproxy: 1 thread each; threads of edge and connector: {}.\n\
         TLS 1.3, P-256; AES-128-GCM to the visitor, AES-256-GCM between the hops of nginx, haproxy \
         and ours.\n{rounds} rounds in turns.",
        programs.versions(),
        sekimori::threads(),
    )
}
