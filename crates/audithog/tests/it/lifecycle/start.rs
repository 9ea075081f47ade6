//! What a start finds and what rows bring along.

use std::time::{Duration, SystemTime};

use audithog::testing::ManualClock;
use uuid::Uuid;

use super::{Bench, assert_ended_well, assert_flushed, log, posthog};

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn the_first_key_ships_what_was_held() {
    let bench = Bench::new();
    let logger = bench.silent().start().unwrap();
    log(&logger, 40);
    assert_flushed(&logger);
    assert_ended_well(&logger);
    let logger = bench.builder().start().unwrap();
    assert_flushed(&logger);
    assert_eq!(posthog(&logger).held_back, 0);
    assert_ended_well(&logger);
    bench.assert_all_arrived();
}

#[test]
fn the_first_key_holds_back_what_is_too_old() {
    let bench = Bench::new();
    let long_ago = SystemTime::now() - 30 * DAY;
    let logger = bench
        .silent()
        .start_with_clock(&ManualClock::new(long_ago))
        .unwrap();
    // Judged by blocks of rows: the last block may hold young rows too, and is sent.
    log(&logger, 2_000);
    assert_ended_well(&logger);
    let logger = bench.builder().start().unwrap();
    assert_flushed(&logger);
    let sink = posthog(&logger);
    assert!(sink.held_back >= 1_000, "{sink:?}");
    assert!(sink.delivered >= 1, "{sink:?}");
    assert_ended_well(&logger);
    assert_eq!(
        bench.posthog.events().len() as u64,
        posthog(&logger).delivered
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_event_keeps_its_id_time_and_owner() {
    let bench = Bench::new();
    let logger = bench.builder().start().unwrap();
    let id = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001);
    let import = || {
        logger
            .event("agent_created")
            .id(id)
            .at_rfc3339("2026-01-02T03:04:05.000006+05:30")
            .unwrap()
            .distinct_id("legacy-7")
    };
    import().log_durable().await.unwrap();
    // Committed: anyone with the file sees it.
    let stored = bench.rows_of("agent_created");
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].id, id.to_string());
    let refused = import().log_durable().await.unwrap_err();
    assert!(refused.is_duplicate(), "{refused}");
    let report = logger.flush(None).await;
    assert_eq!(report.blocked, None);
    report.health.check().unwrap();
    assert_eq!(report.health.lost["duplicate_id"], 1);
    let events = bench.posthog.events();
    let event = events
        .iter()
        .find(|event| event.event == "agent_created")
        .unwrap();
    assert_eq!(event.uuid, id);
    assert_eq!(event.distinct_id, "legacy-7");
    assert_eq!(event.timestamp.to_string(), "2026-01-01T21:34:05.000006Z");
    bench.assert_all_arrived();
}

#[tokio::test]
async fn a_router_keeps_its_log_alive() {
    use tower::ServiceExt;

    let bench = Bench::new();
    let logger = bench.builder().batch_size(1).start().unwrap();
    let app = axum::Router::new().layer(logger.layer());
    drop(logger);
    let request = http::Request::new(axum::body::Body::empty());
    drop(app.clone().oneshot(request).await.unwrap());
    let arrived = |seen: &audithog::testing::standin::Seen| {
        seen.stored()
            .iter()
            .any(|event| event.event == "api_request")
    };
    bench
        .posthog
        .wait_until(super::PATIENCE, arrived)
        .await
        .unwrap();
}
