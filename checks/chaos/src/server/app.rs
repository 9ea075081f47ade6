//! The routes: one of each way in which a request can end.

use std::convert::Infallible;
use std::time::Duration;

use audithog::{Actor, Logger, RequestHandle};
use axum::Router;
use axum::body::Body;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use bytes::Bytes;
use futures_util::{Stream, stream};
use serde::Deserialize;

/// Larger than what the sockets' buffers hold, so that it takes the client's reading to complete.
pub(crate) const BIG: usize = 600_000;
/// The parts of a body without a length.
pub(crate) const CHUNKS: usize = 5;
const TICK: Duration = Duration::from_millis(50);

#[derive(Deserialize)]
struct Wait {
    ms: u64,
}

pub(super) fn app(logger: &Logger) -> Router {
    Router::new()
        .route("/quick/{id}", get(quick))
        .route("/poison/{id}", get(quick))
        .route("/orders/{id}", post(order))
        .route("/deeds/{id}", post(deed))
        .route("/big/{id}", get(|| async { vec![b'x'; BIG] }))
        .route("/chunks/{id}", get(chunks))
        .route("/slow/{id}", get(slow))
        .route("/panic/{id}", get(panics))
        .route("/stream/{id}", get(events))
        .route("/socket/{id}", any(socket))
        // Outermost and last.
        .layer(logger.layer())
}

async fn quick(Path(id): Path<String>, request: RequestHandle) -> String {
    request.set_actor(Actor::user("ann"));
    id
}

/// A business event of the request, which is in memory when the answer goes out.
async fn order(Path(id): Path<String>, request: RequestHandle, body: Bytes) -> Response {
    request.set_actor(Actor::user("ann"));
    request
        .event("order_placed")
        .property("order", id)
        .property("bytes", body.len())
        .log();
    StatusCode::CREATED.into_response()
}

/// A business event that is fsynced before the answer goes out, whatever the guarantee of the request.
async fn deed(Path(id): Path<String>, request: RequestHandle) -> Response {
    let event = request.event("deed_signed").property("deed", id);
    match event.log_durable().await {
        Ok(()) => StatusCode::CREATED.into_response(),
        Err(error) => (StatusCode::INSUFFICIENT_STORAGE, error.to_string()).into_response(),
    }
}

async fn chunks() -> Body {
    let parts = (0..CHUNKS).map(|_| Ok::<_, Infallible>(Bytes::from_static(b"chunk")));
    Body::from_stream(stream::iter(parts))
}

#[expect(clippy::disallowed_methods, reason = "a slow handler is what it is")]
async fn slow(Query(wait): Query<Wait>) -> &'static str {
    tokio::time::sleep(Duration::from_millis(wait.ms)).await;
    "at last"
}

#[expect(
    clippy::panic,
    reason = "a handler that panics is one of the ways to end"
)]
async fn panics() -> &'static str {
    panic!("as asked");
}

/// Never ends by itself.
async fn events() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let ticks = tokio::time::interval(TICK);
    Sse::new(stream::unfold(ticks, |mut ticks| async {
        ticks.tick().await;
        Some((Ok(Event::default().data("tick")), ticks))
    }))
}

async fn socket(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(echo)
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if socket.send(message).await.is_err() {
            break;
        }
    }
}
