//! How a request ended.

use std::sync::LazyLock;

use super::text::{SharedText, Text};

/// The way an exchange came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The server took the last byte of the response, or a head that has no body.
    Complete,
    /// The service future was dropped before it returned a response.
    ClientClosedBeforeResponse,
    /// The response body was dropped before its end.
    ClientClosedMidBody,
    /// The handler or the body panicked.
    Panic,
    /// The body returned an error.
    ResponseBodyError,
    /// The inner service returned an error instead of a response.
    ServiceError,
    /// Still open when the shutdown deadline passed.
    ServerShutdown,
}

/// `result` in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    Failure,
    /// None yet: the row says that the request is about to be handled.
    Open,
}

impl End {
    /// `errorCode` of an abnormal end; none for a complete one.
    pub(crate) fn error_code(self) -> Option<&'static str> {
        match self {
            Self::Complete => None,
            Self::ClientClosedBeforeResponse => Some("CLIENT_CLOSED_BEFORE_RESPONSE"),
            Self::ClientClosedMidBody => Some("CLIENT_CLOSED_MID_BODY"),
            Self::Panic => Some("PANIC"),
            Self::ResponseBodyError => Some("RESPONSE_BODY_ERROR"),
            Self::ServiceError => Some("SERVICE_ERROR"),
            Self::ServerShutdown => Some("SERVER_SHUTDOWN"),
        }
    }
}

impl Outcome {
    pub(crate) fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Success => Some("success"),
            Self::Failure => Some("failure"),
            Self::Open => None,
        }
    }

    /// Failure for 4xx, 5xx, a non-zero gRPC status and every abnormal end.
    pub(crate) fn of(end: End, status: Option<u16>, grpc_status: Option<u32>) -> Self {
        let refused = status.is_some_and(|status| status >= 400);
        if end != End::Complete || refused || grpc_status.is_some_and(|code| code != 0) {
            Self::Failure
        } else {
            Self::Success
        }
    }
}

/// `errorCode` derived from the status or the gRPC status when the application set none.
pub(crate) fn derived_error_code(
    end: End,
    status: Option<u16>,
    grpc_status: Option<u32>,
) -> Option<SharedText> {
    if let Some(code) = end.error_code() {
        return Some(Text::constant(code).into());
    }
    match (status, grpc_status) {
        (Some(status), _) if status >= 400 => Some(status_code(status)),
        (_, Some(code)) if code != 0 => Some(grpc_code(code).into()),
        _ => None,
    }
}

/// Rows share what is common: it needs no making.
static COMMON: LazyLock<[(u16, SharedText); 12]> = LazyLock::new(|| {
    [
        (400, "BAD_REQUEST"),
        (401, "UNAUTHORIZED"),
        (403, "FORBIDDEN"),
        (404, "NOT_FOUND"),
        (405, "METHOD_NOT_ALLOWED"),
        (409, "CONFLICT"),
        (422, "UNPROCESSABLE_ENTITY"),
        (429, "TOO_MANY_REQUESTS"),
        (500, "INTERNAL_SERVER_ERROR"),
        (502, "BAD_GATEWAY"),
        (503, "SERVICE_UNAVAILABLE"),
        (504, "GATEWAY_TIMEOUT"),
    ]
    .map(|(status, code)| (status, Text::constant(code).into()))
});

fn status_code(status: u16) -> SharedText {
    let known = COMMON.iter().find(|(known, _)| *known == status);
    known.map_or_else(|| made_of_reason(status).into(), |(_, code)| code.clone())
}

/// `NOT_FOUND` for 404 (the reason phrase of RFC 9110), `HTTP_499` where there is none.
fn made_of_reason(status: u16) -> Text {
    let reason = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason());
    match reason {
        // "I'm a teapot" and the like: anything but letters becomes one underscore.
        Some(reason) => reason
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join("_")
            .to_ascii_uppercase()
            .into(),
        None => format!("HTTP_{status}").into(),
    }
}

/// Names of the gRPC status codes (grpc/grpc: doc/statuscodes.md).
fn grpc_code(code: u32) -> Text {
    const NAMES: [&str; 17] = [
        "GRPC_OK",
        "GRPC_CANCELLED",
        "GRPC_UNKNOWN",
        "GRPC_INVALID_ARGUMENT",
        "GRPC_DEADLINE_EXCEEDED",
        "GRPC_NOT_FOUND",
        "GRPC_ALREADY_EXISTS",
        "GRPC_PERMISSION_DENIED",
        "GRPC_RESOURCE_EXHAUSTED",
        "GRPC_FAILED_PRECONDITION",
        "GRPC_ABORTED",
        "GRPC_OUT_OF_RANGE",
        "GRPC_UNIMPLEMENTED",
        "GRPC_INTERNAL",
        "GRPC_UNAVAILABLE",
        "GRPC_DATA_LOSS",
        "GRPC_UNAUTHENTICATED",
    ];
    match NAMES.get(code as usize) {
        Some(name) => Text::constant(name),
        None => format!("GRPC_{code}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{made_of_reason, status_code};

    #[test]
    fn a_common_code_is_the_one_that_would_be_made() {
        for status in 400..600 {
            assert_eq!(*status_code(status), *made_of_reason(status), "{status}");
        }
    }
}
