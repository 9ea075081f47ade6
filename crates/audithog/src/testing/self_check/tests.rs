use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, map_response};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use http::{HeaderValue, Method, StatusCode};

use super::{SelfCheck, SelfCheckError, self_check};
use crate::Logger;

async fn authenticate(request: Request, next: Next) -> Response {
    if request.headers().contains_key("authorization") {
        next.run(request).await
    } else {
        StatusCode::UNAUTHORIZED.into_response()
    }
}

/// What tower-http's CORS layer does with a preflight.
async fn cors(request: Request, next: Next) -> Response {
    if request.method() == Method::OPTIONS {
        return [("access-control-allow-methods", "GET")].into_response();
    }
    next.run(request).await
}

async fn fallback() -> StatusCode {
    StatusCode::NOT_FOUND
}

fn api() -> Router {
    Router::new()
        .route("/agents/{id}", get(async || "an agent"))
        .route_layer(from_fn(authenticate))
}

fn routes() -> Router {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .nest("/api", api())
        .fallback(fallback)
}

async fn check(app: impl FnOnce(Logger) -> Router) -> Result<(), SelfCheckError> {
    SelfCheck::new(app)
        .route("GET", "/healthz")
        .protected("GET", "/api/agents/1")
        .run()
        .await
}

/// The lines of the explanation, which are the same as text and as debug output.
async fn faults(app: impl FnOnce(Logger) -> Router) -> Vec<String> {
    lines(&check(app).await.unwrap_err())
}

fn lines(error: &SelfCheckError) -> Vec<String> {
    assert_eq!(error.to_string(), format!("{error:?}"));
    let text = error.to_string();
    let mut lines = text.lines();
    assert_eq!(
        lines.next(),
        Some("the audit layer does not give every request its one row:")
    );
    lines.map(|line| line.trim_start().to_owned()).collect()
}

#[track_caller]
fn assert_has(faults: &[String], start: &str, explanation: &str) {
    let fault = faults.iter().find(|fault| fault.starts_with(start));
    let fault = fault.unwrap_or_else(|| panic!("no fault `{start}…` in {faults:#?}"));
    assert!(fault.contains(explanation), "{fault}");
}

#[tokio::test]
async fn a_layer_after_everything_passes() {
    let app = |logger: Logger| routes().layer(from_fn(cors)).layer(logger.layer());
    check(app).await.unwrap();
    self_check(app).await.unwrap();
}

#[tokio::test]
async fn a_second_layer_that_sees_the_first_passes() {
    check(|logger| routes().layer(logger.layer()).layer(logger.layer()))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_layer_around_the_whole_service_passes() {
    let (logger, rows) = crate::testing::recorder();
    let app = tower::Layer::layer(&logger.layer(), routes());
    SelfCheck::built(app, rows)
        .route("GET", "/healthz")
        .protected("GET", "/api/agents/1")
        .run()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_redirect_to_the_sign_in_counts_as_protected() {
    let sign_in = get(async || Redirect::to("/sign-in"));
    SelfCheck::new(|logger| {
        Router::new()
            .route("/private", sign_in)
            .layer(logger.layer())
    })
    .protected("GET", "/private")
    .run()
    .await
    .unwrap();
}

#[tokio::test]
async fn inside_authentication_on_every_request() {
    let faults = faults(|logger| routes().layer(logger.layer()).layer(from_fn(authenticate))).await;
    assert_eq!(faults.len(), 8, "{faults:#?}");
    for fault in faults {
        let explanation = "answered 401 and gave no row: the layer is inside authentication: make it \
             the last `.layer()`";
        assert!(fault.ends_with(explanation), "{fault}");
    }
}

#[tokio::test]
async fn inside_authentication_on_some_routes() {
    let faults = faults(|logger| {
        let api = Router::new()
            .route("/agents/{id}", get(async || "an agent"))
            .route_layer(logger.layer())
            .route_layer(from_fn(authenticate));
        let open = Router::new()
            .route("/healthz", get(async || "ok"))
            .fallback(fallback)
            .layer(logger.layer());
        open.nest("/api", api)
    })
    .await;
    assert_has(
        &faults,
        "GET /api/agents/1 answered 401",
        "the layer is inside authentication: make it the last `.layer()`",
    );
    assert!(
        faults.iter().all(|fault| fault.contains(" /api/agents/1 ")),
        "{faults:#?}"
    );
}

#[tokio::test]
async fn before_the_routes() {
    let faults = faults(|logger| {
        Router::new()
            .fallback(fallback)
            .layer(logger.layer())
            .route("/healthz", get(async || "ok"))
            .nest(
                "/api",
                Router::new().route("/agents/{id}", post(async || "made")),
            )
    })
    .await;
    for start in [
        "GET /healthz answered 200",
        "PROPFIND /healthz answered 405",
        "GET /api/agents/1 answered 405",
    ] {
        assert_has(
            &faults,
            start,
            "the layer comes before this route: make it the last `.layer()`, after all routes",
        );
    }
}

#[tokio::test]
async fn missing_or_before_everything() {
    for app in [
        |_: Logger| routes(),
        |logger: Logger| Router::new().layer(logger.layer()).merge(routes()),
    ] {
        let faults = faults(app).await;
        assert_has(
            &faults,
            "GET /healthz answered 200 and gave no row",
            "the layer is missing, has another logger, or came before the routes and the fallback",
        );
    }
}

#[tokio::test]
async fn a_fallback_after_the_layer() {
    let faults = faults(|logger| {
        routes()
            .reset_fallback()
            .layer(logger.layer())
            .fallback(fallback)
    })
    .await;
    assert_eq!(faults.len(), 2, "{faults:#?}");
    for start in ["GET /audithog-", "preflight OPTIONS /audithog-"] {
        assert_has(
            &faults,
            start,
            "404 and gave no row: the layer misses the fallback",
        );
    }
}

#[tokio::test]
async fn a_route_layer_misses_the_fallback() {
    let faults = faults(|logger| routes().route_layer(logger.layer())).await;
    assert_has(
        &faults,
        "GET /audithog-",
        "`.route_layer()` never covers it",
    );
}

#[tokio::test]
async fn a_method_routers_own_layer_misses_the_wrong_method() {
    let faults = faults(|logger| {
        let healthz = get(async || "ok").route_layer(logger.layer());
        Router::new()
            .nest("/api", api())
            .fallback(fallback)
            .layer(logger.layer())
            .route("/healthz", healthz)
    })
    .await;
    assert_has(
        &faults,
        "PROPFIND /healthz answered 405 and gave no row",
        "the layer misses what answers a wrong method",
    );
}

#[tokio::test]
async fn inside_cors() {
    let faults = faults(|logger| routes().layer(logger.layer()).layer(from_fn(cors))).await;
    assert_eq!(faults.len(), 3, "{faults:#?}");
    assert_has(
        &faults,
        "preflight OPTIONS /healthz answered 200 and gave no row",
        "the layer is inside the CORS layer: make it the last `.layer()`",
    );
}

#[tokio::test]
async fn inside_something_that_answers_by_itself() {
    let maintenance = from_fn(async |request: Request, next: Next| {
        if request.uri().path() == "/healthz" {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        next.run(request).await
    });
    let faults = faults(|logger| routes().layer(logger.layer()).layer(maintenance)).await;
    assert_has(
        &faults,
        "GET /healthz answered 503 and gave no row",
        "last `.layer()`",
    );
}

#[tokio::test]
async fn two_layers_with_a_new_request_between_them() {
    let afresh = from_fn(async |request: Request, next: Next| {
        let (mut head, body) = request.into_parts();
        head.extensions.clear();
        next.run(Request::from_parts(head, body)).await
    });
    let faults = faults(|logger| {
        Router::new()
            .fallback_service(routes().layer(logger.layer()))
            .layer(afresh)
            .layer(logger.layer())
    })
    .await;
    assert_has(
        &faults,
        "GET /healthz answered 200 and gave 2 rows",
        "two audit layers do not see each other",
    );
}

#[tokio::test]
async fn inside_what_changes_the_status_or_the_request_id() {
    let teapot = map_response(async |mut response: Response| {
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response
    });
    let found = faults(|logger| routes().layer(logger.layer()).layer(teapot)).await;
    assert_has(
        &found,
        "GET /healthz answered 418 but its row has the status 200",
        "something outside of the layer changes the response",
    );
    let own_id = map_response(async |mut response: Response| {
        let id = HeaderValue::from_static("mine");
        response.headers_mut().insert("x-request-id", id);
        response
    });
    let found = faults(|logger| routes().layer(logger.layer()).layer(own_id)).await;
    assert_has(
        &found,
        "GET /healthz answered 200 with the request id mine, which is not the row's",
        "something outside of the layer changes `x-request-id`",
    );
}

#[tokio::test]
async fn a_name_that_proves_nothing_is_refused() {
    let error = SelfCheck::new(|logger| routes().layer(logger.layer()))
        .route("GET", "/nowhere")
        .protected("GET", "/healthz")
        .route("NO METHOD", "/healthz")
        .run()
        .await
        .unwrap_err();
    let faults = lines(&error);
    assert_has(
        &faults,
        "GET /nowhere answered 404",
        "there is no such route",
    );
    assert_has(
        &faults,
        "GET /healthz answered 200 without",
        "did not refuse",
    );
    assert_has(
        &faults,
        "NO METHOD /healthz is no request: invalid HTTP method",
        "",
    );
    assert_eq!(faults.len(), 3, "{faults:#?}");
}

#[tokio::test]
async fn an_error_of_the_service_is_told() {
    let service = tower::service_fn(async |_: Request| Err::<Response, _>("no upstream"));
    let error = self_check(|_| service).await.unwrap_err();
    let faults = lines(&error);
    assert_has(
        &faults,
        "GET /audithog-",
        "got an error from the service: no upstream",
    );
}
