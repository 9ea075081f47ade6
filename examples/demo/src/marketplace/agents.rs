//! The agents: list, create, publish, delete.

use std::collections::BTreeMap;

use audithog::RequestHandle;
use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};

use super::{
    auth::{Role, User},
    error::ApiError,
    state::AppState,
};

/// Agents that one organisation may have.
const LIMIT_PER_ORG: usize = 5;

#[derive(Clone, Serialize)]
pub(super) struct Agent {
    id: u64,
    name: String,
    org: &'static str,
    published: bool,
}

#[derive(Deserialize)]
pub(super) struct NewAgent {
    name: String,
}

#[derive(Default)]
pub(super) struct Agents {
    last_id: u64,
    by_id: BTreeMap<u64, Agent>,
}

impl Agents {
    /// An agent of the user's own organisation. Another one's does not exist for them.
    fn own(&mut self, user: &User, id: u64) -> Result<&mut Agent, ApiError> {
        self.by_id
            .get_mut(&id)
            .filter(|agent| agent.org == user.org)
            .ok_or(ApiError::AgentNotFound)
    }
}

/// `GET /agents`: all that are published, and those of the caller's organisation.
pub(super) async fn list(
    State(state): State<AppState>,
    Extension(user): Extension<&'static User>,
) -> Json<Vec<Agent>> {
    let agents = state.agents();
    let visible = agents
        .by_id
        .values()
        .filter(|agent| agent.published || agent.org == user.org);
    Json(visible.cloned().collect())
}

/// `POST /agents`: a new agent of the caller's organisation.
pub(super) async fn create(
    State(state): State<AppState>,
    Extension(user): Extension<&'static User>,
    handle: RequestHandle,
    Json(new): Json<NewAgent>,
) -> Result<(StatusCode, Json<Agent>), ApiError> {
    user.require(Role::Member)?;
    let mut agents = state.agents();
    let own = agents.by_id.values().filter(|agent| agent.org == user.org);
    if own.count() >= LIMIT_PER_ORG {
        return Err(ApiError::AgentLimit);
    }
    agents.last_id += 1;
    let agent = Agent {
        id: agents.last_id,
        name: new.name,
        org: user.org,
        published: false,
    };
    agents.by_id.insert(agent.id, agent.clone());
    handle
        .event("agent_created")
        .property("agentId", agent.id)
        .log();
    Ok((StatusCode::CREATED, Json(agent)))
}

/// `POST /agents/{id}/publish`: makes an agent visible to everybody.
pub(super) async fn publish(
    State(state): State<AppState>,
    Extension(user): Extension<&'static User>,
    handle: RequestHandle,
    Path(id): Path<u64>,
) -> Result<Json<Agent>, ApiError> {
    user.require(Role::Member)?;
    let mut agents = state.agents();
    let agent = agents.own(user, id)?;
    if agent.published {
        return Err(ApiError::AlreadyPublished);
    }
    agent.published = true;
    handle
        .event("agent_published")
        .property("agentId", id)
        .log();
    Ok(Json(agent.clone()))
}

/// `DELETE /agents/{id}`.
pub(super) async fn delete(
    State(state): State<AppState>,
    Extension(user): Extension<&'static User>,
    handle: RequestHandle,
    Path(id): Path<u64>,
) -> Result<StatusCode, ApiError> {
    user.require(Role::Admin)?;
    let mut agents = state.agents();
    agents.own(user, id)?;
    agents.by_id.remove(&id);
    handle.event("agent_deleted").property("agentId", id).log();
    Ok(StatusCode::NO_CONTENT)
}
