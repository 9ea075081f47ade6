//! Capture v1: `POST /i/v1/analytics/events`, a verdict for each event.

use std::io;

use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::body::{Body, Encoding};
use super::event::Protocol;
use super::http::USER_AGENT;
use super::{PosthogSink, Request};
use crate::record::Micros;
use crate::sink::Attempt;

/// `name/version`; the server makes `$lib` and `$lib_version` from it.
const SDK_INFO: HeaderName = HeaderName::from_static("posthog-sdk-info");
/// From 1, grows with each try.
const ATTEMPT: HeaderName = HeaderName::from_static("posthog-attempt");
/// The same for all tries of a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("posthog-request-id");
/// Fresh for each try.
const REQUEST_TIMESTAMP: HeaderName = HeaderName::from_static("posthog-request-timestamp");

pub(super) fn body(
    sink: &PosthogSink,
    request: &Request<'_>,
    encoding: Encoding,
) -> io::Result<Vec<u8>> {
    let mut press = sink.press();
    let mut body = Body::new(&mut press, encoding, request.weight())?;
    let open = format!(r#"{{"created_at":"{}","batch":["#, request.attempt.created);
    body.end().extend_from_slice(open.as_bytes());
    sink.write_events(&mut body, request, Protocol::V1)?;
    body.end().extend_from_slice(b"]}");
    body.finish()
}

/// All that v1 requires, except `User-Agent`, which the client sets.
pub(super) fn headers(
    key: &HeaderValue,
    attempt: Attempt,
    now: Micros,
    encoding: Encoding,
) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(AUTHORIZATION, key.clone());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(SDK_INFO, HeaderValue::from_static(USER_AGENT));
    headers.insert(ATTEMPT, HeaderValue::from(attempt.number.max(1)));
    shown(
        &mut headers,
        REQUEST_ID,
        &attempt.request.as_hyphenated().to_string(),
    );
    shown(&mut headers, REQUEST_TIMESTAMP, &now.to_string());
    if let Some(name) = encoding.name() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    headers
}

/// For text that a header can always hold: ids and times.
fn shown(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}
