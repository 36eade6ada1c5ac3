//! Sekimori beside nginx: the same two hops over TLS, in one run, on one machine.
//!
//! ```console
//! $ cargo build --release -p sekimori
//! $ cargo run --release -p sekimori-benches --bin compare
//! ```
//!
//! You see one markdown table, and as the last lines the ratios. `benches/README.md` says what the
//! figures mean and what they do not.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table is the program's result, progress goes beside it"
)]

mod figures;
mod load;
mod nginx;
mod process;
mod programs;
mod sekimori;
mod visitor;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;

use self::{
    figures::{Figures, Sample, System},
    load::Target,
    programs::Programs,
};

/// Measures visitor TLS → edge → tunnel TLS → connector → nginx beside nginx TLS → nginx TLS →
/// nginx.
#[derive(Debug, Parser)]
#[command(name = "compare")]
struct Arguments {
    /// How often each figure is taken; the systems take turns.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many open connections, one figure each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    connections: Vec<u32>,
    /// Fewer (0.1) or more (10) requests than usual.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
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
    let origin = nginx::origin(&programs, directory)?;
    let peers = nginx::chain(&programs, directory, origin.port)?;
    let ours = sekimori::start(&programs, directory, origin.port)?;

    let systems = [
        (System::Nginx, Target::new(nginx::HOST, peers.port), &peers.servers),
        (System::Bypass, Target::new(sekimori::OPEN_HOST, ours.port), &ours.servers),
        (
            System::Session,
            Target::new(sekimori::STAFF_HOST, ours.port).header("cookie", &ours.cookie),
            &ours.servers,
        ),
    ];
    let mut figures = Figures::new(&programs, arguments.rounds);
    for (system, _, servers) in &systems[..2] {
        figures.idle(*system, process::resident_bytes(servers)?);
    }
    for (_, target, _) in &systems {
        load::run(&programs, target, 16, 2_000, None)?;
    }
    for &connections in &arguments.connections {
        // The count is the same for all and follows the machine: it takes nginx a second or two.
        let first = load::run(&programs, &systems[0].1, connections, 2_000, None)?;
        let requests = scaled(first.requests_per_second * 1.5, arguments.scale);
        // Handshakes shall not count for much: 40 requests on each connection at least.
        let requests = requests.max(40 * connections);
        for round in 1..=arguments.rounds {
            eprintln!("{connections} connections, round {round} of {}", arguments.rounds);
            for (system, target, servers) in &systems {
                let before = process::cpu_times(servers)?;
                let load = load::run(&programs, target, connections, requests, None)?;
                let after = process::cpu_times(servers)?;
                figures.add(*system, connections, Sample::new(&load, requests, &before, &after));
            }
        }
        for (system, target, _) in &systems {
            let log = directory.join("latencies");
            let load = load::run(&programs, target, connections, requests, Some(&log))?;
            figures.latency(*system, connections, load.latency);
        }
    }
    eprintln!("500 requests a second");
    for (system, target, _) in &systems {
        let log = directory.join("latencies");
        let load = load::paced(&programs, target, scaled(2_000.0, arguments.scale), &log)?;
        figures.paced(*system, load.latency);
    }
    for (system, _, servers) in &systems[..2] {
        figures.loaded(*system, process::resident_bytes(servers)?);
    }
    print!("{figures}");
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float that is too large or negative saturates"
)]
fn scaled(requests: f64, scale: f64) -> u32 {
    // Too few tell nothing.
    ((requests * scale) as u32).clamp(1_000, 100_000)
}
