//! `fail-closed`: no complete answer that is not in the ledger, and no work that left no trace.

use std::sync::atomic::Ordering;
use std::time::Duration;

use audithog::{Builder, Guarantee};
use axum::http::Method;
use serde_json::{Value, json};

use super::service::{Protocol, Seen, Service};
use super::{NO_LIMIT, Stall, properties, rows, until, until_waiting};

use Protocol::{Http1, Http2, Http10};

const SOON: Duration = Duration::from_millis(50);

async fn fail_closed(limit: Duration, more: impl FnOnce(Builder) -> Builder) -> Service {
    Service::start(|builder| {
        let builder = builder.guarantee(Guarantee::FailClosed);
        more(builder.guarantee_timeout(limit))
    })
    .await
}

/// The 503 of a request whose row could not be committed.
#[track_caller]
fn assert_unavailable(seen: &Seen, detail: &str) {
    assert!(seen.complete, "{seen:?}");
    assert_eq!(seen.status, Some(503), "{seen:?}");
    assert_eq!(seen.headers["content-type"], "application/problem+json");
    assert_eq!(seen.headers["retry-after"], "5");
    assert_eq!(seen.headers["content-length"], seen.bytes.to_string());
    let problem: Value = serde_json::from_str(&seen.text).unwrap();
    assert_eq!(
        problem,
        json!({
            "type": "about:blank",
            "title": "Service Unavailable",
            "status": 503,
            "code": "AUDIT_UNAVAILABLE",
            "detail": detail,
            "requestId": seen.headers["x-request-id"].to_str().unwrap(),
        })
    );
}

const NOT_HANDLED: &str = "The audit log cannot be written. The request was not handled.";
const WITHHELD: &str =
    "The audit log could not be written in time. The request was handled; its answer is withheld.";

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_runs_after_the_row_that_says_so() {
    for protocol in [Http1, Http2] {
        let service = fail_closed(NO_LIMIT, |builder| builder).await;
        let stall = Stall::begin(&service.path());
        let visit = service.get(protocol, "/counted");
        until("the request is there", || {
            let books = service.logger.health();
            books.requests_in_progress == 1 && books.queued == 1
        });
        assert_eq!(service.handled.load(Ordering::Relaxed), 0);
        stall.end();
        let seen = visit.end().await;
        assert!(seen.complete);
        // The handler itself saw its row.
        assert_eq!((seen.status, &*seen.text), (Some(200), "1"));
        let path = service.path();
        assert_eq!(
            rows(&path, "api_request_started"),
            [("/counted".to_owned(), None, None)]
        );
        assert_eq!(rows(&path, "api_request").len(), 1);
        service.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_can_do_without_the_row_of_its_start() {
    let service = fail_closed(NO_LIMIT, |builder| {
        builder.without_started_row(Some("GET"), "/counted")
    })
    .await;
    assert_eq!(service.get(Http1, "/counted").end().await.text, "0");
    let other = service.send(Http1, Method::POST, "/counted");
    assert_eq!(other.end().await.text, "1");
    service.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_guards_a_get_guards_its_head() {
    let service = Service::start(|builder| {
        builder.guarantee_for(Some("get"), "/counted", Guarantee::FailClosed)
    })
    .await;
    for (method, started) in [(Method::HEAD, 1), (Method::GET, 2), (Method::POST, 2)] {
        let seen = service.send(Http1, method, "/counted").end().await;
        assert!(seen.complete, "{seen:?}");
        let rows = rows(&service.path(), "api_request_started");
        assert_eq!(rows.len(), started);
    }
    service.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_ledger_is_stuck_requests_are_refused_and_afterwards_served() {
    for protocol in [Http1, Http2] {
        let service = fail_closed(SOON, |builder| builder).await;
        let path = service.path();
        let stall = Stall::begin(&path);
        // The first one finds out.
        assert_unavailable(&service.get(protocol, "/counted").end().await, NOT_HANDLED);
        let counts = service.logger.health().guarantee;
        assert_eq!((counts.refused, counts.withheld), (0, 1));
        // The others do not wait: they leave no row.
        for n in 1..=3 {
            assert_unavailable(&service.get(protocol, "/counted").end().await, NOT_HANDLED);
            let books = service.logger.health();
            assert_eq!((books.guarantee.refused, books.lost["refused"]), (n, n));
            books.check().unwrap();
        }
        assert_eq!(service.handled.load(Ordering::Relaxed), 0);
        stall.end();
        until("the rows are there", || {
            !rows(&path, "api_request").is_empty()
        });
        // Without any help.
        let served = loop {
            let seen = service.get(protocol, "/counted").end().await;
            // A slow disk may still catch the end of a response.
            if seen.status == Some(200) && seen.complete {
                break seen;
            }
        };
        assert_eq!(served.headers["content-length"], served.bytes.to_string());
        let refused = service.logger.health().guarantee.refused;
        service.logger.health().check().unwrap();
        let logger = service.logger.clone();
        let _kept = service.end().await;
        let requests = rows(&path, "api_request");
        let unavailable = Some("AUDIT_UNAVAILABLE".to_owned());
        let (first, last) = (requests.first().unwrap(), requests.last().unwrap());
        assert_eq!(*first, ("/counted".to_owned(), Some(503), unavailable));
        assert_eq!(*last, ("/counted".to_owned(), Some(200), None));
        let losses = properties(&path, "audit_loss");
        let refusals = losses.iter().filter(|loss| loss["reason"] == "refused");
        let told: u64 = refusals.map(|loss| loss["count"].as_u64().unwrap()).sum();
        assert_eq!(told, refused, "{losses:?}");
        assert_eq!(logger.health().ledger.lost["refused"], refused);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_is_caught_at_its_limit_is_never_complete() {
    // What waits is a head or the end of a body.
    for (path, bytes) in [
        ("/empty", None),
        ("/sized", None),
        ("/later", Some(0)),
        ("/stream", Some(15)),
    ] {
        for protocol in [Http1, Http2] {
            let what = format!("{path} over {protocol:?}");
            let service = fail_closed(SOON, |builder| builder.without_started_row(None, "*")).await;
            let stall = Stall::begin(&service.path());
            let seen = service.get(protocol, path).end().await;
            let books = service.logger.health();
            books.check().unwrap();
            let got = match bytes {
                None => {
                    assert_unavailable(&seen, WITHHELD);
                    assert_eq!(books.guarantee.withheld, 1, "{what}");
                    "503"
                }
                Some(bytes) => {
                    assert!(seen.broken && !seen.complete, "{what}: {seen:?}");
                    assert_eq!(seen.bytes, bytes, "{what}");
                    assert_eq!(books.guarantee.aborted, 1, "{what}");
                    "abort"
                }
            };
            stall.end();
            let ledger = service.path();
            let _kept = service.end().await;
            // The row says what the response was, and another one that the client did not get it.
            assert_eq!(rows(&ledger, "api_request")[0].1, Some(200), "{what}");
            let withheld = properties(&ledger, "audit_response_withheld");
            assert_eq!(withheld, [json!({"clientGot": got})], "{what}");
            assert_eq!(
                ids(&ledger, "audit_response_withheld"),
                ids(&ledger, "api_request")
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_broken_body_looks_like_an_end_its_last_piece_is_missing() {
    let service = fail_closed(SOON, |builder| builder.without_started_row(None, "*")).await;
    let stall = Stall::begin(&service.path());
    let seen = service.get(Http10, "/trailers").end().await;
    assert_eq!(seen.text, "one\r\ntwo\r\n");
    assert_eq!(service.logger.health().guarantee.aborted, 1);
    stall.end();
    service.end().await;
}

fn ids(path: &std::path::Path, event: &str) -> Vec<String> {
    let table = rusqlite::Connection::open(path).unwrap();
    let mut ids = table
        .prepare("SELECT request_id FROM audit_logs WHERE event = ?1")
        .unwrap();
    let ids = ids.query_map([event], |row| row.get(0));
    ids.unwrap().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_whose_row_does_not_come_is_no_answer() {
    for (path, status) in [
        ("/panic", Some(503)),
        ("/panic-in-sized-body", Some(503)),
        ("/panic-in-body", Some(200)),
    ] {
        let service = fail_closed(SOON, |builder| builder.without_started_row(None, "*")).await;
        let stall = Stall::begin(&service.path());
        let seen = service.get(Http1, path).end().await;
        assert_eq!(seen.status, status, "{path}");
        assert_eq!(seen.complete, status == Some(503), "{path}");
        stall.end();
        let ledger = service.path();
        let _kept = service.end().await;
        let panic = rows(&ledger, "api_request")[0].2.clone();
        assert_eq!(panic.as_deref(), Some("PANIC"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_route_has_its_own_guarantee_in_one_line() {
    let service = Service::start(|builder| {
        builder
            .guarantee_for(Some("GET"), "*", Guarantee::BestEffort)
            .guarantee_for(Some("POST"), "/counted", Guarantee::FailClosed)
            .guarantee(Guarantee::Durable)
            .guarantee_timeout(NO_LIMIT)
    })
    .await;
    let stall = Stall::begin(&service.path());
    let payment = service.send(Http1, Method::POST, "/counted");
    until("the payment is there", || {
        service.logger.health().requests_in_progress == 1
    });
    let deletion = service.send(Http1, Method::DELETE, "/counted");
    let nowhere = service.get(Http1, "/nowhere");
    until_waiting(&service.logger, 2);
    let read = service.get(Http1, "/counted").end().await;
    assert!(read.complete, "a read waits for nothing");
    // Of the payment nothing was done, and of the others nobody has heard.
    assert_eq!(service.handled.load(Ordering::Relaxed), 2);
    assert_eq!(payment.seen(), Seen::default());
    assert!(!deletion.seen().complete && !nowhere.seen().complete);
    stall.end();
    for visit in [payment, deletion, nowhere] {
        assert!(visit.end().await.complete);
    }
    service.end().await;
}
