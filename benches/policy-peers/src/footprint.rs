//! Loading a policy set: processor time, and what is held on the heap afterwards and at most.
//! `footprint [set..]` prints rows of Markdown.

use std::hint::black_box;

use cpu_time::ThreadTime;
use peak_alloc::PeakAlloc;
use sekimori_policy_peers::{
    casbin::Casbin, cedar::Cedar, rego::Regorus, sekimori, workload::Workload,
};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    println!("| set | engine | load, ms | held, KiB | most, KiB |\n|---|---|---:|---:|---:|");
    let sets: [(&str, fn() -> Workload); 4] = [
        ("small", Workload::small),
        ("medium", Workload::medium),
        ("large", Workload::large),
        ("huge", || Workload::many(100_000)),
    ];
    for (name, make) in sets {
        if !wanted.is_empty() && !wanted.iter().any(|set| set == name) {
            continue;
        }
        let workload = make();
        let json = workload.to_json();
        for _ in 0..3 {
            measure(name, "access-policy, from JSON text", || sekimori::engine(&json));
        }
        drop(json);
        measure(name, "cedar-policy, sliced by host", || Cedar::new(&workload));
        measure(name, "regorus, register VM", || Regorus::new(&workload));
        measure(name, "casbin", || Casbin::new(&workload));
    }
}

fn measure<T>(set: &str, engine: &str, load: impl FnOnce() -> T) {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let start = ThreadTime::now();
    let loaded = black_box(load());
    let millis = start.elapsed().as_secs_f64() * 1e3;
    let kib = |bytes: usize| bytes.saturating_sub(before) / 1024;
    let (held, most) = (kib(HEAP.current_usage()), kib(HEAP.peak_usage()));
    println!("| {set} | {engine} | {millis:.1} | {held} | {most} |");
    drop(loaded);
}
