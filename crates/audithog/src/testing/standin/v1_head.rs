//! The head of a capture v1 request, and the refusals of whole requests.

use http::StatusCode;
use http::header::{ACCEPT, ACCEPT_ENCODING, HeaderName, HeaderValue, RETRY_AFTER};
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::behaviour::Generation;
use super::decode::Encoding;
use super::exchange::Incoming;
use super::reply::Reply;
use super::{times, token};

pub(super) const REQUEST_ID: &str = "posthog-request-id";

/// Longest `PostHog-Sdk-Info` that is looked at.
const MAX_SDK_INFO_CHARS: usize = 200;

/// A v1 request refused as a whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) error: &'static str,
    pub(super) description: String,
}

impl Refusal {
    pub(super) fn new(status: u16, error: &'static str, description: impl Into<String>) -> Self {
        Self {
            // All statuses here are constants of this module's own.
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            error,
            description: description.into(),
        }
    }

    pub(super) fn into_reply(self, generation: Generation) -> Reply {
        let over_quota = self.error == "billing_limit_exceeded";
        let uri = match generation {
            Generation::Middle if over_quota => Some("https://posthog.com/docs/billing/limits"),
            _ => None,
        };
        let body = json!({
            "error": self.error,
            "error_description": self.description,
            "error_uri": uri,
        });
        let mut reply = Reply::json(self.status, &body)
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .header(
                ACCEPT_ENCODING,
                HeaderValue::from_static("gzip, deflate, br, zstd"),
            );
        if let Some(seconds) = retry_after(generation, self.status) {
            reply = reply.header(RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        reply
    }
}

fn retry_after(generation: Generation, status: StatusCode) -> Option<&'static str> {
    match (generation, status.as_u16()) {
        (Generation::Oldest, 429 | 500 | 503) | (Generation::Middle, 429) => Some("60"),
        (Generation::Newest, 408 | 429 | 500..) => Some("1"),
        _ => None,
    }
}

/// What a well-formed head says.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) token: String,
    pub(super) encoding: Option<Encoding>,
    /// The client's clock at the time of sending.
    pub(super) sent_at: Timestamp,
    /// Name and version of the client's library.
    pub(super) library: Option<(String, String)>,
}

impl Head {
    pub(super) fn read(request: &Incoming) -> Result<Self, Refusal> {
        check_content_type(request)?;
        let token = bearer(request)?;
        let sent_at = required_headers(request)?;
        Ok(Self {
            token,
            encoding: encoding(request)?,
            sent_at,
            library: request.header("posthog-sdk-info").and_then(library),
        })
    }
}

fn check_content_type(request: &Incoming) -> Result<(), Refusal> {
    let kind = request.header("content-type").unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(Refusal::new(
            415,
            "unsupported_content_type",
            format!("content type `{kind}` is not application/json"),
        ))
    }
}

fn bearer(request: &Incoming) -> Result<String, Refusal> {
    let Some(value) = request.header("authorization") else {
        return Err(Refusal::new(
            401,
            "missing_authorization",
            "there is no Authorization header",
        ));
    };
    let (scheme, credentials) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::new(
            400,
            "invalid_header_value",
            "Authorization is not a Bearer token",
        ));
    }
    token::check(credentials)
        .map(str::to_owned)
        .map_err(|why| Refusal::new(401, "invalid_api_token", why))
}

/// Checks the required headers and returns the time of sending.
fn required_headers(request: &Incoming) -> Result<Timestamp, Refusal> {
    let get = |name: &'static str| request.header(name).filter(|value| !value.is_empty());
    let missing: Vec<&str> = [
        "user-agent",
        "posthog-sdk-info",
        "posthog-attempt",
        REQUEST_ID,
        "posthog-request-timestamp",
    ]
    .into_iter()
    .filter(|name| get(name).is_none())
    .collect();
    if !missing.is_empty() {
        return Err(Refusal::new(
            400,
            "missing_required_headers",
            format!("missing: {}", missing.join(", ")),
        ));
    }
    let invalid = |name: &str| {
        let description = format!("`{name}` cannot be read");
        Refusal::new(400, "invalid_header_value", description)
    };
    get("posthog-attempt")
        .and_then(|attempt| attempt.parse::<u32>().ok())
        .filter(|attempt| *attempt >= 1)
        .ok_or_else(|| invalid("posthog-attempt"))?;
    get(REQUEST_ID)
        .and_then(|id| Uuid::parse_str(id).ok())
        .ok_or_else(|| invalid(REQUEST_ID))?;
    get("posthog-request-timestamp")
        .and_then(times::read_rfc3339)
        .ok_or_else(|| invalid("posthog-request-timestamp"))
}

fn encoding(request: &Incoming) -> Result<Option<Encoding>, Refusal> {
    match request.header("content-encoding") {
        None | Some("" | "identity") => Ok(None),
        Some("gzip") => Ok(Some(Encoding::Gzip)),
        Some("deflate") => Ok(Some(Encoding::Deflate)),
        Some("br") => Ok(Some(Encoding::Brotli)),
        Some("zstd") => Ok(Some(Encoding::Zstd)),
        Some(other) => Err(Refusal::new(
            415,
            "unsupported_encoding",
            format!("`{other}` is not understood"),
        )),
    }
}

/// `name/version`, split at the last slash; a malformed one is ignored, not refused.
fn library(info: &str) -> Option<(String, String)> {
    if info.chars().count() > MAX_SDK_INFO_CHARS {
        return None;
    }
    let (name, version) = info.rsplit_once('/')?;
    (!name.is_empty() && !version.is_empty()).then(|| (name.to_owned(), version.to_owned()))
}

/// The header that is echoed, if it was sent.
pub(super) fn echoed_request_id(request: &Incoming) -> Option<(HeaderName, HeaderValue)> {
    let value = request.headers.get(REQUEST_ID)?.clone();
    Some((HeaderName::from_static(REQUEST_ID), value))
}
