//! Watching one request, and a row that finds the queue full.

use std::hint::black_box;

use audithog::bench::request::Unwritten;
use criterion::{Criterion, criterion_group, criterion_main};
use micro::service::{Around, Service, settings};

/// Rows that are taken at once.
const GROUP: u32 = 256;

/// The whole service, with the layer and with one that does nothing: the layer is the difference.
fn watch_one_request(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("watch one request");
    for around in [Around::Noop, Around::Audit] {
        let mut service = Service::new(around).expect("a service");
        let mut asked = 0_u32;
        group.bench_function(format!("{around:?}"), |bencher| {
            bencher.iter(|| {
                asked = asked.wrapping_add(1);
                if asked.is_multiple_of(GROUP) {
                    service.take_rows();
                }
                service.answer()
            });
        });
    }
}

/// A row for which there is no room: counted under its reason, and dropped.
fn admit_when_full(criterion: &mut Criterion) {
    let full = Unwritten::start(settings()).expect("a logger");
    let logger = full.logger();
    while logger.health().lost.is_empty() {
        logger.event("filler").log();
    }
    criterion.bench_function("admit when full", |bencher| {
        bencher.iter(|| black_box(logger.event("one_too_many")).log());
    });
}

criterion_group!(benches, watch_one_request, admit_when_full);
criterion_main!(benches);
