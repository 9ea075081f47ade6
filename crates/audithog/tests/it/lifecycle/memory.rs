//! Memory only: what ordinary SDKs do, with losses counted.

use std::time::Duration;

use audithog::testing::ManualClock;
use audithog::testing::standin::Fault;

use super::{Bench, assert_ended_well, assert_flushed, log, lost, posthog, wait_until};

#[test]
fn rows_reach_posthog_without_a_file() {
    let bench = Bench::new();
    let logger = bench.builder().memory_only().start().unwrap();
    assert_eq!(logger.ledger_path(), None);
    log(&logger, 50);
    assert_flushed(&logger);
    let counted = bench
        .posthog
        .events()
        .iter()
        .filter(|event| event.event == "counted")
        .count();
    assert_eq!(counted, 50);
    assert_ended_well(&logger);
    assert!(!bench.path().exists());
}

#[tokio::test]
async fn without_a_ledger_a_durable_event_is_one_that_is_in_memory() {
    let logger = audithog::Logger::builder()
        .environment([("AUDITHOG_MEMORY_ROWS", "100")])
        .memory_only()
        .start()
        .unwrap();
    logger.event("kept").log_durable().await.unwrap();
    let health = logger.health();
    // With audit_started.
    assert_eq!((health.stored, health.ledger.head), (2, 2));
    log(&logger, 98);
    let refused = logger.event("more").log_durable().await.unwrap_err();
    assert!(refused.is_lost(), "{refused}");
    drop(logger.shutdown(None).await);
}

#[test]
fn a_full_memory_counts_what_it_refuses_and_tells_once_there_is_room() {
    let bench = Bench::new();
    bench.posthog.stand_fault(Fault::status(503));
    let clock = ManualClock::default();
    let logger = bench
        .builder()
        .memory_only()
        .set("AUDITHOG_MEMORY_ROWS", "100")
        .set("AUDITHOG_RETRY_QUICK_ATTEMPTS", "1")
        .start_with_clock(&clock)
        .unwrap();
    log(&logger, 300);
    // With audit_started one more than it holds.
    wait_until("201 rows are lost", || lost(&logger, "memory_full") == 201);
    let books = logger.health();
    books.check().unwrap();
    assert_eq!((books.ledger.head, posthog(&logger).pending), (100, 100));
    // Telling of a loss is no loss of its own while there is no room for it.
    for _ in 0..3 {
        clock.advance(Duration::from_secs(2));
        let _ = logger.flush_blocking(Some(Duration::from_secs(5)));
    }
    assert_eq!(lost(&logger, "memory_full"), 201);

    bench.posthog.heal();
    // Time for a probe, but not for a heartbeat, which would be refused and counted too.
    clock.advance(Duration::from_secs(60));
    wait_until("all is delivered", || {
        let _ = logger.flush_blocking(Some(Duration::from_secs(5)));
        posthog(&logger).pending == 0
    });
    clock.advance(Duration::from_secs(2));
    wait_until("the loss is told", || {
        assert_flushed(&logger);
        bench
            .posthog
            .events()
            .iter()
            .any(|event| event.event == "audit_loss")
    });
    let events = bench.posthog.events();
    let losses: Vec<_> = events
        .iter()
        .filter(|event| event.event == "audit_loss")
        .collect();
    assert_eq!(losses.len(), 1);
    assert_eq!(losses[0].properties["reason"], "memory_full");
    assert_eq!(losses[0].properties["count"], 201);
    let report = logger.shutdown_blocking(None);
    report.health.check().unwrap();
    assert_eq!((report.pending(), report.lost()), (0, 201), "{report}");
}
