//! What was measured, as tables.

use std::{collections::BTreeMap, fmt};

use crate::systems::{Role, System};

/// One thing that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    /// Requests a second with so many open connections.
    Rate(u32),
    /// CPU seconds of both hops for 10,000 requests.
    Cpu(u32),
    /// Of it the hop beside the origin.
    InnerCpu(u32),
    /// Median latency at 500 requests a second, in milliseconds.
    PacedMedian,
    /// The same, 99 of 100.
    PacedP99,
    /// One large body down, MB/s.
    Download,
    /// CPU seconds of both hops for a GB of it.
    DownloadCpu,
    /// One large body up, MB/s.
    Upload,
    /// CPU seconds of both hops for a GB of it.
    UploadCpu,
    /// TLS connections from new visitors a second, each with one request.
    NewConnections,
    /// Resident memory of both hops before any load, in MB.
    Idle,
    /// With 1,000 visitors' connections open.
    Open,
    /// Of the hop beside the origin, after the load with 64 connections.
    Inner,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate(connections) => write!(f, "requests/s, {connections} connections"),
            Self::Cpu(connections) => write!(f, "CPU s per 10,000, {connections} connections"),
            Self::InnerCpu(connections) => {
                write!(f, "of it inner hop, {connections} connections")
            }
            Self::PacedMedian => f.write_str("p50 ms at 500 requests/s"),
            Self::PacedP99 => f.write_str("p99 ms at 500 requests/s"),
            Self::Download => f.write_str("one download, MB/s"),
            Self::DownloadCpu => f.write_str("one download, CPU s per GB"),
            Self::Upload => f.write_str("one upload, MB/s"),
            Self::UploadCpu => f.write_str("one upload, CPU s per GB"),
            Self::NewConnections => f.write_str("new TLS connections/s"),
            Self::Idle => f.write_str("resident MB, idle"),
            Self::Open => f.write_str("resident MB, 1,000 open connections"),
            Self::Inner => f.write_str("resident MB of the inner hop after 64 connections"),
        }
    }
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Figures {
    heading: String,
    systems: Vec<(&'static str, Role)>,
    samples: BTreeMap<(Row, usize), Vec<f64>>,
}

impl Figures {
    pub(crate) fn new(heading: String, systems: &[System]) -> Self {
        let systems = systems.iter().map(|system| (system.name, system.role)).collect();
        Self { heading, systems, samples: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, row: Row, system: usize, value: f64) {
        self.samples.entry((row, system)).or_default().push(value);
    }

    fn spread(&self, row: Row, system: usize) -> Option<Spread> {
        self.samples.get(&(row, system)).map(|samples| Spread::of(samples.clone()))
    }

    fn median(&self, row: Row, role: Role) -> Option<f64> {
        let system = self.systems.iter().position(|(_, it)| *it == role)?;
        self.spread(row, system).map(|spread| spread.median)
    }

    /// Ours, as a multiple of another's.
    fn ratio(&self, row: Row, ours: Role, other: Role) -> Option<f64> {
        Some(self.median(row, ours)? / self.median(row, other)?)
    }

    fn bars(&self) -> Vec<Bar> {
        let against = |row, bound, reach, beyond| Bar {
            what: format!("{row}, beside nginx → nginx"),
            value: self.ratio(row, Role::Ours, Role::Reference),
            unit: "x",
            bound,
            reach,
            beyond,
        };
        let absolute = |row: Row, reach, beyond| Bar {
            what: row.to_string(),
            value: self.median(row, Role::Ours),
            unit: " MB",
            bound: Bound::AtMost,
            reach,
            beyond,
        };
        let cloudflared = |row: Row, bound, reach, beyond| Bar {
            what: format!("{row}, our connector beside cloudflared"),
            value: self.ratio(row, Role::Open, Role::Cloudflared),
            unit: "x",
            bound,
            reach,
            beyond,
        };
        vec![
            against(Row::Rate(1), Bound::AtLeast, 0.9, 1.0),
            against(Row::Rate(16), Bound::AtLeast, 1.0, 1.0),
            against(Row::Rate(64), Bound::AtLeast, 1.2, 1.4),
            against(Row::Rate(256), Bound::AtLeast, 1.15, 1.15),
            against(Row::Cpu(64), Bound::AtMost, 0.7, 0.6),
            against(Row::PacedP99, Bound::AtMost, 1.1, 1.0),
            against(Row::Download, Bound::AtLeast, 1.1, 1.3),
            against(Row::Upload, Bound::AtLeast, 1.1, 1.3),
            against(Row::NewConnections, Bound::AtLeast, 1.2, 1.4),
            absolute(Row::Idle, 30.0, 15.0),
            absolute(Row::Open, 60.0, 45.0),
            cloudflared(Row::Rate(64), Bound::AtLeast, 2.0, 2.5),
            cloudflared(Row::InnerCpu(64), Bound::AtMost, 0.35, 0.22),
            cloudflared(Row::Inner, Bound::AtMost, 0.35, 0.15),
        ]
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.heading)?;
        writeln!(f, "| figure | system | median (least..most) | beside nginx → nginx |")?;
        writeln!(f, "|---|---|---:|---:|")?;
        for &(row, system) in self.samples.keys() {
            let Some(spread) = self.spread(row, system) else { continue };
            let (name, _) = self.systems[system];
            let reference = self.median(row, Role::Reference);
            let ratio =
                reference.map_or("–".to_owned(), |it| format!("{:.2}x", spread.median / it));
            writeln!(f, "| {row} | {name} | {spread} | {ratio} |")?;
        }
        writeln!(f, "\nBars, on the whole path with a session:\n")?;
        writeln!(f, "| figure | measured | reach | beyond | |")?;
        writeln!(f, "|---|---:|---:|---:|---|")?;
        for bar in self.bars() {
            writeln!(f, "{bar}")?;
        }
        Ok(())
    }
}

/// What a figure must reach.
struct Bar {
    what: String,
    value: Option<f64>,
    unit: &'static str,
    bound: Bound,
    reach: f64,
    beyond: f64,
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast,
    AtMost,
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, unit, reach, beyond, .. } = self;
        let (sign, is_within): (_, fn(f64, f64) -> bool) = match self.bound {
            Bound::AtLeast => ("≥", |value, bound| value >= bound),
            Bound::AtMost => ("≤", |value, bound| value <= bound),
        };
        let (value, verdict) = match self.value {
            None => ("–".to_owned(), "not measured"),
            Some(value) => (
                format!("{value:.2}{unit}"),
                match (is_within(value, *reach), is_within(value, *beyond)) {
                    (_, true) => "beyond",
                    (true, false) => "met",
                    (false, false) => "**not met**",
                },
            ),
        };
        write!(f, "| {what} | {value} | {sign} {reach}{unit} | {sign} {beyond}{unit} | {verdict} |")
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
        let Self { median, least, most } = self;
        let decimals = if *median < 10.0 { 3 } else { usize::from(*median < 1_000.0) };
        write!(f, "{median:.decimals$} ({least:.decimals$}..{most:.decimals$})")
    }
}
