//! The policy engine alone: the four policy sets, from texts to decision and trace. Beside its peers it
//! stands in `policy-peers`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use crate::workload::Workload;

mod sekimori;
mod workload;

/// Fewer where every bench runs once, to see that it runs.
const APPLICATIONS: usize = if cfg!(debug_assertions) { 1_000 } else { 100_000 };

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy");
    group.throughput(Throughput::Elements(1));
    let sets =
        [Workload::small(), Workload::medium(), Workload::large(), Workload::many(APPLICATIONS)];
    for workload in sets {
        let engine = sekimori::engine(&workload.to_json());
        for facts in &workload.requests {
            let (policy, passes) = workload.naive(facts);
            let (outcome, trace) = sekimori::decide(&engine, facts);
            assert_eq!((trace.policy(), outcome.is_pass()), (policy, passes), "{facts:?}");
        }
        let mut requests = workload.requests.iter().cycle();
        group.bench_function(BenchmarkId::new("with trace", workload.name), |bencher| {
            bencher
                .iter(|| requests.next().map(|facts| sekimori::decide(&engine, black_box(facts))));
        });
        group.bench_function(BenchmarkId::new("outcome alone", workload.name), |bencher| {
            bencher
                .iter(|| requests.next().map(|facts| sekimori::outcome(&engine, black_box(facts))));
        });
        if workload.applications.len() == APPLICATIONS {
            let cold = Workload::cold(APPLICATIONS);
            let mut requests = cold.iter().cycle();
            group.bench_function(BenchmarkId::new("65,536 random requests", "huge"), |bencher| {
                bencher.iter(|| {
                    requests.next().map(|facts| sekimori::decide(&engine, black_box(facts)))
                });
            });
        }
    }
    group.finish();
}

fn loading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy from JSON text");
    group.sample_size(10);
    for workload in [Workload::medium(), Workload::many(APPLICATIONS)] {
        let json = workload.to_json();
        group.throughput(Throughput::Bytes(json.len() as u64));
        group.bench_function(workload.name, |bencher| {
            bencher.iter_with_large_drop(|| sekimori::engine(black_box(&json)));
        });
    }
    group.finish();
}

criterion_group!(benches, decisions, loading);
criterion_main!(benches);
