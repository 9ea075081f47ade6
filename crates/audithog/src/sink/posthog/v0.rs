//! Capture v0: `POST /batch/`, one answer for the whole batch.

use std::io;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};

use super::body::{Body, Encoding};
use super::event::Protocol;
use super::{PosthogSink, Request, json};

/// No `sent_at`: with it PostHog would correct each try's timestamps anew, and around midnight a
/// corrected time defeats its de-duplication.
pub(super) fn body(
    sink: &PosthogSink,
    request: &Request<'_>,
    encoding: Encoding,
) -> io::Result<Vec<u8>> {
    let mut press = sink.press();
    let mut body = Body::new(&mut press, encoding, request.weight())?;
    let start = body.end();
    start.extend_from_slice(br#"{"api_key":"#);
    json::string(start, sink.key());
    start.extend_from_slice(br#","batch":["#);
    sink.write_events(&mut body, request, Protocol::V0)?;
    body.end().extend_from_slice(b"]}");
    body.finish()
}

pub(super) fn headers(encoding: Encoding) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(name) = encoding.name() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    headers
}
