//! Why a request was refused, for the client and for the audit log.

use audithog::ErrorCode;
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

#[derive(Clone, Copy, Debug)]
pub(super) enum ApiError {
    BadCredentials,
    TokenMissing,
    TokenInvalid,
    RoleRequired,
    AgentNotFound,
    AgentLimit,
    AlreadyPublished,
    ModelUnavailable,
    NoSuchRoute,
}

impl ApiError {
    fn parts(self) -> (StatusCode, &'static str) {
        match self {
            Self::BadCredentials => (StatusCode::UNAUTHORIZED, "BAD_CREDENTIALS"),
            Self::TokenMissing => (StatusCode::UNAUTHORIZED, "TOKEN_MISSING"),
            Self::TokenInvalid => (StatusCode::UNAUTHORIZED, "TOKEN_INVALID"),
            Self::RoleRequired => (StatusCode::FORBIDDEN, "ROLE_REQUIRED"),
            Self::AgentNotFound => (StatusCode::NOT_FOUND, "AGENT_NOT_FOUND"),
            Self::AgentLimit => (StatusCode::CONFLICT, "AGENT_LIMIT"),
            Self::AlreadyPublished => (StatusCode::CONFLICT, "ALREADY_PUBLISHED"),
            Self::ModelUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "MODEL_UNAVAILABLE"),
            Self::NoSuchRoute => (StatusCode::NOT_FOUND, "NO_SUCH_ROUTE"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = self.parts();
        let body = Json(json!({ "code": code }));
        (status, ErrorCode::new(code), body).into_response()
    }
}
