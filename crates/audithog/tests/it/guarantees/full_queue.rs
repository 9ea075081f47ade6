//! What happens to requests when the queue to the ledger is full.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::Duration;

use audithog::{Guarantee, QueueFull};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::Full;
use tower::{Layer as _, ServiceExt as _};

use super::service::{Protocol, Service};
use super::{NO_LIMIT, Stall, properties, rows, until, until_waiting};

use Protocol::{Http1, Http2};

const ROWS: u64 = 16;

async fn service(policy: QueueFull, guarantee: Guarantee, limit: Duration) -> Service {
    Service::start(|builder| {
        builder
            .set("AUDITHOG_QUEUE_ROWS", ROWS.to_string())
            .queue_full(policy)
            .guarantee(guarantee)
            .guarantee_timeout(limit)
    })
    .await
}

/// Not one row too many: nothing is lost by this.
fn fill(service: &Service) {
    let logger = &service.logger;
    for n in logger.health().queued..ROWS {
        logger.event("filled").property("n", n).log();
    }
    assert_eq!(logger.health().queued, ROWS);
    assert!(logger.health().lost.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_the_newest_row_is_a_loss_and_the_response_goes_out() {
    let service = service(QueueFull::DropNewest, Guarantee::BestEffort, NO_LIMIT).await;
    let stall = Stall::begin(&service.path());
    fill(&service);
    assert!(service.get(Http1, "/sized").end().await.complete);
    let books = service.logger.health();
    assert_eq!(books.lost["queue_full"], 1);
    books.check().unwrap();
    stall.end();
    let path = service.path();
    let _kept = service.end().await;
    assert_eq!(properties(&path, "audit_loss")[0]["reason"], "queue_full");
    assert_eq!(rows(&path, "api_request"), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_waits_for_room_and_nothing_is_lost() {
    for guarantee in [Guarantee::BestEffort, Guarantee::Durable] {
        let service = service(QueueFull::Wait, guarantee, NO_LIMIT).await;
        let stall = Stall::begin(&service.path());
        fill(&service);
        // More than there is room for at once.
        let kinds = ["/sized", "/stream", "/empty", "/large"].repeat(10);
        let visits: Vec<_> = kinds
            .iter()
            .enumerate()
            .map(|(n, path)| service.get(if n % 2 == 0 { Http1 } else { Http2 }, path))
            .collect();
        until_waiting(&service.logger, 40);
        for visit in &visits {
            assert!(!visit.seen().complete);
        }
        let books = service.logger.health();
        assert_eq!((books.queued, books.requests_in_progress), (ROWS, 40));
        assert!(books.lost.is_empty());
        books.check().unwrap();
        stall.end();
        for visit in visits {
            assert!(visit.end().await.complete);
        }
        let path = service.path();
        let logger = service.logger.clone();
        let _kept = service.end().await;
        assert_eq!(rows(&path, "api_request").len(), 40);
        assert!(logger.health().lost.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_waited_long_enough_for_room_is_a_loss() {
    let limit = Duration::from_millis(50);
    let service = service(QueueFull::Wait, Guarantee::BestEffort, limit).await;
    let stall = Stall::begin(&service.path());
    fill(&service);
    assert!(service.get(Http1, "/sized").end().await.complete);
    let books = service.logger.health();
    assert_eq!(
        (books.lost["queue_full"], books.requests_in_progress),
        (1, 0)
    );
    books.check().unwrap();
    stall.end();
    service.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_nobody_polls_waits_for_room_no_longer_than_others() {
    let limit = Duration::from_millis(50);
    let service = service(QueueFull::Wait, Guarantee::BestEffort, limit).await;
    let stall = Stall::begin(&service.path());
    fill(&service);
    let handler = tower::service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("answer")))
    });
    let layered = service.logger.layer().layer(handler);
    let response = layered.oneshot(Request::new(())).await.unwrap();
    let mut body = response.into_body();
    let mut context = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut body).poll_frame(&mut context).is_pending());
    until("the row is a loss", || {
        service.logger.health().lost.get("queue_full") == Some(&1)
    });
    let books = service.logger.health();
    assert_eq!(books.requests_in_progress, 0);
    books.check().unwrap();
    drop(body);
    stall.end();
    service.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_while_waiting_for_room_is_a_loss() {
    let service = service(QueueFull::Wait, Guarantee::BestEffort, NO_LIMIT).await;
    let stall = Stall::begin(&service.path());
    fill(&service);
    let visit = service.get(Http1, "/stream");
    until_waiting(&service.logger, 1);
    visit.leave().await;
    until("the row is a loss", || {
        service.logger.health().lost.get("queue_full") == Some(&1)
    });
    let books = service.logger.health();
    assert_eq!(books.requests_in_progress, 0);
    books.check().unwrap();
    stall.end();
    service.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_takes_what_waits_for_room() {
    let service = service(QueueFull::Wait, Guarantee::BestEffort, NO_LIMIT).await;
    let stall = Stall::begin(&service.path());
    fill(&service);
    let visit = service.get(Http1, "/sized");
    until_waiting(&service.logger, 1);
    // The ledger cannot be written: this ends at its deadline.
    let report = service
        .logger
        .shutdown(Some(Duration::from_millis(400)))
        .await;
    assert_eq!(report.health.requests_in_progress, 0, "{report}");
    report.health.check().unwrap();
    stall.end();
    assert!(visit.end().await.complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_requests_are_refused_while_there_is_no_room() {
    let service = service(QueueFull::Refuse, Guarantee::BestEffort, NO_LIMIT).await;
    let stall = Stall::begin(&service.path());
    fill(&service);
    for n in 1..=3 {
        let seen = service.get(Http1, "/counted").end().await;
        assert_eq!(seen.status, Some(503));
        let books = service.logger.health();
        assert_eq!((books.lost["refused"], books.guarantee.refused), (n, n));
        books.check().unwrap();
    }
    assert_eq!(service.handled.load(Ordering::Relaxed), 0);
    stall.end();
    until("there is room", || service.logger.health().queued == 0);
    assert_eq!(service.get(Http1, "/counted").end().await.status, Some(200));
    let path = service.path();
    let _kept = service.end().await;
    // One row for those that the writer had in its hand when it got stuck, one for all others.
    let losses = properties(&path, "audit_loss");
    assert!(losses.len() <= 2, "{losses:?}");
    assert!(losses.iter().all(|loss| loss["reason"] == "refused"));
    let counts = losses.iter().map(|loss| loss["count"].as_u64().unwrap());
    assert_eq!(counts.sum::<u64>(), 3, "{losses:?}");
    assert_eq!(rows(&path, "api_request").len(), 1);
}
