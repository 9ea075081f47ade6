//! The service: 50 routes that answer a small JSON, one that fails, and a fallback.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, response::IntoResponse};
use serde::Serialize;

/// Routes that succeed.
const ROUTES: usize = 50;

static ANSWERED: AtomicU64 = AtomicU64::new(0);

/// The routes, without any layer.
pub fn routes() -> Router {
    let mut router = Router::new();
    for number in 0..ROUTES {
        router = router.route(&format!("/api/r{number:02}/{{id}}"), get(item));
    }
    router
        .route("/api/fail/{id}", get(fail))
        .fallback(not_found)
}

/// How many requests handlers and fallback answered: what every stack's own counts are compared with.
#[must_use]
pub fn answered() -> u64 {
    ANSWERED.load(Ordering::Relaxed)
}

fn count() {
    ANSWERED.fetch_add(1, Ordering::Relaxed);
}

#[derive(Serialize)]
struct Item {
    id: String,
    name: &'static str,
    ok: bool,
}

async fn item(Path(id): Path<String>) -> Json<Item> {
    count();
    Json(Item {
        id,
        name: "item",
        ok: true,
    })
}

async fn fail(Path(_): Path<String>) -> impl IntoResponse {
    count();
    StatusCode::INTERNAL_SERVER_ERROR
}

async fn not_found() -> impl IntoResponse {
    count();
    StatusCode::NOT_FOUND
}
