//! The end: within its deadline whatever happens, with a report whose numbers add up.

use std::future::pending;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use audithog::testing::standin::Fault;
use audithog::{Blocked, Logger, ShutdownReport};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use tokio::sync::oneshot;
use tower::ServiceExt;

use super::{Bench, PATIENCE, assert_ended_well, assert_flushed, log, lost, refusing};

const LIMIT: Duration = Duration::from_secs(2);
/// For a thread to notice, on a machine that is busy with other tests.
const LATE: Duration = Duration::from_secs(20);

/// The call returned, and the next start delivers what this one left.
fn assert_left_in_good_order(bench: &Bench, report: &ShutdownReport) {
    assert!(report.took < LIMIT + LATE, "{report}");
    report.health.check().unwrap();
    assert!(report.closed, "{report}");
    assert_eq!((report.health.queued, report.lost()), (0, 0), "{report}");
    assert!(report.pending() > 0, "{report}");
    assert!(report.to_string().contains("audit.db"), "{report}");
    bench.posthog.heal();
    let logger = bench.builder().start().unwrap();
    assert_flushed(&logger);
    assert_ended_well(&logger);
    bench.assert_all_arrived();
    assert!(bench.rows_of("audit_loss").is_empty());
}

#[test]
fn a_healthy_log_ends_with_nothing_left() {
    let bench = Bench::new();
    let logger = bench.builder().start().unwrap();
    log(&logger, 30);
    assert_ended_well(&logger);
    bench.assert_all_arrived();
    let names: Vec<_> = bench.table().into_iter().map(|row| row.event).collect();
    assert_eq!(names.first().map(String::as_str), Some("audit_started"));
    assert_eq!(names.last().map(String::as_str), Some("audit_stopped"));
    let again = logger.shutdown_blocking(None);
    assert_eq!((again.blocked, again.closed), (None, true));
    assert_eq!(logger.flush_blocking(None).blocked, None);
}

#[test]
fn an_outage_leaves_the_rows_for_the_next_start() {
    let bench = Bench::new();
    let logger = bench
        .builder_for(&refusing())
        .set("AUDITHOG_RETRY_QUICK_ATTEMPTS", "1")
        .start()
        .unwrap();
    log(&logger, 30);
    let report = logger.shutdown_blocking(Some(LIMIT));
    assert_eq!(report.blocked, Some(Blocked::BreakerOpen), "{report}");
    assert_left_in_good_order(&bench, &report);
}

#[test]
fn a_host_that_never_answers_does_not_hold_the_end_up() {
    let bench = Bench::new();
    bench.posthog.stand_fault(Fault::hang());
    let logger = bench.builder().start().unwrap();
    log(&logger, 30);
    let report = logger.shutdown_blocking(Some(LIMIT));
    assert_eq!(report.blocked, Some(Blocked::Deadline), "{report}");
    assert_left_in_good_order(&bench, &report);
    assert_eq!(logger.flush_blocking(None).blocked, Some(Blocked::Stopped));
}

#[test]
fn rows_logged_afterwards_are_counted() {
    let bench = Bench::new();
    let logger = bench.builder().start().unwrap();
    assert_ended_well(&logger);
    log(&logger, 7);
    assert_eq!(lost(&logger, "after_shutdown"), 7);
    logger.health().check().unwrap();
    assert!(bench.rows_of("counted").is_empty());
}

#[tokio::test]
async fn a_durable_row_afterwards_is_refused() {
    let bench = Bench::new();
    let logger = bench.builder().start().unwrap();
    let report = logger.shutdown(None).await;
    assert!(report.closed, "{report}");
    let refused = logger.event("late").log_durable().await.unwrap_err();
    assert!(refused.is_closed(), "{refused}");
}

#[test]
fn every_caller_of_shutdown_returns_after_its_end() {
    let bench = Bench::new();
    let logger = bench.builder().start().unwrap();
    log(&logger, 500);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_ended_well(&logger));
        }
    });
    assert_eq!(bench.rows_of("audit_stopped").len(), 1);
    bench.assert_all_arrived();
}

#[test]
fn rows_that_race_with_the_end_are_stored_or_counted() {
    let bench = Bench::new();
    let logger = bench.builder().start().unwrap();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| log(&logger, 2_000)))
            .collect();
        let flushes: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    while logger.flush_blocking(Some(PATIENCE)).blocked.is_none()
                        && lost(&logger, "after_shutdown") == 0
                        && writers_left(&logger)
                    {}
                })
            })
            .collect();
        let report = logger.shutdown_blocking(Some(PATIENCE));
        assert!(report.closed, "{report}");
        for thread in writers.into_iter().chain(flushes) {
            thread.join().unwrap();
        }
    });
    let books = logger.health();
    books.check().unwrap();
    assert_eq!(books.queued, 0);
    let stored = bench.rows_of("counted").len() as u64;
    assert_eq!(stored + lost(&logger, "after_shutdown"), 8_000);
}

/// Rows are still being logged.
fn writers_left(logger: &Logger) -> bool {
    logger.health().accepted < 8_000
}

#[test]
fn the_last_handle_waits_until_the_log_has_ended() {
    let bench = Bench::new();
    let logger = bench.silent().start().unwrap();
    log(&logger, 30);
    drop(logger);
    // A process may end right here.
    assert_eq!(bench.rows_of("audit_stopped").len(), 1);
    assert_eq!(bench.rows_of("counted").len(), 30);
    let next = bench.silent().start().unwrap();
    assert!(next.shutdown_blocking(Some(PATIENCE)).closed);
    assert!(bench.rows_of("audit_loss").is_empty());
}

#[test]
fn a_ledger_that_cannot_be_written_any_more_is_a_counted_loss() {
    let bench = Bench::new();
    let logger = bench.silent().start().unwrap();
    assert_flushed(&logger);
    let path = bench.path();
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    log(&logger, 30);
    let report = logger.shutdown_blocking(Some(LIMIT));
    assert!(
        matches!(report.blocked, Some(Blocked::LedgerNotWriting(_))),
        "{report}"
    );
    assert!(!report.closed);
    report.health.check().unwrap();
    assert_eq!(report.health.queued, 0, "{report}");
    // The thirty, and what would have told of them: audit_loss and audit_stopped.
    assert_eq!(lost(&logger, "ledger_failed"), 32, "{report}");
}

async fn call(app: Router, path: &'static str) {
    let request = Request::builder().uri(path).body(Body::empty()).unwrap();
    drop(app.oneshot(request).await);
}

async fn assert_cut(bench: &Bench, logger: Logger, end: impl FnOnce()) {
    log(&logger, 3);
    let report = logger.shutdown(Some(LIMIT)).await;
    assert_eq!(
        (report.requests_cut, report.blocked.clone()),
        (1, None),
        "{report}"
    );
    report.health.check().unwrap();
    assert_eq!(report.health.requests_in_progress, 0);
    assert_eq!((report.pending(), report.lost()), (0, 0), "{report}");
    let events = bench.posthog.events();
    let cut = events
        .iter()
        .find(|event| event.event == "api_request")
        .unwrap();
    assert_eq!(cut.properties["errorCode"], "SERVER_SHUTDOWN");
    assert_eq!(cut.properties["result"], "failure");
    bench.assert_all_arrived();
    end();
    logger.health().check().unwrap();
    assert_eq!(bench.rows_of("api_request").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_is_recorded_as_cut() {
    let bench = Bench::new();
    let logger = bench.builder().start().unwrap();
    let (begun, has_begun) = oneshot::channel::<()>();
    let begun = std::sync::Mutex::new(Some(begun));
    let begun = std::sync::Arc::new(begun);
    let app = Router::new()
        .route(
            "/wait",
            get(move || {
                drop(begun.lock().unwrap().take());
                pending::<()>()
            }),
        )
        .layer(logger.layer());
    let request = tokio::spawn(call(app, "/wait"));
    assert!(has_begun.await.is_err(), "the handler was not called");
    assert_cut(&bench, logger, || request.abort()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_its_thread_is_recorded_as_cut() {
    let bench = Bench::new();
    let logger = bench.builder().start().unwrap();
    let (begun, has_begun) = oneshot::channel::<()>();
    let (release, released) = mpsc::channel::<()>();
    let hung = std::sync::Arc::new(std::sync::Mutex::new(Some((begun, released))));
    let app = Router::new()
        .route(
            "/hang",
            get(move || async move {
                let (begun, released) = hung.lock().unwrap().take().unwrap();
                drop(begun);
                // Blocks the worker thread, as a handler should not.
                let _ = released.recv();
            }),
        )
        .layer(logger.layer());
    let request = tokio::spawn(call(app, "/hang"));
    assert!(has_begun.await.is_err(), "the handler was not called");
    let started = Instant::now();
    assert_cut(&bench, logger, || drop(release)).await;
    assert!(started.elapsed() < LIMIT + LATE);
    request.await.unwrap();
}
