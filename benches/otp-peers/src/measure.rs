//! Rounds, clocks and the table.

use std::hint::black_box;

use cpu_time::ThreadTime;

/// Something to measure: a name, perhaps a bar in nanoseconds, and what to do once.
pub struct Contender<'a> {
    name: String,
    bar: Option<f64>,
    run: Box<dyn FnMut() -> bool + 'a>,
}

impl<'a> Contender<'a> {
    pub fn new(name: impl Into<String>, run: impl FnMut() -> bool + 'a) -> Self {
        Self { name: name.into(), bar: None, run: Box::new(run) }
    }

    /// At most this many nanoseconds are aimed at.
    pub fn bar(mut self, nanos: f64) -> Self {
        self.bar = Some(nanos);
        self
    }
}

pub struct Table {
    rows: Vec<String>,
}

impl Table {
    pub fn new() -> Self {
        Self { rows: Vec::new() }
    }

    /// Measures all in turns, so that what disturbs the machine disturbs each alike.
    pub fn measure(&mut self, what: &str, mut contenders: Vec<Contender<'_>>) {
        let mut times = vec![Vec::new(); contenders.len()];
        for contender in &mut contenders {
            assert!((contender.run)(), "{what}: `{}` does not work", contender.name);
        }
        for _ in 0..ROUNDS {
            for (contender, times) in contenders.iter_mut().zip(&mut times) {
                times.push(round(&mut contender.run));
            }
        }
        for (contender, mut times) in contenders.into_iter().zip(times) {
            times.sort_by(f64::total_cmp);
            let (least, median, most) = (times[0], times[ROUNDS / 2], times[ROUNDS - 1]);
            let bar = match contender.bar {
                Some(bar) if median <= bar => format!("{bar:.0}, met"),
                Some(bar) => format!("{bar:.0}, **not met**"),
                None => String::new(),
            };
            let name = contender.name;
            self.rows.push(format!(
                "| {what} | {name} | {least:.0} | {median:.0} | {most:.0} | {bar} |"
            ));
        }
    }

    pub fn print(&self) {
        println!("| what | who | least | median | most | bar |\n|---|---|---:|---:|---:|---|");
        for row in &self.rows {
            println!("{row}");
        }
    }
}

/// Nanoseconds for one, over some milliseconds.
fn round(run: &mut dyn FnMut() -> bool) -> f64 {
    let mut done = 0_u32;
    let start = ThreadTime::now();
    loop {
        // A clock is read now and then.
        let batch = (done / 2).clamp(1, 4_096);
        for _ in 0..batch {
            black_box(run());
        }
        done += batch;
        let elapsed = start.elapsed();
        if elapsed.as_millis() >= ROUND_MILLIS {
            return elapsed.as_secs_f64() * 1e9 / f64::from(done);
        }
    }
}

const ROUNDS: usize = 41;
const ROUND_MILLIS: u128 = 15;
