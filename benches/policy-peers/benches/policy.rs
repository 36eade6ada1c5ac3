//! One decision of each engine, from texts.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sekimori_policy_peers::{contenders, workload::Workload};

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy");
    group.sample_size(20);
    for workload in
        [Workload::small(), Workload::medium(), Workload::large(), Workload::many(100_000)]
    {
        for mut engine in contenders(&workload) {
            let mut requests = workload.requests.iter().cycle();
            group.bench_function(BenchmarkId::new(engine.name(), workload.name), |bencher| {
                bencher.iter(|| requests.next().map(|facts| engine.decide(black_box(facts))));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
