//! What was measured, as a table.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Duration,
};

use crate::{
    load::{Latency, Load},
    programs::Programs,
    sekimori,
};

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum System {
    /// nginx → nginx.
    Nginx,
    /// Edge → connector, an application without a login.
    Bypass,
    /// Edge → connector, a visitor with a session.
    Session,
}

/// One round of one system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    requests_per_second: f64,
    /// CPU seconds for 10,000 requests of both hops.
    cpu: f64,
    /// Of it the hop beside the origin.
    inner_cpu: f64,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Figures {
    versions: String,
    rounds: u32,
    samples: BTreeMap<(u32, System), Vec<Sample>>,
    latencies: BTreeMap<(u32, System), Latency>,
    paced: BTreeMap<System, Latency>,
    idle: BTreeMap<System, u64>,
    loaded: BTreeMap<System, u64>,
}

impl System {
    const ALL: [Self; 3] = [Self::Nginx, Self::Bypass, Self::Session];

    fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx → nginx",
            Self::Bypass => "edge → connector, bypass",
            Self::Session => "edge → connector, session",
        }
    }
}

impl Sample {
    pub(crate) fn new(
        load: &Load,
        requests: u32,
        before: &HashMap<&'static str, Duration>,
        after: &HashMap<&'static str, Duration>,
    ) -> Self {
        let spent = |name: &&&str| {
            let before = before.get(**name).copied().unwrap_or_default();
            after.get(**name).copied().unwrap_or_default().saturating_sub(before).as_secs_f64()
        };
        let per_10_000 = 10_000.0 / f64::from(requests);
        let is_inner = |name: &&&'static str| matches!(**name, "back" | "connector");
        Self {
            requests_per_second: load.requests_per_second,
            cpu: after.keys().map(|name| spent(&name)).sum::<f64>() * per_10_000,
            inner_cpu: after.keys().filter(is_inner).map(|name| spent(&name)).sum::<f64>()
                * per_10_000,
        }
    }
}

impl Figures {
    pub(crate) fn new(programs: &Programs, rounds: u32) -> Self {
        Self {
            versions: programs.versions(),
            rounds,
            samples: BTreeMap::new(),
            latencies: BTreeMap::new(),
            paced: BTreeMap::new(),
            idle: BTreeMap::new(),
            loaded: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, system: System, connections: u32, sample: Sample) {
        self.samples.entry((connections, system)).or_default().push(sample);
    }

    pub(crate) fn latency(&mut self, system: System, connections: u32, it: Option<Latency>) {
        self.latencies.extend(it.map(|latency| ((connections, system), latency)));
    }

    pub(crate) fn paced(&mut self, system: System, it: Option<Latency>) {
        self.paced.extend(it.map(|latency| (system, latency)));
    }

    pub(crate) fn idle(&mut self, system: System, resident_bytes: u64) {
        self.idle.insert(system, resident_bytes);
    }

    pub(crate) fn loaded(&mut self, system: System, resident_bytes: u64) {
        self.loaded.insert(system, resident_bytes);
    }

    fn spread(&self, connections: u32, system: System, of: fn(&Sample) -> f64) -> Spread {
        let samples = self.samples.get(&(connections, system)).map_or(&[][..], Vec::as_slice);
        Spread::of(samples.iter().map(of).collect())
    }

    fn ratios(&self, f: &mut fmt::Formatter<'_>, connections: u32, system: System) -> fmt::Result {
        let ratio = |of: fn(&Sample) -> f64| {
            let ours = self.spread(connections, system, of).median;
            ours / self.spread(connections, System::Nginx, of).median
        };
        let (rate, cpu) = (ratio(|it| it.requests_per_second), ratio(|it| it.cpu));
        writeln!(
            f,
            "ratio to nginx → nginx at {connections} connections, {}: \
             {rate:.2}x requests/s, {cpu:.2}x CPU",
            system.name()
        )
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}; nginx: 1 worker process each.", self.versions)?;
        writeln!(f, "Threads of edge and connector: {}.", sekimori::threads())?;
        writeln!(
            f,
            "TLS 1.3, P-256; AES-128-GCM to the visitor, AES-256-GCM between the hops. {} rounds, \
             median (min..max); latencies from one more round.\n",
            self.rounds
        )?;
        writeln!(
            f,
            "| connections | system | requests/s | CPU s per 10,000 | of it inner hop | p50 ms | p99 ms |"
        )?;
        writeln!(f, "|---:|---|---:|---:|---:|---:|---:|")?;
        for &(connections, system) in self.samples.keys() {
            let rate = self.spread(connections, system, |it| it.requests_per_second);
            let cpu = self.spread(connections, system, |it| it.cpu);
            let inner = self.spread(connections, system, |it| it.inner_cpu);
            let latency = self.latencies.get(&(connections, system));
            writeln!(
                f,
                "| {connections} | {} | {rate:.0} | {cpu:.3} | {:.3} | {} |",
                system.name(),
                inner.median,
                milliseconds(latency)
            )?;
        }
        for system in System::ALL {
            let latency = milliseconds(self.paced.get(&system));
            writeln!(f, "| 10 | {}, at 500 requests/s | 500 | – | – | {latency} |", system.name())?;
        }
        let mebibytes = |bytes: Option<&u64>| bytes.copied().unwrap_or_default() / (1024 * 1024);
        writeln!(f)?;
        for system in [System::Nginx, System::Bypass] {
            let (idle, loaded) = (self.idle.get(&system), self.loaded.get(&system));
            let name = system.name().trim_end_matches(", bypass");
            let (idle, loaded) = (mebibytes(idle), mebibytes(loaded));
            writeln!(f, "Resident memory of {name}: {idle} MiB idle, {loaded} MiB afterwards.")?;
        }
        writeln!(f)?;
        let mut connections: Vec<u32> = self.samples.keys().map(|&(it, _)| it).collect();
        connections.dedup();
        for connections in connections {
            self.ratios(f, connections, System::Bypass)?;
            self.ratios(f, connections, System::Session)?;
        }
        Ok(())
    }
}

/// Median, least and most.
#[derive(Debug, Clone, Copy)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let at = |at: usize| values.get(at).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        Self {
            median: f64::midpoint(at(last / 2), at(last.div_ceil(2))),
            least: at(0),
            most: at(last),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = f.precision().unwrap_or(2);
        let Self { median, least, most } = self;
        write!(f, "{median:.decimals$} ({least:.decimals$}..{most:.decimals$})")
    }
}

fn milliseconds(latency: Option<&Latency>) -> String {
    latency.map_or("– | –".to_owned(), |latency| {
        let [median, p99] = [latency.median, latency.p99].map(|it| it.as_secs_f64() * 1_000.0);
        format!("{median:.2} | {p99:.2}")
    })
}
