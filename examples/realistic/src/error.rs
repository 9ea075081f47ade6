//! Errors as problem details (RFC 9457) with an application error code.

use std::any::Any;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request was refused.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ApiError {
    BadCredentials,
    TokenMissing,
    TokenInvalid,
    NotYourAgent,
    NotYourOrg,
    AgentNotFound,
    AlreadyPublished,
    NoSuchRoute,
    MethodNotAllowed,
    Internal,
}

/// The body of every error that the service itself answers with.
#[derive(Serialize, ToSchema)]
pub(crate) struct Problem {
    title: &'static str,
    status: u16,
    /// A stable, machine-readable reason.
    code: &'static str,
}

impl ApiError {
    fn parts(self) -> (StatusCode, &'static str) {
        match self {
            Self::BadCredentials => (StatusCode::UNAUTHORIZED, "BAD_CREDENTIALS"),
            Self::TokenMissing => (StatusCode::UNAUTHORIZED, "TOKEN_MISSING"),
            Self::TokenInvalid => (StatusCode::UNAUTHORIZED, "TOKEN_INVALID"),
            Self::NotYourAgent => (StatusCode::FORBIDDEN, "NOT_YOUR_AGENT"),
            Self::NotYourOrg => (StatusCode::FORBIDDEN, "NOT_YOUR_ORG"),
            Self::AgentNotFound => (StatusCode::NOT_FOUND, "AGENT_NOT_FOUND"),
            Self::AlreadyPublished => (StatusCode::CONFLICT, "ALREADY_PUBLISHED"),
            Self::NoSuchRoute => (StatusCode::NOT_FOUND, "NO_SUCH_ROUTE"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = self.parts();
        let problem = Problem {
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            code,
        };
        let mut response = (status, audithog::ErrorCode::new(code), Json(problem)).into_response();
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

pub(crate) async fn no_such_route() -> ApiError {
    ApiError::NoSuchRoute
}

pub(crate) async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

/// The answer when a handler panicked; the panic hook has printed the message already.
pub(crate) fn panicked(_: Box<dyn Any + Send>) -> Response {
    ApiError::Internal.into_response()
}
