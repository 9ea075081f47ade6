//! Deciding what became of each row of a request, from PostHog's reply.

use std::hint::black_box;

use audithog::bench::delivery::{Rows, Sink};
use bench_parts::service::ServiceRows;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// 2026-03-01
const FIRST: i64 = 1_772_366_400_000_000;

fn decide_a_verdict(criterion: &mut Criterion) {
    let sink = Sink::new().expect("a sink");
    let size = sink.request_rows();
    let ids = Rows::of(ServiceRows::from(FIRST).take(size)).ids();
    let reply = |one: &str, from: usize| {
        let rest = ids.iter().cycle().skip(from).take(size);
        let results: Vec<String> = rest
            .enumerate()
            .map(|(at, id)| {
                let result = if at == size / 2 { one } else { "ok" };
                format!(r#""{id}":{{"result":"{result}"}}"#)
            })
            .collect();
        format!(r#"{{"results":{{{}}}}}"#, results.join(",")).into_bytes()
    };
    let mut group = criterion.benchmark_group("decide a verdict");
    group.throughput(Throughput::Elements(size as u64));
    for (name, reply) in [
        ("all ok", reply("ok", 0)),
        ("all ok, in another order", reply("ok", size / 3)),
        ("one to try again", reply("retry", 0)),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || reply.clone(),
                |reply| sink.verdict(black_box(&ids), reply),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, decide_a_verdict);
criterion_main!(benches);
