//! What the service promises its clients, without a word about auditing.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper that fails is a failed test"
)]

use std::{io::Read as _, time::Duration};

use audithog_realistic::{App, AppState, Config, app, serve};
use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, Method, Request, Response, StatusCode, header},
};
use flate2::read::GzDecoder;
use http_body_util::BodyExt as _;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot, time::timeout};
use tower::ServiceExt as _;

/// Longer than anything here takes, the request timeout of the service included.
const DEADLINE: Duration = Duration::from_secs(60);
const WEB_ORIGIN: &str = "https://agents.example";

fn service() -> App {
    app(AppState::new(Config {
        log: audithog::testing::recorder().0,
        jwt_secret: "a secret for tests only".to_owned(),
        web_origin: HeaderValue::from_static(WEB_ORIGIN),
    }))
}

async fn call(app: &App, request: Request<Body>) -> Response<Body> {
    let response = timeout(DEADLINE, app.clone().oneshot(request));
    response.await.expect("an answer in time").unwrap()
}

fn request(method: Method, path: &str, token: &str, body: Option<&Value>) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    let request = match token {
        "" => request,
        token => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
    };
    match body {
        None => request.body(Body::empty()),
        Some(body) => request
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string())),
    }
    .unwrap()
}

fn get(path: &str, token: &str) -> Request<Body> {
    request(Method::GET, path, token, None)
}

fn post(path: &str, token: &str, body: &Value) -> Request<Body> {
    request(Method::POST, path, token, Some(body))
}

async fn bytes(response: Response<Body>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

async fn json_of(response: Response<Body>) -> Value {
    serde_json::from_slice(&bytes(response).await).unwrap()
}

fn credentials(user: &str, password: &str) -> Value {
    json!({ "user": user, "password": password })
}

async fn sign_in(app: &App, user: &str, password: &str) -> String {
    let response = call(app, post("/login", "", &credentials(user, password))).await;
    assert_eq!(response.status(), StatusCode::OK);
    let token = json_of(response).await;
    token["token"].as_str().unwrap().to_owned()
}

async fn create(app: &App, token: &str, name: &str) -> String {
    let response = call(app, post("/api/agents", token, &json!({ "name": name }))).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let location = response.headers()[header::LOCATION].to_str().unwrap();
    location.to_owned()
}

/// The status, the content type and the error code must all be as the API promises.
async fn assert_problem(response: Response<Body>, status: StatusCode, code: &str) {
    assert_eq!(response.status(), status);
    let content_type = &response.headers()[header::CONTENT_TYPE];
    assert_eq!(content_type, "application/problem+json");
    let problem = json_of(response).await;
    assert_eq!(problem["code"], code);
    assert_eq!(problem["status"], status.as_u16());
}

#[tokio::test]
async fn sign_in_needs_the_right_password() {
    let app = service();
    let response = call(&app, post("/login", "", &credentials("alice", "x"))).await;
    assert_problem(response, StatusCode::UNAUTHORIZED, "BAD_CREDENTIALS").await;
    assert!(!sign_in(&app, "alice", "wonderland").await.is_empty());
}

#[tokio::test]
async fn an_agent_is_created_published_once_and_seen_by_its_organisation_only() {
    let app = service();
    let bob = sign_in(&app, "bob", "builder").await;
    let carol = sign_in(&app, "carol", "christmas").await;
    let agent = create(&app, &bob, "Mole").await;
    let publish = format!("{agent}/publish");

    let response = call(&app, post(&publish, &carol, &json!({}))).await;
    assert_problem(response, StatusCode::NOT_FOUND, "AGENT_NOT_FOUND").await;
    let published = json_of(call(&app, post(&publish, &bob, &json!({}))).await).await;
    assert_eq!(published["published"], true);
    let response = call(&app, post(&publish, &bob, &json!({}))).await;
    assert_problem(response, StatusCode::CONFLICT, "ALREADY_PUBLISHED").await;

    assert_eq!(
        json_of(call(&app, get(&agent, &bob)).await).await,
        published
    );
    let listed = json_of(call(&app, get("/api/agents", &bob)).await).await;
    assert_eq!(listed, json!([published]));
    let listed = json_of(call(&app, get("/api/agents", &carol)).await).await;
    assert_eq!(listed, json!([]));
}

#[tokio::test]
async fn a_colleague_who_is_no_admin_cannot_publish() {
    let app = service();
    let alice = sign_in(&app, "alice", "wonderland").await;
    let bob = sign_in(&app, "bob", "builder").await;
    let publish = format!("{}/publish", create(&app, &alice, "Mole").await);
    let response = call(&app, post(&publish, &bob, &json!({}))).await;
    assert_problem(response, StatusCode::FORBIDDEN, "NOT_YOUR_AGENT").await;
}

#[tokio::test]
async fn members_are_shown_to_their_own_organisation() {
    let app = service();
    let bob = sign_in(&app, "bob", "builder").await;
    let members = json_of(call(&app, get("/api/orgs/acme/members", &bob)).await).await;
    assert_eq!(members, json!(["alice", "bob"]));
    let response = call(&app, get("/api/orgs/globex/members", &bob)).await;
    assert_problem(response, StatusCode::FORBIDDEN, "NOT_YOUR_ORG").await;
}

#[tokio::test]
async fn the_api_needs_a_valid_token() {
    let app = service();
    let response = call(&app, get("/api/agents", "")).await;
    assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
    assert_problem(response, StatusCode::UNAUTHORIZED, "TOKEN_MISSING").await;
    let response = call(&app, get("/api/agents", "forged")).await;
    assert_problem(response, StatusCode::UNAUTHORIZED, "TOKEN_INVALID").await;
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let app = service();
    for path in ["/nowhere", "/api/nowhere"] {
        let response = call(&app, get(path, "")).await;
        assert_problem(response, StatusCode::NOT_FOUND, "NO_SUCH_ROUTE").await;
    }
    for path in ["/healthz", "/api/agents"] {
        let response = call(&app, request(Method::DELETE, path, "", None)).await;
        assert!(response.headers().contains_key(header::ALLOW));
        assert_problem(
            response,
            StatusCode::METHOD_NOT_ALLOWED,
            "METHOD_NOT_ALLOWED",
        )
        .await;
    }
}

#[tokio::test]
async fn trailing_slashes_do_not_matter() {
    let response = call(&service(), get("/healthz/", "")).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(bytes(response).await, "ok");
}

#[tokio::test]
async fn the_document_describes_every_route() {
    let document = json_of(call(&service(), get("/openapi.json", "")).await).await;
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(
        paths,
        [
            "/api/agents",
            "/api/agents/export",
            "/api/agents/{id}",
            "/api/agents/{id}/publish",
            "/api/agents/{id}/published",
            "/api/orgs/{org}/members",
            "/login",
        ]
    );
}

#[tokio::test]
async fn a_preflight_is_answered_without_a_token() {
    let preflight = Request::builder()
        .method(Method::OPTIONS)
        .uri("/api/agents")
        .header(header::ORIGIN, WEB_ORIGIN)
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
        .body(Body::empty())
        .unwrap();
    let response = call(&service(), preflight).await;
    assert_eq!(response.status(), StatusCode::OK);
    let headers = response.headers();
    assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], WEB_ORIGIN);
    assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_METHODS], "GET,POST");
}

#[tokio::test]
async fn every_response_names_its_request() {
    let app = service();
    let ids = [
        call(&app, get("/healthz", "")).await,
        call(&app, get("/nowhere", "")).await,
        call(&app, get("/api/agents", "")).await,
    ]
    .map(|response| response.headers()["x-request-id"].clone());
    assert!(ids.iter().all(|id| id.len() == 36), "{ids:?}");
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_the_publication_or_with_the_timeout() {
    let app = service();
    let bob = sign_in(&app, "bob", "builder").await;
    let agent = create(&app, &bob, "Mole").await;
    let wait = || call(&app, get(&format!("{agent}/published"), &bob));
    assert_eq!(wait().await.status(), StatusCode::GATEWAY_TIMEOUT);

    let publish = format!("{agent}/publish");
    let nothing = json!({});
    let publish = call(&app, post(&publish, &bob, &nothing));
    let (waited, published) = tokio::join!(wait(), publish);
    assert_eq!(published.status(), StatusCode::OK);
    assert_eq!(waited.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_service_goes_on() {
    let app = service();
    let bob = sign_in(&app, "bob", "builder").await;
    let response = call(&app, get("/api/agents?per_page=0", &bob)).await;
    assert_problem(response, StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL").await;
    let response = call(&app, get("/api/agents", &bob)).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_export_over_a_socket_is_a_compressed_stream_and_shutdown_ends_the_service() {
    const AGENTS: usize = 1000;
    let app = service();
    let bob = sign_in(&app, "bob", "builder").await;
    for n in 0..AGENTS {
        create(&app, &bob, &format!("agent {n}")).await;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, app, async move {
        stopped.await.unwrap();
    }));

    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut request = get(&format!("http://{address}/api/agents/export"), &bob);
    let gzip = HeaderValue::from_static("gzip");
    request.headers_mut().insert(header::ACCEPT_ENCODING, gzip);
    let response = client.request(request).await.unwrap().map(Body::new);
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
    assert!(!response.headers().contains_key(header::CONTENT_LENGTH));
    let mut text = String::new();
    let compressed = bytes(response).await;
    GzDecoder::new(&*compressed)
        .read_to_string(&mut text)
        .unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(text.lines().count(), AGENTS);
    assert_eq!(last["name"], format!("agent {}", AGENTS - 1));

    stop.send(()).unwrap();
    drop(client);
    let end = timeout(DEADLINE, server).await;
    end.expect("a service that ends").unwrap().unwrap();
}
