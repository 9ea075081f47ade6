//! The service as its own tests see it: no socket, no file, no port.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in its helpers"
)]

use std::time::Duration;

use audithog::{
    Logger,
    testing::{Rows, recorder},
};
use audithog_demo::app;
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    http::{Request, StatusCode, header},
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// The service, its rows, and a way to call it.
struct Service {
    app: Router,
    rows: Rows,
    /// As in a program: the log is open as long as somebody holds its logger.
    _logger: Logger,
}

impl Service {
    fn new() -> Self {
        let (logger, rows) = recorder();
        Self {
            app: app(&logger),
            rows,
            _logger: logger,
        }
    }

    fn request(method: &str, path: &str, token: &str, body: &Value) -> Request<Body> {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))
            .unwrap()
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Value,
    ) -> (StatusCode, Bytes) {
        let request = Self::request(method, path, token, &body);
        let response = self.app.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, body)
    }

    async fn token(&self, user: &str) -> String {
        let login = json!({ "user": user, "password": "demo" });
        let (status, body) = self.call("POST", "/login", "", login).await;
        assert_eq!(status, StatusCode::OK);
        let answer: Value = serde_json::from_slice(&body).unwrap();
        answer["token"].as_str().unwrap().to_owned()
    }

    /// Calls as `user` (`-`: as nobody) and expects this status, and this code and actor in the row.
    async fn refused(&self, user: &str, method: &str, path: &str, status: u16, code: &str) {
        let actor = (user != "-").then_some(user);
        let token = match actor {
            Some(user) => self.token(user).await,
            None => "guess".to_owned(),
        };
        // Serves every route: each takes what it knows.
        let body = json!({"name": "Scout", "user": "ada", "password": "guess"});
        let (got, _) = self.call(method, path, &token, body).await;
        let rows = self.rows.all();
        let row = rows.last().unwrap();
        assert_eq!(got, status, "{row:?}");
        assert_eq!((row.method(), row.path()), (Some(method), Some(path)));
        assert_eq!(row.error_code(), Some(code));
        assert_eq!(row.actor().user_id(), actor, "{row:?}");
    }
}

#[tokio::test]
async fn an_agent_is_created_published_and_deleted() {
    let service = Service::new();
    let ada = service.token("ada").await;
    let rows = &service.rows;
    rows.one("POST", "/login").actor("ada").success();
    rows.event("user_signed_in").actor("ada").org("acme");

    let (status, _) = service
        .call("POST", "/agents", &ada, json!({"name": "Scout"}))
        .await;
    assert_eq!(status, StatusCode::CREATED);
    let created = rows
        .one("POST", "/agents")
        .actor("ada")
        .role("admin")
        .status(201);
    rows.event("agent_created")
        .property("agentId", 1)
        .same_request(created.row());

    let publish = service.call("POST", "/agents/1/publish", &ada, Value::Null);
    assert_eq!(publish.await.0, StatusCode::OK);
    rows.event("agent_published").property("agentId", 1);
    rows.one("POST", "/agents/1/publish")
        .route("/agents/{id}/publish");

    let delete = service.call("DELETE", "/agents/1", &ada, Value::Null);
    assert_eq!(delete.await.0, StatusCode::NO_CONTENT);
    rows.event("agent_deleted")
        .actor("ada")
        .property("agentId", 1);
}

#[tokio::test]
async fn each_refusal_has_its_code() {
    let service = Service::new();
    let ada = service.token("ada").await;
    for _ in 0..5 {
        service
            .call("POST", "/agents", &ada, json!({"name": "Scout"}))
            .await;
    }
    let published = service.call("POST", "/agents/2/publish", &ada, Value::Null);
    assert_eq!(published.await.0, StatusCode::OK);

    service
        .refused("-", "POST", "/login", 401, "BAD_CREDENTIALS")
        .await;
    service
        .refused("-", "GET", "/agents", 401, "TOKEN_INVALID")
        .await;
    service
        .refused("-", "GET", "/nowhere", 404, "NO_SUCH_ROUTE")
        .await;
    service
        .refused("-", "PUT", "/agents", 405, "METHOD_NOT_ALLOWED")
        .await;
    service
        .refused("ada", "POST", "/agents", 409, "AGENT_LIMIT")
        .await;
    service
        .refused("dan", "POST", "/agents", 403, "ROLE_REQUIRED")
        .await;
    service
        .refused("ada", "POST", "/agents/2/publish", 409, "ALREADY_PUBLISHED")
        .await;
    service
        .refused("ada", "DELETE", "/agents/7", 404, "AGENT_NOT_FOUND")
        .await;
    service
        .refused("cleo", "DELETE", "/agents/2", 404, "AGENT_NOT_FOUND")
        .await;
    service
        .refused("dan", "DELETE", "/agents/2", 403, "ROLE_REQUIRED")
        .await;
    service
        .refused("ada", "GET", "/trouble/fail", 503, "MODEL_UNAVAILABLE")
        .await;
}

#[tokio::test]
async fn a_panic_keeps_its_actor() {
    let service = Service::new();
    let cleo = service.token("cleo").await;
    let request = Service::request("GET", "/trouble/panic", &cleo, &Value::Null);
    let panicked = tokio::spawn(service.app.clone().oneshot(request)).await;
    assert!(panicked.unwrap_err().is_panic());
    let row = service.rows.one("GET", "/trouble/panic");
    row.actor("cleo")
        .org("globex")
        .error_code("PANIC")
        .failure();
}

#[tokio::test(start_paused = true)]
async fn a_slow_response_is_complete_only_at_its_end() {
    let service = Service::new();
    let ben = service.token("ben").await;
    let (status, body) = service
        .call("GET", "/trouble/slow", &ben, Value::Null)
        .await;
    assert_eq!(status, StatusCode::OK);
    assert!(body.ends_with(b"line 5 of 5\n"), "{body:?}");
    service
        .rows
        .one("GET", "/trouble/slow")
        .actor("ben")
        .success();
}

#[tokio::test(start_paused = true)]
async fn leaving_early_is_a_failure() {
    let service = Service::new();
    let ben = service.token("ben").await;
    let slow = || Service::request("GET", "/trouble/slow", &ben, &Value::Null);
    let codes = |rows: &Rows| -> Vec<String> {
        let rows = rows.all();
        let slow = rows
            .iter()
            .filter(|row| row.path() == Some("/trouble/slow"));
        slow.map(|row| row.error_code().unwrap_or_default().to_owned())
            .collect()
    };

    let response = service.app.clone().oneshot(slow());
    let impatient = tokio::time::timeout(Duration::from_millis(100), response).await;
    assert!(impatient.is_err());
    let before = "CLIENT_CLOSED_BEFORE_RESPONSE";
    assert_eq!(codes(&service.rows), [before]);

    let response = service.app.clone().oneshot(slow()).await.unwrap();
    drop(response);
    let midway = "CLIENT_CLOSED_MID_BODY";
    assert_eq!(codes(&service.rows), [before, midway]);
}
