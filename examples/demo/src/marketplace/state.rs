//! What the handlers share.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{agents::Agents, auth::User};

/// Cheap to clone: every handler gets its own.
#[derive(Clone)]
pub(super) struct AppState {
    /// One token for each user, made at start.
    pub(super) tokens: Arc<BTreeMap<String, &'static User>>,
    agents: Arc<Mutex<Agents>>,
}

impl AppState {
    /// The agents, locked. Never held across an await.
    pub(super) fn agents(&self) -> MutexGuard<'_, Agents> {
        // No handler panics while it holds the lock, so the agents are whole even if it is poisoned.
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for AppState {
    fn default() -> Self {
        Self {
            tokens: Arc::new(super::auth::tokens()),
            agents: Arc::default(),
        }
    }
}
