//! The load generator.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, bail};

use crate::{programs::Programs, systems::System};

/// What came out.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) requests_per_second: f64,
    pub(crate) latency: Option<Latency>,
}

/// How long requests took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Latency {
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
}

/// Sends requests as fast as they are answered. With `log`, latencies come back too, at the price
/// of a line for each request.
pub(crate) fn run(
    programs: &Programs,
    system: &System,
    connections: u32,
    requests: u32,
    log: Option<&Path>,
) -> anyhow::Result<Load> {
    let mut command = command(programs, system, connections, requests);
    if let Some(log) = log {
        command.arg("--log-file").arg(log);
    }
    finish(&mut command, requests, log)
}

/// Sends 500 requests a second over ten connections.
pub(crate) fn paced(
    programs: &Programs,
    system: &System,
    requests: u32,
    log: &Path,
) -> anyhow::Result<Load> {
    let mut command = command(programs, system, 10, requests);
    command.arg("--rps=50").arg("--log-file").arg(log);
    finish(&mut command, requests, Some(log))
}

/// Opens so many connections at once, each for one request, and tells how many there are a second.
pub(crate) fn new_connections(
    programs: &Programs,
    system: &System,
    connections: u32,
) -> anyhow::Result<f64> {
    let mut command = command(programs, system, connections, connections);
    Ok(finish(&mut command, connections, None)?.requests_per_second)
}

fn command(programs: &Programs, system: &System, connections: u32, requests: u32) -> Command {
    let mut command = Command::new(&programs.h2load);
    command
        .args(["--h1", "-t", "1", "--tls13-ciphers=TLS_AES_128_GCM_SHA256"])
        .args(["-c", &connections.to_string(), "-n", &requests.to_string()])
        .arg(format!("--connect-to=127.0.0.1:{}", system.port))
        .args(system.cookie.iter().flat_map(|it| ["-H".to_owned(), format!("cookie: {it}")]))
        .arg(format!("https://{}:{}/1k", system.host, system.port));
    command
}

fn finish(command: &mut Command, requests: u32, log: Option<&Path>) -> anyhow::Result<Load> {
    let output = command.output().context("can't start h2load")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let Some(requests_per_second) = requests_per_second(&text) else {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("h2load told no rate:\n{text}{errors}");
    };
    // A figure is worth nothing if requests failed, or if the TLS is not the one compared.
    for expected in
        [format!("status codes: {requests} 2xx, "), "Cipher: TLS_AES_128_GCM_SHA256".to_owned()]
    {
        if !text.contains(&expected) {
            bail!("h2load did not report `{expected}`:\n{text}");
        }
    }
    let latency = log.map(|log| read_latencies(log).context("in h2load's log")).transpose()?;
    Ok(Load { requests_per_second, latency })
}

/// `finished in 1.20s, 8333.33 req/s, 9.1MB/s`
fn requests_per_second(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("finished in "))?;
    let rate = line.split(", ").find_map(|part| part.strip_suffix(" req/s"))?;
    rate.parse().ok()
}

/// Lines of start, status and microseconds.
fn read_latencies(log: &Path) -> anyhow::Result<Latency> {
    let text = fs::read_to_string(log)?;
    fs::remove_file(log)?;
    let microseconds = text.lines().filter_map(|line| line.split('\t').nth(2)?.parse().ok());
    let mut sorted: Vec<u64> = microseconds.collect();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let found = sorted.get(sorted.len() * percent / 100);
        found.copied().map(Duration::from_micros).context("no requests")
    };
    Ok(Latency { median: at(50)?, p99: at(99)? })
}
