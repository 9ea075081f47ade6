//! When pending rows are sent.

use std::time::Duration;

use audithog::testing::ManualClock;

use super::{Bench, PATIENCE, assert_ended_well, assert_flushed, log, posthog, wait_until};

const INTERVAL: Duration = Duration::from_secs(30);

/// The number of `counted` events in each request after the first `skip`.
fn counted(bench: &Bench, skip: usize) -> Vec<usize> {
    let requests = bench.posthog.requests();
    let counted = |events: &[std::sync::Arc<audithog::testing::standin::CapturedEvent>]| {
        events
            .iter()
            .filter(|event| event.event == "counted")
            .count()
    };
    requests
        .iter()
        .skip(skip)
        .map(|request| counted(&request.events))
        .collect()
}

#[test]
fn the_hundredth_pending_row_sends_them_all() {
    let bench = Bench::new();
    let logger = bench
        .builder()
        .start_with_clock(&ManualClock::default())
        .unwrap();
    assert_flushed(&logger);
    let before = bench.posthog.requests().len();
    log(&logger, 99);
    // Delivery has seen them: it knows how old the oldest is.
    wait_until("99 rows wait", || {
        let sink = posthog(&logger);
        sink.pending == 99 && sink.oldest_pending.is_some()
    });
    assert_eq!(bench.posthog.requests().len(), before);
    log(&logger, 1);
    bench
        .posthog
        .wait_for(PATIENCE, |seen| seen.requests().len() > before)
        .unwrap();
    // All in one request: none went ahead.
    assert_eq!(counted(&bench, before), [100]);
    assert_ended_well(&logger);
    bench.assert_all_arrived();
}

#[test]
fn the_interval_of_the_first_pending_row_sends_them_all() {
    let bench = Bench::new();
    let clock = ManualClock::default();
    let logger = bench.builder().start_with_clock(&clock).unwrap();
    assert_flushed(&logger);
    let before = bench.posthog.requests().len();
    log(&logger, 3);
    wait_until("3 rows wait", || posthog(&logger).oldest_pending.is_some());
    clock.advance(INTERVAL - Duration::from_millis(1));
    log(&logger, 2);
    wait_until("5 rows wait", || posthog(&logger).pending == 5);
    assert_eq!(bench.posthog.requests().len(), before);
    clock.advance(Duration::from_millis(1));
    bench
        .posthog
        .wait_for(PATIENCE, |seen| seen.requests().len() > before)
        .unwrap();
    assert_eq!(counted(&bench, before), [5]);
    assert_ended_well(&logger);
    bench.assert_all_arrived();
}

#[test]
fn the_batch_size_does_not_limit_what_is_sent() {
    let bench = Bench::new();
    let logger = bench
        .builder()
        .batch_size(100)
        .start_with_clock(&ManualClock::default())
        .unwrap();
    assert_flushed(&logger);
    log(&logger, 250);
    // The clock stands: no interval helps the last fifty.
    bench
        .posthog
        .wait_for(PATIENCE, |seen| {
            seen.stored()
                .iter()
                .filter(|event| event.event == "counted")
                .count()
                >= 200
        })
        .unwrap();
    assert_ended_well(&logger);
    bench.assert_all_arrived();
}
