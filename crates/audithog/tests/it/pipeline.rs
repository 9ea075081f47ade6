//! From an axum service to the ledger and to PostHog.

use std::time::Duration;

use audithog::testing::PostHogStandIn;
use audithog::{Actor, ErrorCode, Logger, RequestHandle};
use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{Request, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use tower::ServiceExt;

async fn publish(handle: RequestHandle, Path(id): Path<String>) -> impl IntoResponse {
    handle.set_actor(Actor::user("u1").role("admin").org("acme"));
    handle
        .event("agent_published")
        .property("agentId", id)
        .log();
    StatusCode::NO_CONTENT
}

async fn limit() -> impl IntoResponse {
    (
        StatusCode::CONFLICT,
        ErrorCode::new("AGENT_LIMIT"),
        "too many",
    )
}

fn app(logger: &Logger) -> Router {
    Router::new()
        .route("/agents/{id}/publish", post(publish))
        .route("/agents", get(|| async { "[]" }).post(limit))
        .layer(logger.layer())
}

async fn call(app: &Router, method: &str, uri: &str) -> StatusCode {
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .body(Body::empty())
        .unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status();
    axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap();
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_events_reach_the_table_and_posthog() {
    let posthog = PostHogStandIn::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.db");
    let logger = Logger::builder()
        .environment([
            ("POSTHOG_API_KEY", "phc_test"),
            ("POSTHOG_HOST", &posthog.url()),
        ])
        .service("agents")
        .database(&path)
        .start()
        .unwrap();
    let app = app(&logger);
    assert_eq!(call(&app, "POST", "/agents/a1/publish?token=x").await, 204);
    assert_eq!(call(&app, "POST", "/agents").await, 409);
    assert_eq!(call(&app, "GET", "/nowhere").await, 404);

    let flushed = logger.flush(None).await;
    assert_eq!(flushed.blocked, None, "{flushed:#?}");
    flushed.health.check().unwrap();
    let events = posthog.events();
    let names: Vec<&str> = events.iter().map(|event| event.event.as_str()).collect();
    assert_eq!(
        names.iter().filter(|name| **name == "api_request").count(),
        3,
        "{names:?}"
    );
    let published = events
        .iter()
        .find(|event| event.event == "agent_published")
        .unwrap();
    assert_eq!(published.distinct_id, "u1");
    assert_eq!(published.properties["agentId"], "a1");

    let report = logger.shutdown(Some(Duration::from_secs(10))).await;
    assert!(report.closed, "{report}");
    assert_eq!((report.lost(), report.pending()), (0, 0), "{report}");
    let table = rusqlite::Connection::open(&path).unwrap();
    let rows: Vec<(String, String, Option<i64>, Option<String>)> = table
        .prepare("select method, path, status_code, error_code from audit_logs where event = 'api_request' order by seq")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let expected = [
        ("POST", "/agents/a1/publish", 204, None),
        ("POST", "/agents", 409, Some("AGENT_LIMIT")),
        ("GET", "/nowhere", 404, Some("NOT_FOUND")),
    ]
    .map(|(method, path, status, code)| {
        (
            method.to_owned(),
            path.to_owned(),
            Some(status),
            code.map(str::to_owned),
        )
    });
    assert_eq!(rows, expected);
}
