//! A flush returns as soon as it knows that it cannot succeed, and says why.

use std::time::Duration;

use audithog::testing::ManualClock;
use audithog::testing::standin::Fault;
use audithog::{Blocked, Logger};

use super::{
    Bench, PATIENCE, assert_ended_well, assert_flushed, log, posthog, refusing, wait_until,
};

fn blocked(logger: &Logger) -> Option<Blocked> {
    let report = logger.flush_blocking(Some(PATIENCE));
    report.health.check().unwrap();
    report.blocked
}

#[test]
fn a_refused_key_is_a_hold() {
    let bench = Bench::new();
    bench.posthog.stand_fault(Fault::status(401));
    let logger = bench.builder().start().unwrap();
    log(&logger, 1);
    let reason = blocked(&logger);
    assert!(
        matches!(&reason, Some(Blocked::Hold(text)) if text.contains("bad_key")),
        "{reason:?}"
    );
    let sink = posthog(&logger);
    assert_eq!((sink.hold.as_deref(), sink.delivered), (Some("bad_key"), 0));
}

#[test]
fn a_refusing_port_opens_the_breaker() {
    let bench = Bench::new();
    let logger = bench
        .builder_for(&refusing())
        .set("AUDITHOG_RETRY_QUICK_ATTEMPTS", "1")
        .start()
        .unwrap();
    log(&logger, 1);
    assert_eq!(blocked(&logger), Some(Blocked::BreakerOpen));
    assert_eq!(posthog(&logger).breaker, "open");
}

#[test]
fn a_host_that_never_answers_takes_the_deadline() {
    let bench = Bench::new();
    bench.posthog.stand_fault(Fault::hang());
    let logger = bench.builder().start().unwrap();
    log(&logger, 1);
    let report = logger.flush_blocking(Some(Duration::from_millis(300)));
    assert_eq!(report.blocked, Some(Blocked::Deadline));
    report.health.check().unwrap();
}

#[test]
fn a_limit_beyond_all_time_is_no_limit() {
    let bench = Bench::new();
    let logger = bench.builder().start().unwrap();
    log(&logger, 1);
    assert_eq!(logger.flush_blocking(Some(Duration::MAX)).blocked, None);
    let report = logger.shutdown_blocking(Some(Duration::MAX));
    assert_eq!(report.blocked, None, "{report}");
}

#[test]
fn of_two_loggers_on_one_ledger_one_delivers_and_the_other_takes_over() {
    let bench = Bench::new();
    let clock = ManualClock::default();
    let first = bench.builder().start_with_clock(&clock).unwrap();
    assert_flushed(&first);
    let second = bench
        .builder()
        .service("billing")
        .start_with_clock(&clock)
        .unwrap();
    log(&second, 5);
    assert_eq!(blocked(&second), Some(Blocked::LeaseElsewhere));
    assert!(posthog(&second).lease_elsewhere);
    log(&first, 5);
    // The first ships what both wrote.
    wait_until("the first sees the second's rows", || {
        log(&first, 1);
        assert_flushed(&first);
        bench
            .posthog
            .events()
            .iter()
            .filter(|event| event.properties["service"] == "billing")
            .count()
            >= 6
    });
    assert_ended_well(&first);
    log(&second, 5);
    // It asks again every ten seconds.
    clock.advance(Duration::from_secs(10));
    wait_until("the second drives", || !posthog(&second).lease_elsewhere);
    assert_flushed(&second);
    assert_ended_well(&second);
    bench.assert_all_arrived();
    for (place, row) in bench.table().iter().enumerate() {
        assert_eq!(row.seq, i64::try_from(place).unwrap() + 1, "a gap");
    }
}
