//! A blocking HTTP/1.1 client: one connection per request, headers and bytes exactly as given.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::testing::PostHogStandIn;

pub(super) const TOKEN: &str = "phc_test";
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const LONG: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }
}

pub(super) fn send(
    posthog: &PostHogStandIn,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(posthog.address())?;
    // Only a bound: no test waits for it to pass.
    stream.set_read_timeout(Some(LONG))?;
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "no reply"))?;
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    Ok(Answer {
        status: status.expect("a status line"),
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

pub(super) fn post(posthog: &PostHogStandIn, path: &str, body: &Value) -> Answer {
    send(posthog, "POST", path, &[], body.to_string().as_bytes()).expect("a reply")
}

/// A well-formed event for both protocols, its uuid ending in `n`.
pub(super) fn event(n: u32) -> Value {
    json!({
        "event": "api_request",
        "uuid": uuid(n),
        "distinct_id": "u1",
        "timestamp": "2026-03-01T10:00:00.123456Z",
        "properties": {"n": n, "text": "żółw \u{1f422}"},
    })
}

pub(super) fn uuid(n: u32) -> String {
    format!("01890000-0000-7000-8000-{n:012x}")
}

/// `event` with `change` laid over it; null removes a field.
pub(super) fn event_with(n: u32, change: &Value) -> Value {
    let mut event = event(n);
    for (name, value) in change.as_object().expect("an object") {
        if value.is_null() {
            event.as_object_mut().expect("an object").remove(name);
        } else {
            event[name] = value.clone();
        }
    }
    event
}

pub(super) fn v0_batch(events: &[Value]) -> Value {
    json!({"api_key": TOKEN, "batch": events})
}

pub(super) fn post_v0(posthog: &PostHogStandIn, events: &[Value]) -> Answer {
    post(posthog, "/batch/", &v0_batch(events))
}

/// The headers that v1 asks for.
pub(super) fn v1_headers() -> Vec<(&'static str, &'static str)> {
    vec![
        ("authorization", "Bearer phc_test"),
        ("content-type", "application/json; charset=utf-8"),
        ("user-agent", "test/1"),
        ("posthog-sdk-info", "test/rs/1.2"),
        ("posthog-attempt", "1"),
        ("posthog-request-id", "01890000-0000-7000-8000-aaaaaaaaaaaa"),
        ("posthog-request-timestamp", NOW),
    ]
}

/// What the server's clock shows in tests that are about time.
pub(super) const NOW: &str = "2026-03-01T12:00:00Z";

pub(super) fn at_noon() -> PostHogStandIn {
    let posthog = PostHogStandIn::start().expect("a stand-in");
    posthog.configure(|behaviour| behaviour.now = NOW.parse().ok());
    posthog
}

pub(super) fn v1_batch(events: &[Value]) -> Value {
    json!({"created_at": NOW, "batch": events})
}

pub(super) fn post_v1(posthog: &PostHogStandIn, events: &[Value]) -> Answer {
    let body = v1_batch(events).to_string();
    send_v1(posthog, &v1_headers(), body.as_bytes())
}

pub(super) fn send_v1(posthog: &PostHogStandIn, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    send(posthog, "POST", "/i/v1/analytics/events", headers, body).expect("a reply")
}
