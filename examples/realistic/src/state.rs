//! What the handlers share.

use std::sync::Arc;

use axum::http::HeaderValue;

use crate::{auth::Keys, store::Agents};

/// The settings of the service.
#[expect(missing_debug_implementations, reason = "it holds the signing secret")]
pub struct Config {
    /// Gets a row for every request, and the business events.
    pub log: audithog::Logger,
    /// Signs and verifies the tokens.
    pub jwt_secret: String,
    /// The web front end, the one origin that browsers may call from.
    pub web_origin: HeaderValue,
}

/// What the handlers share; a clone is the same state.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "it holds the signing secret")]
pub struct AppState {
    pub(crate) log: audithog::Logger,
    pub(crate) web_origin: HeaderValue,
    pub(crate) keys: Arc<Keys>,
    pub(crate) agents: Arc<Agents>,
}

impl AppState {
    /// State without agents.
    pub fn new(config: Config) -> Self {
        Self {
            log: config.log,
            keys: Arc::new(Keys::new(config.jwt_secret.as_bytes())),
            web_origin: config.web_origin,
            agents: Arc::default(),
        }
    }
}
