//! Building and compressing the body of a request to PostHog.

use std::hint::black_box;

use audithog::bench::delivery::{Rows, Sink};
use bench_parts::service::ServiceRows;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// 2026-03-01
const FIRST: i64 = 1_772_366_400_000_000;

fn build_and_compress_a_batch(criterion: &mut Criterion) {
    let sink = Sink::new().expect("a sink");
    let mut group = criterion.benchmark_group("build and compress a batch");
    for size in [100, 500, sink.request_rows()] {
        let rows = Rows::of(ServiceRows::from(FIRST).take(size));
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(format!("{size} rows"), |bencher| {
            bencher.iter(|| sink.body(black_box(&rows)));
        });
        group.bench_function(format!("{size} rows, not compressed"), |bencher| {
            bencher.iter_batched_ref(
                || Vec::with_capacity(1_500 * size),
                |out| sink.events(black_box(&rows), out),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, build_and_compress_a_batch);
criterion_main!(benches);
