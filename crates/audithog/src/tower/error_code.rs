//! The error code on a response.

use std::borrow::Cow;

/// Why a response is a failure, in the application's own words. Put it into the response's extensions:
/// it becomes the row's `errorCode`.
///
/// Counts only if the response is a failure, and more than what [`RequestHandle::set_error_code`](crate::RequestHandle::set_error_code)
/// said; an empty one is none. Cut at 128 bytes. With axum it is part of a response: `(StatusCode::CONFLICT, ErrorCode::new("AGENT_LIMIT"), "too many agents")`.
///
/// ```
/// # let mut response = http::Response::new(());
/// response.extensions_mut().insert(audithog::ErrorCode::new("AGENT_LIMIT"));
/// # assert!(response.extensions().get::<audithog::ErrorCode>().is_some());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorCode(pub(super) Cow<'static, str>);

impl ErrorCode {
    /// A code, usually a constant.
    pub fn new(code: impl Into<Cow<'static, str>>) -> Self {
        Self(code.into())
    }

    /// The code as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
