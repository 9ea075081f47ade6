//! What a request allocates beyond what it would without the layer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use audithog::Actor;
use audithog::testing::recorder_with;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::HeaderMap;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use http_body::Body as _;
use tower::{Layer, Service, ServiceExt as _};

/// Requests that are counted together.
const REQUESTS: u64 = 1_000;

/// Beyond a layer that does nothing, of a request whose texts are short or were seen before.
const LIMIT: u64 = 3;

/// For all of [`REQUESTS`]: buffers that grow, and are kept.
const GROWTH: u64 = 40;

#[test]
fn a_request_allocates_next_to_nothing_beyond_a_layer_that_does_nothing() {
    let (logger, rows) = recorder_with(|builder| builder.trusted_proxies("127.0.0.1")).unwrap();
    let noop = count(&app(|router| router.layer(Noop)));
    let audited = count(&app(|router| router.layer(logger.layer())));
    assert_eq!(rows.all().len() as u64, 2 * REQUESTS);
    let added = audited.saturating_sub(noop);
    let (each, rest) = (added / REQUESTS, added % REQUESTS);
    assert!(
        added <= LIMIT * REQUESTS + GROWTH,
        "{each} allocations for each request, and {rest} more"
    );
}

/// Allocations of [`REQUESTS`], after as many that are not counted.
fn count(app: &Router) -> u64 {
    let all = |app: &Router| (0..REQUESTS).for_each(|n| answer(app, request(n)));
    all(app);
    allocation_counter::measure(|| all(app)).count_total
}

fn app(around: impl FnOnce(Router) -> Router) -> Router {
    let router = Router::new()
        .route("/api/r00/{id}", get(async || r#"{"id":"7","ok":true}"#))
        .layer(from_fn(set_caller));
    around(router)
}

async fn set_caller(request: Request, next: Next) -> Response {
    if let Some((user, role, org)) = caller(request.headers()) {
        audithog::set_actor(Actor::user(user).role_in(role, org));
    }
    next.run(request).await
}

fn caller(headers: &HeaderMap) -> Option<(&str, &str, &str)> {
    let text = |name| headers.get(name)?.to_str().ok();
    Some((text("x-user-id")?, text("x-user-role")?, text("x-org-id")?))
}

fn request(n: u64) -> Request {
    // Every hundredth meets no route.
    let path = match n % 100 {
        0 => format!("/nothing/{n}"),
        _ => format!("/api/r00/{n}"),
    };
    let request = Request::get(path)
        .header(
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
        )
        .header("x-forwarded-for", "203.0.113.9")
        .header("x-user-id", format!("u_{n:05}"))
        .header("x-user-role", "admin")
        .header("x-org-id", "org_017")
        .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 40_000))))
        .body(Body::empty());
    // Every part is well formed.
    request.unwrap_or_default()
}

/// Polls by hand: nothing here waits, and a runtime would allocate.
fn answer(app: &Router, request: Request) {
    let mut cx = Context::from_waker(Waker::noop());
    let mut future = pin!(app.clone().oneshot(request));
    let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut cx) else {
        panic!("the service waits for nothing");
    };
    let mut body = pin!(response.into_body());
    while !body.is_end_stream() {
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(_))) => {}
            _ => break,
        }
    }
}

#[derive(Clone)]
struct Noop;

#[derive(Clone)]
struct Through<S>(S);

impl<S> Layer<S> for Noop {
    type Service = Through<S>;

    fn layer(&self, inner: S) -> Through<S> {
        Through(inner)
    }
}

impl<S, R> Service<R> for Through<S>
where
    S: Service<R, Error = Infallible>,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.call(request)
    }
}
