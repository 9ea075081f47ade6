//! Sign-in, and the check of the token. In a real service this is your identity provider.

use std::collections::BTreeMap;

use audithog::{Actor, RequestHandle};
use axum::{
    Json,
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::Response,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{error::ApiError, state::AppState};

/// Every user's password.
pub(crate) const PASSWORD: &str = "demo";

pub(crate) const USERS: [User; 4] = [
    User::new("ada", Role::Admin, "acme"),
    User::new("ben", Role::Member, "acme"),
    User::new("cleo", Role::Admin, "globex"),
    User::new("dan", Role::Viewer, "globex"),
];

/// Who may do what: a viewer reads, a member also creates and publishes, an admin also deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Viewer,
    Member,
    Admin,
}

#[derive(Debug)]
pub(crate) struct User {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    pub(crate) org: &'static str,
}

#[derive(Deserialize)]
pub(super) struct Login {
    user: String,
    password: String,
}

#[derive(Serialize)]
pub(super) struct Token {
    token: String,
}

impl Role {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Member => "member",
            Self::Admin => "admin",
        }
    }
}

impl User {
    const fn new(name: &'static str, role: Role, org: &'static str) -> Self {
        Self { name, role, org }
    }

    /// As the audit log names the user.
    fn actor(&self) -> Actor {
        Actor::user(self.name)
            .role(self.role.as_str())
            .org(self.org)
    }

    /// # Errors
    ///
    /// `ROLE_REQUIRED` when the user's role is lower than `role`.
    pub(super) fn require(&self, role: Role) -> Result<(), ApiError> {
        if self.role >= role {
            Ok(())
        } else {
            Err(ApiError::RoleRequired)
        }
    }
}

/// A new token for each user.
pub(super) fn tokens() -> BTreeMap<String, &'static User> {
    USERS
        .iter()
        .map(|user| (Uuid::new_v4().simple().to_string(), user))
        .collect()
}

/// `POST /login`: a user name and a password for a token.
pub(super) async fn login(
    State(state): State<AppState>,
    handle: RequestHandle,
    Json(login): Json<Login>,
) -> Result<Json<Token>, ApiError> {
    let (token, user) = state
        .tokens
        .iter()
        .find(|(_, user)| user.name == login.user && login.password == PASSWORD)
        .ok_or(ApiError::BadCredentials)?;
    handle.set_actor(user.actor());
    handle.event("user_signed_in").log();
    Ok(Json(Token {
        token: token.clone(),
    }))
}

/// Lets a request with a valid token through, and tells the handlers whose it is.
pub(super) async fn require_user(
    State(state): State<AppState>,
    handle: RequestHandle,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let token = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .ok_or(ApiError::TokenMissing)?;
    let user: &'static User = state.tokens.get(token).ok_or(ApiError::TokenInvalid)?;
    handle.set_actor(user.actor());
    request.extensions_mut().insert(user);
    Ok(next.run(request).await)
}
