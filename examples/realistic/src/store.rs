//! The agents, in memory.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

use serde::Serialize;
use tokio::sync::Notify;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{auth::Claims, error::ApiError};

#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Agent {
    pub(crate) id: Uuid,
    name: String,
    owner: String,
    org: String,
    published: bool,
}

/// All agents; each belongs to one organisation, and no other can see it.
#[derive(Default)]
pub(crate) struct Agents {
    by_id: RwLock<BTreeMap<Uuid, Agent>>,
    published: Notify,
}

impl Agents {
    pub(crate) fn create(&self, name: String, owner: Claims) -> Agent {
        let agent = Agent {
            id: Uuid::now_v7(),
            name,
            owner: owner.sub,
            org: owner.org,
            published: false,
        };
        let mut agents = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        agents.insert(agent.id, agent.clone());
        agent
    }

    pub(crate) fn list(&self, org: &str) -> Vec<Agent> {
        let agents = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        let of_org = agents.values().filter(|agent| agent.org == org);
        of_org.cloned().collect()
    }

    pub(crate) fn get(&self, id: Uuid, org: &str) -> Result<Agent, ApiError> {
        let agents = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        let agent = agents.get(&id).filter(|agent| agent.org == org);
        agent.cloned().ok_or(ApiError::AgentNotFound)
    }

    pub(crate) fn publish(&self, id: Uuid, by: &Claims) -> Result<Agent, ApiError> {
        let mut agents = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        let agent = agents.get_mut(&id).filter(|agent| agent.org == by.org);
        let agent = agent.ok_or(ApiError::AgentNotFound)?;
        if agent.owner != by.sub && by.role != "admin" {
            return Err(ApiError::NotYourAgent);
        }
        if agent.published {
            return Err(ApiError::AlreadyPublished);
        }
        agent.published = true;
        self.published.notify_waiters();
        Ok(agent.clone())
    }

    /// Waits until the agent is published.
    pub(crate) async fn until_published(&self, id: Uuid, org: &str) -> Result<Agent, ApiError> {
        loop {
            // Listens before it looks: a publication in between is not missed.
            let published = self.published.notified();
            let agent = self.get(id, org)?;
            if agent.published {
                return Ok(agent);
            }
            published.await;
        }
    }
}
