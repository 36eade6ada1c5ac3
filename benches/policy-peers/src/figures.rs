//! Nanoseconds of processor time for a decision, from texts: all engines in turns, round by round.
//! `figures [set..]` prints least, median and most as rows of Markdown.

use std::hint::black_box;

use cpu_time::ThreadTime;
use sekimori_policy_peers::{
    contender::{Contender, Ours},
    contenders, sekimori,
    workload::{Facts, Workload},
};

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|set| set == name);
    println!("| set | engine | least | median | most |\n|---|---|---:|---:|---:|");
    let sets: [(&str, fn() -> Workload); 4] = [
        ("small", Workload::small),
        ("medium", Workload::medium),
        ("large", Workload::large),
        ("huge", || Workload::many(100_000)),
    ];
    for (name, make) in sets {
        if wants(name) {
            let workload = make();
            let mut engines = contenders(&workload);
            let rows = rounds(&mut engines, &workload.requests);
            print(name, &rows);
        }
    }
    if wants("cold") {
        let workload = Workload::many(100_000);
        let engine = sekimori::engine(&workload.to_json());
        let mut ours: [Box<dyn Contender>; 1] = [Box::new(Ours(engine))];
        print("huge, 65,536 random requests", &rounds(&mut ours, &Workload::cold(100_000)));
    }
    if wants("growth") {
        let workload = Workload::many(1_000);
        let mut ours: [Box<dyn Contender>; 1] =
            [Box::new(Ours(sekimori::engine(&workload.to_json())))];
        print("as huge, 1,000 applications", &rounds(&mut ours, &workload.requests));
    }
    if wants("trace") {
        trace();
    }
}

/// For each engine its name and the nanoseconds of each round, sorted.
fn rounds(engines: &mut [Box<dyn Contender>], requests: &[Facts]) -> Vec<(&'static str, Vec<f64>)> {
    let mut rows: Vec<_> = engines.iter().map(|engine| (engine.name(), Vec::new())).collect();
    for _ in 0..ROUNDS {
        for (engine, (_, times)) in engines.iter_mut().zip(&mut rows) {
            times.push(round(requests, |facts| engine.decide(facts).0));
        }
    }
    for (_, times) in &mut rows {
        times.sort_by(f64::total_cmp);
    }
    rows
}

/// As many requests as fill the time, one after the other.
fn round(requests: &[Facts], mut decide: impl FnMut(&Facts) -> bool) -> f64 {
    let mut done = 0_u32;
    let start = ThreadTime::now();
    let mut from = requests.iter().cycle();
    loop {
        // A clock is read now and then; the slowest engines take milliseconds for each.
        let batch = if done == 0 { 1 } else { (done / 2).clamp(1, 1_024) };
        for facts in from.by_ref().take(batch as usize) {
            black_box(decide(black_box(facts)));
        }
        done += batch;
        let elapsed = start.elapsed();
        if elapsed.as_millis() >= ROUND_MILLIS {
            return elapsed.as_secs_f64() * 1e9 / f64::from(done);
        }
    }
}

/// What reading the trace adds to a decision.
fn trace() {
    let workload = Workload::medium();
    let engine = sekimori::engine(&workload.to_json());
    let mut rows =
        vec![("access-policy, outcome alone", vec![]), ("access-policy, with trace", vec![])];
    for _ in 0..ROUNDS {
        rows[0]
            .1
            .push(round(&workload.requests, |facts| sekimori::outcome(&engine, facts).is_pass()));
        rows[1].1.push(round(&workload.requests, |facts| {
            black_box(sekimori::decide(&engine, facts)).0.is_pass()
        }));
    }
    for (_, times) in &mut rows {
        times.sort_by(f64::total_cmp);
    }
    print("medium", &rows);
}

fn print(set: &str, rows: &[(&str, Vec<f64>)]) {
    for (engine, times) in rows {
        let (least, median, most) = (times[0], times[times.len() / 2], times[times.len() - 1]);
        println!("| {set} | {engine} | {least:.0} | {median:.0} | {most:.0} |");
    }
}

const ROUNDS: usize = 15;
const ROUND_MILLIS: u128 = 60;
