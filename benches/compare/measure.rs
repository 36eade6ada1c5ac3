//! Taking the figures, system by system in turns.

use std::{collections::HashMap, path::Path, time::Duration};

use crate::{
    client::Client,
    figures::{Figures, Row},
    load,
    nginx::LARGE_BYTES,
    process,
    programs::Programs,
    systems::{Processes, System},
};

/// Everything that measuring needs.
pub(crate) struct Measure<'a> {
    pub(crate) programs: &'a Programs,
    pub(crate) processes: &'a Processes,
    pub(crate) systems: &'a [System],
    pub(crate) directory: &'a Path,
    pub(crate) rounds: u32,
    pub(crate) scale: f64,
}

/// What one measurement does with one system.
type Take<'m> = &'m mut dyn FnMut(&System, usize) -> anyhow::Result<()>;

impl Measure<'_> {
    /// Requests a second and CPU seconds, as fast as answers come.
    pub(crate) fn rates(&self, figures: &mut Figures, connections: u32) -> anyhow::Result<()> {
        // The count is the same for all and follows the machine: it takes nginx a second or two.
        let first = load::run(self.programs, &self.systems[0], connections, 2_000, None)?;
        let requests = scaled(first.requests_per_second * 1.5, self.scale);
        // Handshakes shall not count for much: 40 requests on each connection at least.
        let requests = requests.max(40 * connections);
        let per_10_000 = 10_000.0 / f64::from(requests);
        self.in_turns(&format!("{connections} connections"), &mut |system, index| {
            let (load, spent) = self.spending(system, || {
                load::run(self.programs, system, connections, requests, None)
            })?;
            figures.add(Row::Rate(connections), index, load.requests_per_second);
            let inner = spent.get(system.inner()).copied().unwrap_or_default();
            let all: Duration = spent.values().sum();
            figures.add(Row::Cpu(connections), index, all.as_secs_f64() * per_10_000);
            figures.add(Row::InnerCpu(connections), index, inner.as_secs_f64() * per_10_000);
            if connections == 64 {
                let mut inner = self.processes.of(system);
                inner.retain(|server| server.name == system.inner());
                figures.add(Row::Inner, index, megabytes(process::resident_bytes(&inner)?));
            }
            Ok(())
        })
    }

    /// Latencies at 500 requests a second.
    pub(crate) fn paced(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let requests = scaled(2_000.0, self.scale);
        self.in_turns("500 requests a second", &mut |system, index| {
            let log = self.directory.join("latencies");
            let load = load::paced(self.programs, system, requests, &log)?;
            if let Some(latency) = load.latency {
                figures.add(Row::PacedMedian, index, latency.median.as_secs_f64() * 1_000.0);
                figures.add(Row::PacedP99, index, latency.p99.as_secs_f64() * 1_000.0);
            }
            Ok(())
        })
    }

    /// One large body down and one up.
    pub(crate) fn bodies(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let mut add = |[rate, cpu]: [Row; 2], index, took: Duration, spent: Duration| {
            figures.add(rate, index, megabytes(LARGE_BYTES) / took.as_secs_f64());
            figures.add(cpu, index, spent.as_secs_f64() * 1_000.0 / megabytes(LARGE_BYTES));
        };
        self.in_turns("large bodies", &mut |system, index| {
            let client = Client::new(system)?;
            let (took, spent) = self.spending(system, || client.download("/large", LARGE_BYTES))?;
            add([Row::Download, Row::DownloadCpu], index, took, spent.values().sum());
            if let Some(system) = system.taking_uploads() {
                let client = Client::new(&system)?;
                let (took, spent) = self.spending(&system, || client.upload(LARGE_BYTES))?;
                add([Row::Upload, Row::UploadCpu], index, took, spent.values().sum());
            }
            Ok(())
        })
    }

    /// Connections of new visitors.
    pub(crate) fn new_connections(&self, figures: &mut Figures) -> anyhow::Result<()> {
        self.in_turns("new connections", &mut |system, index| {
            let rate = load::new_connections(self.programs, system, 1_000)?;
            figures.add(Row::NewConnections, index, rate);
            Ok(())
        })
    }

    /// Memory before any load.
    pub(crate) fn idle(&self, figures: &mut Figures) -> anyhow::Result<()> {
        for (index, system) in self.systems.iter().enumerate() {
            let bytes = process::resident_bytes(&self.processes.of(system))?;
            figures.add(Row::Idle, index, megabytes(bytes));
        }
        Ok(())
    }

    /// Memory while visitors' connections are open.
    pub(crate) fn open(&self, figures: &mut Figures) -> anyhow::Result<()> {
        for (index, system) in self.systems.iter().enumerate() {
            eprintln!("1,000 open connections: {}", system.name);
            let open = Client::new(system)?.open(1_000)?;
            let bytes = process::resident_bytes(&self.processes.of(system))?;
            figures.add(Row::Open, index, megabytes(bytes));
            drop(open);
        }
        Ok(())
    }

    /// Measures each system once in each round.
    fn in_turns(&self, what: &str, take: Take<'_>) -> anyhow::Result<()> {
        for round in 1..=self.rounds {
            eprintln!("{what}, round {round} of {}", self.rounds);
            for (index, system) in self.systems.iter().enumerate() {
                take(system, index)?;
            }
        }
        Ok(())
    }

    /// Does something, and tells what CPU time each of the system's processes spent meanwhile.
    fn spending<T>(
        &self,
        system: &System,
        work: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, HashMap<&'static str, Duration>)> {
        let before = process::cpu_times(&self.processes.of(system))?;
        let done = work()?;
        let mut spent = process::cpu_times(&self.processes.of(system))?;
        for (name, spent) in &mut spent {
            *spent = spent.saturating_sub(before.get(name).copied().unwrap_or_default());
        }
        Ok((done, spent))
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
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
