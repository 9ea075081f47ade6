//! An ordinary axum service: a small API to register and publish agents.
//!
//! [`app`] is the whole service as a value, for tests; [`serve`] runs it on a socket.

use std::{io, net::SocketAddr, time::Duration};

use axum::{
    Json, Router, ServiceExt,
    body::Body,
    extract::{ConnectInfo, Request},
    http::{Method, StatusCode, header},
    middleware,
    routing::get,
};
use tokio::net::TcpListener;
use tower::{Layer as _, ServiceBuilder};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::CompressionLayer,
    cors::CorsLayer,
    normalize_path::{NormalizePath, NormalizePathLayer},
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer},
    timeout::TimeoutLayer,
    trace::TraceLayer,
};
use tracing::{Span, field};
use utoipa_axum::{router::OpenApiRouter, routes};

mod agents;
mod auth;
mod error;
mod state;
mod store;

pub use state::{AppState, Config};

/// How long a handler may take before the client gets a 504.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The whole service, path normalisation included.
pub type App = NormalizePath<Router>;

/// Builds the service. Trailing slashes are cut before routing.
pub fn app(state: AppState) -> App {
    let api = OpenApiRouter::new()
        .nest("/agents", agents::router())
        .nest("/orgs", OpenApiRouter::new().routes(routes!(auth::members)))
        .route_layer(middleware::from_fn_with_state(
            state.clone(),
            auth::require_user,
        ));
    let (router, openapi) = OpenApiRouter::new()
        .routes(routes!(auth::login))
        .nest("/api", api)
        .split_for_parts();
    let cors = CorsLayer::new()
        .allow_origin(state.web_origin.clone())
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE]);

    let router = router
        .route("/healthz", get(|| async { "ok" }))
        .route("/openapi.json", get(|| async { Json(openapi) }))
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(
            ServiceBuilder::new()
                .layer(state.log.layer())
                .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
                .layer(TraceLayer::new_for_http().make_span_with(request_span))
                .layer(PropagateRequestIdLayer::x_request_id())
                .layer(cors)
                .layer(CatchPanicLayer::custom(error::panicked))
                .layer(CompressionLayer::new())
                .layer(TimeoutLayer::with_status_code(
                    StatusCode::GATEWAY_TIMEOUT,
                    REQUEST_TIMEOUT,
                )),
        )
        .with_state(state);
    // Around the router, because a router's own layers run after routing.
    NormalizePathLayer::trim_trailing_slash().layer(router)
}

/// Serves `app` until `shutdown` completes, then lets the requests under way finish.
///
/// # Errors
///
/// Fails if the listener does.
pub async fn serve(
    listener: TcpListener,
    app: App,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let service = ServiceExt::<Request>::into_make_service_with_connect_info::<SocketAddr>(app);
    axum::serve(listener, service)
        .with_graceful_shutdown(shutdown)
        .await
}

fn request_span(request: &Request<Body>) -> Span {
    let id = request.extensions().get::<RequestId>();
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    tracing::info_span!(
        "request",
        method = %request.method(),
        path = request.uri().path(),
        id = id.map(|id| field::debug(id.header_value())),
        peer = peer.map(|ConnectInfo(peer)| field::display(peer)),
    )
}
