//! PostHog's capture, v0 and v1: every event has its uuid as a text, and nothing else is looked at.

use memchr::memmem;

use super::Counts;
use super::connection::respond;
use crate::http::Head;

const KEY: &[u8] = b"\"uuid\":\"";
const TEXT: usize = 36;

pub(super) fn v0(_: &Head<'_>, body: &[u8], counts: &mut Counts, output: &mut Vec<u8>) -> bool {
    if !body.starts_with(b"{") {
        return false;
    }
    for text in uuids(body) {
        counts.event(uuid(text));
    }
    respond(output, 200, &[], b"{\"status\":\"Ok\"}");
    true
}

pub(super) fn v1(head: &Head<'_>, body: &[u8], counts: &mut Counts, output: &mut Vec<u8>) -> bool {
    if !body.starts_with(b"{") {
        return false;
    }
    let mut results = Vec::with_capacity(16 << 10);
    results.extend_from_slice(b"{\"results\":{");
    for (number, text) in uuids(body).enumerate() {
        counts.event(uuid(text));
        results.extend_from_slice(if number == 0 { b"\"" } else { b",\"" });
        results.extend_from_slice(text);
        results.extend_from_slice(b"\":{\"result\":\"ok\"}");
    }
    results.extend_from_slice(b"}}");
    let id = head.header("posthog-request-id").unwrap_or_default();
    respond(output, 200, &[("posthog-request-id", id)], &results);
    true
}

/// The texts of the uuids in a body. Inside of a JSON text the key's quotes are escaped, so that it is not found there.
fn uuids(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    memmem::find_iter(body, KEY).filter_map(|at| body.get(at + KEY.len()..at + KEY.len() + TEXT))
}

fn uuid(text: &[u8]) -> u128 {
    text.iter().fold(0, |uuid, byte| match byte {
        b'0'..=b'9' => (uuid << 4) | u128::from(byte - b'0'),
        b'a'..=b'f' => (uuid << 4) | u128::from(byte - b'a' + 10),
        b'A'..=b'F' => (uuid << 4) | u128::from(byte - b'A' + 10),
        _ => uuid,
    })
}
