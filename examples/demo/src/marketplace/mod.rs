//! The service itself: an agents marketplace as a JSON API.
//!
//! audithog shows in four places: the last `.layer` of [`app`], one line in `auth` that names the
//! actor, the error code in `error`, and one line for each business event in `agents`.

use audithog::Logger;
use axum::{
    Router,
    http::StatusCode,
    middleware,
    routing::{delete, get, post},
};

mod agents;
mod auth;
mod error;
mod state;
mod trouble;

use error::ApiError;
use state::AppState;

pub(crate) use auth::{PASSWORD, USERS, User};

/// The whole service, with an audit row for every request.
pub fn app(logger: &Logger) -> Router {
    let state = AppState::default();
    let signed_in = Router::new()
        .route("/agents", get(agents::list).post(agents::create))
        .route("/agents/{id}", delete(agents::delete))
        .route("/agents/{id}/publish", post(agents::publish))
        .route("/trouble/fail", get(trouble::fail))
        .route("/trouble/panic", get(trouble::panic))
        .route("/trouble/slow", get(trouble::slow))
        .route_layer(middleware::from_fn_with_state(
            state.clone(),
            auth::require_user,
        ));

    Router::new()
        .merge(signed_in)
        .route("/login", post(auth::login))
        .route("/healthz", get(|| async { "ok" }))
        .fallback(async || ApiError::NoSuchRoute)
        .method_not_allowed_fallback(async || StatusCode::METHOD_NOT_ALLOWED)
        // Last, so that every route and the fallbacks are inside.
        .layer(logger.layer())
        .with_state(state)
}
