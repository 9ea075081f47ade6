//! `durable`: no client sees a complete response before its row is committed.

use std::time::Duration;

use audithog::Guarantee;
use audithog::testing::recorder_with;
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use axum::routing::get;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::service::{LARGE, Protocol, Seen, Service, unsteady};
use super::{NO_LIMIT, Stall, rows, until, until_waiting};

use Protocol::{Http1, Http2, Http10};

/// What a client may have seen of a response whose row is not committed.
#[derive(Clone, Copy, Debug)]
enum Before {
    Nothing,
    /// The head, and so many bytes of the body.
    Head(usize),
}

const GET: Method = Method::GET;

/// Every kind of response, and where it waits.
const KINDS: [(Method, &str, Before); 17] = [
    (GET, "/sized", Before::Nothing),
    (GET, "/pieces", Before::Head(3)),
    (GET, "/later", Before::Head(0)),
    (GET, "/sized-trailers", Before::Head(0)),
    (GET, "/constant", Before::Head(0)),
    (GET, "/large", Before::Head(LARGE - LARGE % (64 * 1024))),
    (GET, "/stream", Before::Head(15)),
    (GET, "/eager", Before::Head(6)),
    (GET, "/trailers", Before::Head(15)),
    (Method::POST, "/grpc", Before::Head(15)),
    (GET, "/empty", Before::Nothing),
    (Method::HEAD, "/sized", Before::Nothing),
    (Method::HEAD, "/stream", Before::Nothing),
    (GET, "/no-content", Before::Nothing),
    (GET, "/not-modified", Before::Nothing),
    (GET, "/nowhere", Before::Nothing),
    (GET, "/upgrade", Before::Nothing),
];

async fn durable() -> Service {
    Service::start(|builder| {
        let builder = builder.guarantee(Guarantee::Durable);
        builder.guarantee_timeout(NO_LIMIT)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_response_of_any_kind_is_complete_before_its_row() {
    for (method, path, before) in KINDS {
        for protocol in [Http1, Http2] {
            if protocol == Http2 && path == "/upgrade" {
                continue;
            }
            let what = format!("{method} {path} over {protocol:?}");
            let service = durable().await;
            let stall = Stall::begin(&service.path());
            let visit = service.send(protocol, method.clone(), path);
            until_waiting(&service.logger, 1);
            match before {
                Before::Nothing => assert_eq!(visit.seen(), Seen::default(), "{what}"),
                Before::Head(bytes) => {
                    // What may go out does so while the end waits.
                    until(&format!("{what} is seen"), || {
                        let seen = visit.seen();
                        seen.status.is_some() && seen.bytes == bytes
                    });
                    assert!(!visit.seen().complete, "{what}");
                }
            }
            assert_eq!(rows(&service.path(), "api_request"), [], "{what}");
            stall.end();
            let seen = visit.end().await;
            assert!(seen.complete && !seen.broken, "{what}: {seen:?}");
            let stored = rows(&service.path(), "api_request");
            assert_eq!(stored.len(), 1, "{what}");
            assert_eq!(stored[0].1, seen.status, "{what}");
            assert_eq!(
                seen.trailers.is_some(),
                matches!(path, "/trailers" | "/sized-trailers" | "/grpc") && protocol == Http2,
                "{what}"
            );
            service.end().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_marks_the_end_of_a_body_its_last_piece_waits() {
    // Of a known length, of an unknown one, and events, which are all wanted at once.
    for (path, first, all) in [
        ("/pieces", 3, 6),
        ("/later", 0, 4),
        ("/trailers", 10, 15),
        ("/eager", 3, 6),
        ("/stream", 15, 15),
    ] {
        let service = durable().await;
        let stall = Stall::begin(&service.path());
        let visit = service.get(Http10, path);
        until_waiting(&service.logger, 1);
        until("what may go out is seen", || {
            let seen = visit.seen();
            seen.status.is_some() && seen.bytes >= first
        });
        let seen = visit.seen();
        assert!(!seen.complete && seen.bytes == first, "{path}: {seen:?}");
        stall.end();
        let seen = visit.end().await;
        assert!(seen.complete && seen.bytes == all, "{path}: {seen:?}");
        assert_eq!(rows(&service.path(), "api_request").len(), 1, "{path}");
        service.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_length_of_a_body_that_waits_stays_exact() {
    let service = durable().await;
    for protocol in [Http1, Http2] {
        let seen = service.get(protocol, "/large").end().await;
        assert_eq!(seen.bytes, LARGE);
        assert_eq!(seen.headers["content-length"], LARGE.to_string());
        let seen = service.get(protocol, "/empty").end().await;
        assert_eq!(seen.headers["content-length"], "0");
        let seen = service.get(protocol, "/stream").end().await;
        assert!(!seen.headers.contains_key("content-length"));
    }
    service.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_raised_again_after_its_row_is_committed() {
    // A panic before the head is out leaves a request without a status.
    for (path, first, status) in [
        ("/panic", 0, None),
        ("/panic-in-sized-body", 0, None),
        ("/panic-in-drop", 0, None),
        ("/panic-in-body", 5, Some(200)),
    ] {
        let service = durable().await;
        let stall = Stall::begin(&service.path());
        let visit = service.get(Http1, path);
        until_waiting(&service.logger, 1);
        until("what was before is seen", || visit.seen().bytes == first);
        assert!(!visit.seen().broken, "{path}");
        stall.end();
        let seen = visit.end().await;
        assert!(seen.broken, "{path}: {seen:?}");
        let stored = rows(&service.path(), "api_request");
        assert_eq!(stored.len(), 1);
        assert_eq!(stored[0].1, status, "{path}");
        assert_eq!(stored[0].2.as_deref(), Some("PANIC"));
        service.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_at_once_does_so_after_its_row_is_committed() {
    // With its length as announced, and what came before it broke.
    for (path, length, bytes) in [
        ("/short", "6", 0),
        ("/fails", "6", 0),
        ("/trailers-at-once", "5", 0),
        ("/cut", "6", 3),
        ("/limited", "5", 0),
        ("/less", "6", 3),
    ] {
        for protocol in [Http1, Http2] {
            let what = format!("{path} over {protocol:?}");
            let service = durable().await;
            let stall = Stall::begin(&service.path());
            let visit = service.get(protocol, path);
            until_waiting(&service.logger, 1);
            until("the head is seen", || visit.seen().status == Some(200));
            let seen = visit.seen();
            assert!(!seen.broken && !seen.complete, "{what}: {seen:?}");
            assert_eq!(seen.headers["content-length"], length, "{what}");
            stall.end();
            let seen = visit.end().await;
            assert!(seen.broken && seen.bytes <= bytes, "{what}: {seen:?}");
            let stored = rows(&service.path(), "api_request");
            let [(_, status, code)] = &stored[..] else {
                panic!("{what}: {stored:?}");
            };
            assert_eq!(*status, Some(200), "{what}");
            assert_eq!(code.as_deref(), Some("RESPONSE_BODY_ERROR"), "{what}");
            service.end().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_body_that_waits_with_its_head_is_part_of_the_request() {
    let service = durable().await;
    let seen = service.get(Http1, "/says-goodbye").end().await;
    assert_eq!(seen.text, "bye");
    let table = rusqlite::Connection::open(service.path()).unwrap();
    let user: Option<String> = table
        .query_row(
            "SELECT user_id FROM audit_logs WHERE event = 'api_request'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(user.as_deref(), Some("seen off"));
    service.end().await;
}

#[tokio::test]
async fn the_hint_of_a_body_says_what_is_left_of_it() {
    let (logger, _rows) = recorder_with(|builder| builder.guarantee(Guarantee::Durable)).unwrap();
    let handler = async || unsteady(6, 3, Some(Ok("two")));
    let app = Router::new().route("/", get(handler)).layer(logger.layer());
    let answer = app.oneshot(Request::new(Body::empty())).await.unwrap();
    let mut body = answer.into_body();
    assert_eq!(body.size_hint().exact(), Some(6));
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "two");
    assert_eq!(body.size_hint().exact(), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_time_limit_the_response_goes_out_and_its_row_comes_later() {
    let service = Service::start(|builder| {
        let builder = builder.guarantee(Guarantee::Durable);
        builder.guarantee_timeout(Duration::from_millis(50))
    })
    .await;
    let stall = Stall::begin(&service.path());
    for path in ["/sized", "/stream", "/empty"] {
        let seen = service.get(Http1, path).end().await;
        assert!(seen.complete, "{path}");
        assert_eq!(seen.status, Some(200));
    }
    let books = service.logger.health();
    assert_eq!(books.guarantee.late, 3);
    books.check().unwrap();
    assert_eq!(rows(&service.path(), "api_request"), []);
    stall.end();
    let path = service.path();
    until("the rows are there", || {
        rows(&path, "api_request").len() == 3
    });
    // The service resumes by itself: as soon as the disk is fast enough nothing is late.
    loop {
        let late = service.logger.health().guarantee.late;
        let before = rows(&path, "api_request").len();
        assert!(service.get(Http1, "/sized").end().await.complete);
        if service.logger.health().guarantee.late == late {
            assert!(before < rows(&path, "api_request").len());
            break;
        }
    }
    service.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_while_the_response_waits_is_counted_and_the_row_stays() {
    for protocol in [Http1, Http2] {
        let service = durable().await;
        let stall = Stall::begin(&service.path());
        let visit = service.get(protocol, "/stream");
        until_waiting(&service.logger, 1);
        visit.leave().await;
        until("the server has seen it leave", || {
            service.logger.health().guarantee.abandoned == 1
        });
        assert_eq!(service.logger.health().guarantee.waiting, 0);
        stall.end();
        let path = service.path();
        until("the row is there", || rows(&path, "api_request").len() == 1);
        assert_eq!(rows(&path, "api_request")[0].1, Some(200));
        service.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_lets_waiting_responses_have_their_commit() {
    let service = durable().await;
    let stall = Stall::begin(&service.path());
    let visits = ["/sized", "/stream", "/empty"].map(|path| service.get(Http1, path));
    until_waiting(&service.logger, 3);
    let logger = service.logger.clone();
    let ending = tokio::spawn(async move { logger.shutdown(Some(super::PATIENCE)).await });
    // Intake is closed once a row is refused as too late.
    until("the shutdown has begun", || {
        service.logger.event("late").log();
        service.logger.health().lost.contains_key("after_shutdown")
    });
    for visit in &visits {
        assert!(!visit.seen().complete);
    }
    stall.end();
    for visit in visits {
        assert!(visit.end().await.complete);
    }
    let report = ending.await.unwrap();
    assert!(report.closed, "{report}");
    assert_eq!(report.requests_cut, 0);
    assert_eq!(rows(&service.path(), "api_request").len(), 3);
}
