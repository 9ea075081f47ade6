//! Watching one request, and a row that finds the queue full.

use criterion::{Criterion, criterion_group, criterion_main};

fn watch_one_request(_: &mut Criterion) {}

criterion_group!(benches, watch_one_request);
criterion_main!(benches);
