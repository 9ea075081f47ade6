//! The suite's service, called without a network: 50 routes, the caller in headers, a small JSON answer.

use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use audithog::bench::request::Unwritten;
use audithog::{Actor, Builder, Error, Logger};
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use futures_util::FutureExt as _;
use http_body::Body as _;
use serde::Serialize;
use tower::ServiceExt as _;

/// Routes of the service.
const ROUTES: usize = 50;

/// What real clients send.
const AGENTS: [&str; 6] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
    "okhttp/4.12.0",
    "python-requests/2.32.3",
];

const ROLES: [&str; 4] = ["admin", "member", "viewer", "owner"];

/// What stands around the service's routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Around {
    /// A layer that does nothing.
    Noop,
    /// The audit layer.
    Audit,
}

/// The service and, if it is audited, the end of its rows.
pub struct Service {
    router: Router,
    rows: Unwritten,
    asked: usize,
}

#[derive(Serialize)]
struct Item<'a> {
    id: &'a str,
    name: &'a str,
    ok: bool,
}

impl Service {
    /// # Errors
    ///
    /// The logger does not start.
    pub fn new(around: Around) -> Result<Self, Error> {
        let rows = Unwritten::start(settings())?;
        let mut router = Router::new().route("/api/fail/{id}", get(fail));
        for route in 0..ROUTES {
            router = router.route(&format!("/api/r{route:02}/{{id}}"), get(item));
        }
        let router = match around {
            Around::Noop => router
                .layer(from_fn(read_caller))
                .layer(tower::layer::layer_fn(Noop)),
            Around::Audit => router
                .layer(from_fn(set_caller))
                .layer(rows.logger().layer()),
        };
        Ok(Self {
            router,
            rows,
            asked: 0,
        })
    }

    /// Answers the next request of the mix, to the last byte. Returns the status.
    pub fn answer(&mut self) -> u16 {
        let request = request(self.asked);
        self.asked += 1;
        let response = self.router.clone().oneshot(request).now_or_never();
        // The service waits for nothing.
        let Some(Ok(response)) = response else {
            return 0;
        };
        let (head, body) = response.into_parts();
        let mut body = pin!(body);
        let mut cx = Context::from_waker(Waker::noop());
        while !body.is_end_stream() {
            match body.as_mut().poll_frame(&mut cx) {
                Poll::Ready(Some(Ok(frame))) => drop(std::hint::black_box(frame)),
                _ => break,
            }
        }
        head.status.as_u16()
    }

    /// Takes the rows as the writer does. Returns how many there were.
    pub fn take_rows(&mut self) -> usize {
        self.rows.take()
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

/// Defaults, and the trusted proxy of the suite.
pub fn settings() -> Builder {
    Logger::builder()
        .environment::<&str, &str>([])
        .trusted_proxies("127.0.0.1/32")
}

async fn item(Path(id): Path<String>) -> Response {
    let (id, name, ok) = (id.as_str(), "item", true);
    Json(Item { id, name, ok }).into_response()
}

async fn fail() -> StatusCode {
    StatusCode::INTERNAL_SERVER_ERROR
}

fn caller(headers: &HeaderMap) -> Option<(&str, &str, &str)> {
    let text = |name| headers.get(name)?.to_str().ok();
    Some((text("x-user-id")?, text("x-user-role")?, text("x-org-id")?))
}

async fn read_caller(request: Request, next: Next) -> Response {
    std::hint::black_box(caller(request.headers()));
    next.run(request).await
}

async fn set_caller(request: Request, next: Next) -> Response {
    if let Some((user, role, org)) = caller(request.headers()) {
        audithog::set_actor(Actor::user(user).role_in(role, org));
    }
    next.run(request).await
}

/// The `n`th request of the mix: 4 % of no route, 1 % that fail.
fn request(n: usize) -> Request {
    // A walk that meets every combination before it repeats one.
    let mixed = n.wrapping_mul(7919) % 10_000;
    let path = match n % 100 {
        0 => format!("/api/fail/{mixed}"),
        1..=4 => format!("/nothing/{mixed}"),
        _ => format!("/api/r{:02}/{mixed}", mixed % ROUTES),
    };
    let mut request = http::Request::get(path);
    if let Some(headers) = request.headers_mut() {
        // As a server that has read them all: growing would depend on the heap's layout.
        headers.reserve(16);
    }
    let request = request
        .header("host", "service.example")
        .header("user-agent", AGENTS[mixed % AGENTS.len()])
        .header("accept", "application/json")
        .header("x-forwarded-for", format!("203.0.113.{}", mixed % 250))
        .header("x-user-id", format!("u_{mixed:05}"))
        .header("x-user-role", ROLES[mixed % ROLES.len()])
        .header("x-org-id", format!("org_{:03}", mixed % 500))
        .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 40_000))))
        .body(Body::empty());
    // Every part is well formed.
    request.unwrap_or_default()
}

/// What costs nothing.
#[derive(Clone)]
struct Noop<S>(S);

impl<S: tower::Service<R>, R> tower::Service<R> for Noop<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.call(request)
    }
}
