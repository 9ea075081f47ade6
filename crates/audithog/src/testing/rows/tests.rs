use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, StatusCode};
use tower::ServiceExt as _;

use super::{Rows, recorder};
use crate::{Actor, ErrorCode, Logger, RequestHandle};

async fn refuse(handle: RequestHandle) -> (StatusCode, ErrorCode) {
    handle.set_actor(Actor::user("u1").role_in("admin", "acme"));
    handle.event("agent_refused").property("limit", 3).log();
    (StatusCode::CONFLICT, ErrorCode::new("AGENT_LIMIT"))
}

fn app(logger: &Logger) -> Router {
    Router::new()
        .route("/agents/{id}", get(refuse))
        .layer(logger.layer())
}

/// The rows of so many requests: an event and a request row each.
#[tokio::main(flavor = "current_thread")]
async fn rows_of(requests: usize) -> Rows {
    let (logger, rows) = recorder();
    let app = app(&logger);
    // The application keeps it.
    drop(logger);
    for _ in 0..requests {
        let request = Request::get("/agents/7").body(Body::empty()).unwrap();
        app.clone().oneshot(request).await.unwrap();
    }
    rows
}

#[test]
fn a_row_that_is_as_expected_passes_every_check() {
    let rows = rows_of(1);
    let request = rows
        .one("GET", "/agents/7")
        .actor("u1")
        .role("admin")
        .org("acme")
        .status(409)
        .error_code("AGENT_LIMIT")
        .route("/agents/{id}")
        .failure();
    rows.event("agent_refused")
        .actor("u1")
        .property("limit", 3)
        .same_request(request.row());
}

#[test]
#[should_panic(expected = "\
expected exactly one `api_request` row POST /agents, found 0; the log has:
  agent_refused actor=u1 role=admin org=acme properties={\"limit\":3}
  api_request method=GET path=/agents/7 route=/agents/{id} status=409 result=failure \
error_code=AGENT_LIMIT actor=u1 role=admin org=acme
")]
fn a_missing_row_lists_what_is_there() {
    let _ = rows_of(1).one("POST", "/agents");
}

#[test]
#[should_panic(
    expected = "expected exactly one `api_request` row GET /agents/7, found 2; the log has:\n  agent_refused "
)]
fn a_second_row_is_one_too_many() {
    let _ = rows_of(2).one("GET", "/agents/7");
}

#[test]
#[should_panic(expected = "expected exactly one `agent_refused` row, found 3; the log has:")]
fn events_are_counted_too() {
    let _ = rows_of(3).event("agent_refused");
}

#[test]
#[should_panic(
    expected = "found 0; the log has:\n  no rows at all: is the layer on the router, after all routes"
)]
fn an_empty_log_asks_for_the_layer() {
    let _ = rows_of(0).event("agent_refused");
}

#[test]
#[should_panic(expected = "\
actor differs
  expected  Some(\"u2\")
  found     Some(\"u1\")
  in        api_request method=GET path=/agents/7 ")]
fn a_difference_shows_both_values_and_the_row() {
    rows_of(1).one("GET", "/agents/7").actor("u2");
}

#[test]
#[should_panic(expected = "actor differs\n  expected  None\n  found     Some(\"u1\")")]
fn an_actor_where_none_should_be_is_shown() {
    rows_of(1).one("GET", "/agents/7").no_actor();
}

#[test]
#[should_panic(expected = "status differs\n  expected  Some(200)\n  found     Some(409)")]
fn a_status_is_shown() {
    rows_of(1).one("GET", "/agents/7").status(200);
}

#[test]
#[should_panic(
    expected = "result differs\n  expected  Some(\"success\")\n  found     Some(\"failure\")"
)]
fn a_result_is_shown() {
    rows_of(1).one("GET", "/agents/7").success();
}

#[test]
#[should_panic(
    expected = "property `limit` differs\n  expected  Some(Number(4))\n  found     Some(Number(3))"
)]
fn a_property_is_shown() {
    rows_of(1).event("agent_refused").property("limit", 4);
}

#[test]
#[should_panic(
    expected = "property `plan` differs\n  expected  Some(String(\"free\"))\n  found     None"
)]
fn an_absent_property_is_shown() {
    rows_of(1).event("agent_refused").property("plan", "free");
}

#[test]
#[should_panic(expected = "request id differs")]
fn rows_of_two_requests_are_told_apart() {
    let other = rows_of(1).one("GET", "/agents/7");
    rows_of(1).event("agent_refused").same_request(other.row());
}

#[test]
#[should_panic(expected = "the other row has no request id:\n  job_done")]
fn a_row_outside_of_any_request_is_no_reference() {
    let (logger, rows) = recorder();
    logger.event("job_done").log();
    let job = rows.event("job_done");
    rows_of(1).event("agent_refused").same_request(job.row());
}
