//! Sign-in, and the check of the token on every API route.

use axum::{
    Extension, Json,
    extract::{Path, Request, State},
    http::header,
    middleware::Next,
    response::Response,
};
use jsonwebtoken::{
    DecodingKey, EncodingKey, Header, Validation, decode, encode, get_current_timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    AppState,
    error::{ApiError, Problem},
};

const TOKEN_LIFETIME_SECONDS: u64 = 3600;

/// The known users: name, password, role, organisation. They stand in for an identity provider.
const USERS: [(&str, &str, &str, &str); 3] = [
    ("alice", "wonderland", "admin", "acme"),
    ("bob", "builder", "member", "acme"),
    ("carol", "christmas", "member", "globex"),
];

/// Who is calling: the content of a verified token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) sub: String,
    pub(crate) role: String,
    pub(crate) org: String,
    exp: u64,
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct Login {
    user: String,
    password: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Token {
    token: String,
    expires_in: u64,
}

/// Exchanges a user name and a password for a token.
#[utoipa::path(post, path = "/login", request_body = Login,
    responses((status = OK, body = Token), (status = UNAUTHORIZED, body = Problem)))]
pub(crate) async fn login(
    State(state): State<AppState>,
    Json(login): Json<Login>,
) -> Result<Json<Token>, ApiError> {
    let (sub, _, role, org) = USERS
        .iter()
        .find(|(name, password, ..)| *name == login.user && *password == login.password)
        .ok_or(ApiError::BadCredentials)?;
    let claims = Claims {
        sub: (*sub).to_owned(),
        role: (*role).to_owned(),
        org: (*org).to_owned(),
        exp: get_current_timestamp() + TOKEN_LIFETIME_SECONDS,
    };
    Ok(Json(Token {
        token: state.keys.sign(&claims)?,
        expires_in: TOKEN_LIFETIME_SECONDS,
    }))
}

/// Lets a request through if it carries a valid token, and tells the handlers whose.
pub(crate) async fn require_user(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let claims = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .ok_or(ApiError::TokenMissing)
        .and_then(|token| state.keys.verify(token))?;
    audithog::set_actor(audithog::Actor::user(&claims.sub).role_in(&claims.role, &claims.org));
    request.extensions_mut().insert(claims);
    Ok(next.run(request).await)
}

/// The users of the caller's own organisation.
#[utoipa::path(get, path = "/{org}/members", params(("org" = String, Path)),
    responses((status = OK, body = Vec<String>), (status = FORBIDDEN, body = Problem)))]
pub(crate) async fn members(
    Extension(claims): Extension<Claims>,
    Path(org): Path<String>,
) -> Result<Json<Vec<&'static str>>, ApiError> {
    if claims.org != org {
        return Err(ApiError::NotYourOrg);
    }
    let members = USERS.iter().filter(|user| user.3 == org);
    Ok(Json(members.map(|user| user.0).collect()))
}

/// The keys that sign and verify tokens (HS256).
pub(crate) struct Keys {
    signing: EncodingKey,
    verifying: DecodingKey,
}

impl Keys {
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self {
            signing: EncodingKey::from_secret(secret),
            verifying: DecodingKey::from_secret(secret),
        }
    }

    fn sign(&self, claims: &Claims) -> Result<String, ApiError> {
        encode(&Header::default(), claims, &self.signing).map_err(|error| {
            tracing::error!(%error, "cannot sign a token");
            ApiError::Internal
        })
    }

    fn verify(&self, token: &str) -> Result<Claims, ApiError> {
        match decode(token, &self.verifying, &Validation::default()) {
            Ok(token) => Ok(token.claims),
            Err(error) => {
                tracing::debug!(%error, "token refused");
                Err(ApiError::TokenInvalid)
            }
        }
    }
}
