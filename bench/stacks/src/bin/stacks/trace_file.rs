//! tower-http's `TraceLayer` and request id, as JSON lines in a file: a span with method, path, route and request id,
//! and one event for the response with status and latency.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use bench_stacks::actor::{Authenticate, tell_nobody};
use bench_stacks::process::{self, Failure, Rows, Settings};
use bench_stacks::service;
use http::{HeaderName, HeaderValue};
use tower_http::request_id::{
    MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer,
};
use tower_http::trace::TraceLayer;
use tracing::Span;
use uuid::Uuid;

use crate::lines::Lines;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

pub(crate) async fn run(settings: &Settings) -> Result<(), Failure> {
    let (writer, lines) = Lines::open(settings)?;
    tracing_subscriber::fmt()
        .json()
        .with_span_list(false)
        .with_writer(writer)
        .init();
    let made = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&made);
    let trace = TraceLayer::new_for_http()
        .make_span_with(span)
        .on_request(())
        .on_response(move |response: &Response, latency: Duration, _: &Span| {
            count.fetch_add(1, Ordering::Relaxed);
            let latency_ms = latency.as_secs_f64() * 1000.0;
            tracing::info!(
                status = response.status().as_u16(),
                latency_ms,
                "finished processing request"
            );
        })
        // It would add a second line to every 500.
        .on_failure(());
    let router = service::routes()
        .layer(Authenticate(tell_nobody))
        .layer(PropagateRequestIdLayer::new(HEADER))
        .layer(trace)
        .layer(SetRequestIdLayer::new(HEADER, UuidV7));
    process::serve_with_peers(router).await?;
    lines.close();
    process::finish(Rows {
        rows_made: Some(made.load(Ordering::Relaxed)),
        ..Rows::default()
    })
}

fn span(request: &Request) -> Span {
    let id = request.extensions().get::<RequestId>();
    let id = id
        .and_then(|id| id.header_value().to_str().ok())
        .unwrap_or_default();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("", MatchedPath::as_str);
    tracing::info_span!(
        "request",
        id,
        method = request.method().as_str(),
        path = request.uri().path(),
        route
    )
}

#[derive(Clone, Copy)]
struct UuidV7;

impl MakeRequestId for UuidV7 {
    fn make_request_id<B>(&mut self, _: &http::Request<B>) -> Option<RequestId> {
        let mut buffer = Uuid::encode_buffer();
        let text = Uuid::now_v7().hyphenated().encode_lower(&mut buffer);
        HeaderValue::from_str(text).ok().map(RequestId::new)
    }
}
