//! What waits for a row, and what the client gets if the row does not come.

use std::any::Any;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use serde_json::json;

use super::ResponseBody;
use super::service::{X_REQUEST_ID, request_id_header};
use crate::capture::RequestHandle;

/// What errors of bodies are boxed as.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// In seconds: the writer tries a ledger that fails at least this often.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// A caught panic. The lock makes it `Sync`, so that what holds it is.
pub(super) struct Panic(Mutex<Box<dyn Any + Send>>);

/// Why there is a 503.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unavailable {
    /// The handler did not run.
    NotHandled,
    /// The handler ran, and its answer is held back.
    Withheld,
}

/// The error of a body whose end is held back: the server breaks the connection.
#[derive(Debug)]
pub(super) struct NotAudited;

impl Panic {
    pub(super) fn new(panic: Box<dyn Any + Send>) -> Self {
        Self(Mutex::new(panic))
    }

    pub(super) fn resume(self) -> ! {
        resume_unwind(self.0.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Unavailable {
    /// A problem document (RFC 9457).
    pub(super) fn response<B>(self, handle: &RequestHandle) -> Response<ResponseBody<B>> {
        let detail = match self {
            Self::NotHandled => "The audit log cannot be written. The request was not handled.",
            Self::Withheld => {
                "The audit log could not be written in time. The request was handled; its answer is withheld."
            }
        };
        let problem = json!({
            "type": "about:blank",
            "title": "Service Unavailable",
            "status": 503,
            "detail": detail,
            "code": "AUDIT_UNAVAILABLE",
            "requestId": handle.request_id(),
        });
        let mut response = Response::new(ResponseBody::of(Bytes::from(problem.to_string())));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let headers = response.headers_mut();
        let problem = HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, problem);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        if let Some(id) = request_id_header(handle) {
            headers.insert(X_REQUEST_ID, id);
        }
        response
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Panic")
    }
}

impl fmt::Display for NotAudited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the response's audit row could not be committed in time")
    }
}

impl std::error::Error for NotAudited {}
