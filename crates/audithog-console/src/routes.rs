//! Which page answers what.

use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Extensions, HeaderMap, StatusCode, Version};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tower_http::compression::CompressionLayer;

use crate::guard::Uncompressed;
use crate::{Shared, assets, guard, pages};

pub(crate) fn router<S: Clone + Send + Sync + 'static>(shared: Arc<Shared>) -> Router<S> {
    Router::new()
        .route("/", get(pages::overview::show))
        .route("/log", get(pages::log::show))
        .route("/log/live", get(pages::live::stream))
        .route("/log/export", get(pages::export::download))
        .route("/row", get(pages::row::show))
        .route("/row.json", get(pages::row::json))
        .route("/user", get(pages::subject::user))
        .route("/org", get(pages::subject::org))
        .route("/endpoint", get(pages::subject::endpoint))
        .route("/health", get(pages::health::show))
        .route("/health/replay", post(pages::operate::replay))
        .route("/health/dismiss", post(pages::operate::dismiss))
        .route("/search", get(pages::search::find))
        .route("/pulse", get(pages::pulse::show))
        .route("/sign-in", post(pages::sign_in::enter))
        .route("/sign-out", post(pages::sign_in::leave))
        .route("/assets/{name}", get(assets::show))
        .fallback(pages::not_found)
        .layer(from_fn_with_state(Arc::clone(&shared), guard::guard))
        .layer(CompressionLayer::new().compress_when(worth_it))
        .with_state(shared)
}

/// Pages, the style sheet and the script. New rows must not wait in a compressor, and an export is no page.
fn worth_it(_: StatusCode, _: Version, headers: &HeaderMap, extensions: &Extensions) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let is_text = |kind: &str| {
        ["text/html", "text/css", "text/javascript"]
            .iter()
            .any(|text| kind.starts_with(text))
    };
    kind.is_some_and(is_text) && extensions.get::<Uncompressed>().is_none()
}
