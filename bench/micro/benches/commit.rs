//! Commit N rows: one group of the writer, into a file that grows.

use bench_parts::requests::Requests;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use audithog::bench::ledger::Ledger;

fn commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit");
    for n in [1, 32, 1_000] {
        group.throughput(Throughput::Elements(n as u64));
        group.bench_with_input(BenchmarkId::new("rows", n), &n, |bencher, n| {
            let dir = tempfile::tempdir().expect("a directory");
            let mut ledger = Ledger::open(&dir.path().join("audit.db")).expect("a ledger");
            let rows = Requests::default().rows(*n);
            bencher.iter(|| ledger.append(&rows, false));
        });
    }
    group.finish();
}

criterion_group!(benches, commit);
criterion_main!(benches);
