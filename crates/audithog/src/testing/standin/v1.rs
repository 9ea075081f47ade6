//! Capture v1: `/i/v1/analytics/events`.

use std::collections::HashSet;
use std::sync::Arc;

use http::header::{HeaderValue, LOCATION, RETRY_AFTER};
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::behaviour::{Behaviour, Generation, Quota, V1Route};
use super::decode::DecodeError;
use super::event::CapturedEvent;
use super::exchange::{Incoming, Outcome};
use super::faults::Verdict;
use super::reply::Reply;
use super::times;
use super::v1_event::{self, EventContext};
use super::v1_head::{Head, Refusal, echoed_request_id};

/// A batch that is answered event by event.
struct Batch {
    judged: Vec<(Arc<CapturedEvent>, Verdict, Option<&'static str>)>,
    decompressed: usize,
}

/// Decides what becomes of a request to the v1 route. `scripted` may overrule the verdict on an event.
pub(super) fn receive(
    request: &Incoming,
    behaviour: &Behaviour,
    scripted: impl FnMut(&CapturedEvent) -> Option<Verdict>,
) -> Outcome {
    if let Some(reply) = absence(behaviour.v1) {
        return Outcome::only(reply);
    }
    let mut outcome = match request.method {
        Method::OPTIONS => Outcome::only(Reply::empty(StatusCode::OK)),
        Method::POST => match accept(request, behaviour, scripted) {
            Ok(batch) => answer(&batch, behaviour),
            Err(refusal) => Outcome::only(refusal.into_reply(behaviour.generation)),
        },
        _ => Outcome::only(Reply::empty(StatusCode::METHOD_NOT_ALLOWED)),
    };
    if let Some((name, value)) = echoed_request_id(request) {
        outcome.reply.headers.insert(name, value);
    }
    outcome
}

fn absence(route: V1Route) -> Option<Reply> {
    match route {
        V1Route::Present => None,
        V1Route::NotFound => Some(Reply::empty(StatusCode::NOT_FOUND)),
        V1Route::LoginRedirect => Some(Reply::empty(StatusCode::FOUND).header(
            LOCATION,
            HeaderValue::from_static("/login?next=/i/v1/analytics/events"),
        )),
        V1Route::CsrfForbidden => Some(Reply::html(
            StatusCode::FORBIDDEN,
            "<!doctype html><title>403 Forbidden</title><h1>CSRF verification failed.</h1>",
        )),
        V1Route::HtmlPage => Some(login_page()),
    }
}

/// What the web application of an old installation shows to whoever is not signed in.
pub(super) fn login_page() -> Reply {
    Reply::html(
        StatusCode::OK,
        "<!doctype html><title>PostHog</title><div id=root></div>",
    )
}

fn accept(
    request: &Incoming,
    behaviour: &Behaviour,
    mut scripted: impl FnMut(&CapturedEvent) -> Option<Verdict>,
) -> Result<Batch, Refusal> {
    let head = Head::read(request)?;
    let body = decoded_body(request, &head, behaviour)?;
    let events = envelope(&body)?;
    check_uuids(&events)?;
    let now = behaviour.now();
    let context = EventContext {
        token: &head.token,
        library: head.library.as_ref(),
        now,
        skew: head.sent_at.duration_since(now),
        behaviour,
    };
    let judged = events
        .into_iter()
        .map(|event| v1_event::judge(event, &context))
        .collect::<Result<Vec<_>, Refusal>>()?;
    if behaviour.quota == Quota::Exceeded {
        let status = match behaviour.generation {
            Generation::Oldest => 429,
            Generation::Middle | Generation::Newest => 402,
        };
        return Err(Refusal::new(
            status,
            "billing_limit_exceeded",
            "the project is over its quota",
        ));
    }
    let judged = judged
        .into_iter()
        .map(|judged| match scripted(&judged.event) {
            Some(verdict) => (Arc::new(judged.event), verdict, None),
            None => (Arc::new(judged.event), judged.verdict, judged.note),
        })
        .collect();
    Ok(Batch {
        judged,
        decompressed: body.len(),
    })
}

fn decoded_body(
    request: &Incoming,
    head: &Head,
    behaviour: &Behaviour,
) -> Result<Vec<u8>, Refusal> {
    let too_large = || Refusal::new(413, "payload_too_large", "the body is too large");
    if request.raw_bytes > behaviour.limits.v1_body {
        return Err(too_large());
    }
    if request.body.is_empty() {
        return Err(Refusal::new(400, "empty_body", "the body is empty"));
    }
    let limit = behaviour.limits.v1_decompressed;
    match head.encoding {
        None if request.body.len() > limit => Err(too_large()),
        None => Ok(request.body.to_vec()),
        Some(encoding) => encoding.decode(&request.body, limit).map_err(|e| match e {
            DecodeError::TooLarge => too_large(),
            DecodeError::Malformed(format) => Refusal::new(
                400,
                "request_decoding_error",
                format!("the body is not {format}"),
            ),
        }),
    }
}

/// The events of a well-formed envelope.
fn envelope(body: &[u8]) -> Result<Vec<Map<String, Value>>, Refusal> {
    let unparseable = |why: String| Refusal::new(400, "request_parsing_error", why);
    let value: Value = serde_json::from_slice(body).map_err(|e| unparseable(e.to_string()))?;
    let Value::Object(mut envelope) = value else {
        return Err(unparseable("the body is no object".to_owned()));
    };
    for flag in ["historical_migration", "capture_internal"] {
        if envelope
            .get(flag)
            .is_some_and(|value| !value.is_boolean() && !value.is_null())
        {
            return Err(unparseable(format!("`{flag}` is no boolean")));
        }
    }
    let Some(Value::String(created_at)) = envelope.get("created_at") else {
        return Err(unparseable("`created_at` is missing".to_owned()));
    };
    if times::read_rfc3339(created_at).is_none() {
        let why = format!("`created_at` is `{created_at}`, not RFC 3339");
        return Err(Refusal::new(400, "invalid_batch", why));
    }
    let Some(Value::Array(events)) = envelope.remove("batch") else {
        return Err(unparseable("`batch` is missing".to_owned()));
    };
    if events.is_empty() {
        return Err(Refusal::new(400, "empty_batch", "`batch` is empty"));
    }
    events
        .into_iter()
        .map(|event| match event {
            Value::Object(event) => Ok(event),
            _ => Err(unparseable("an event is no object".to_owned())),
        })
        .collect()
}

fn check_uuids(events: &[Map<String, Value>]) -> Result<(), Refusal> {
    let mut seen = HashSet::new();
    for event in events {
        let text = match event.get("uuid") {
            Some(Value::String(text)) => text.trim(),
            None | Some(Value::Null) => "",
            Some(_) => {
                return Err(Refusal::new(
                    400,
                    "invalid_event_uuid",
                    "a uuid is no string",
                ));
            }
        };
        if text.is_empty() {
            let why = "an event has no uuid";
            return Err(Refusal::new(400, "missing_event_uuid", why));
        }
        let Ok(uuid) = Uuid::parse_str(text) else {
            let why = format!("`{text}` is no uuid");
            return Err(Refusal::new(400, "invalid_event_uuid", why));
        };
        if !seen.insert(uuid) {
            let why = format!("{uuid} is in the batch twice");
            return Err(Refusal::new(400, "duplicate_event_uuid", why));
        }
    }
    Ok(())
}

fn answer(batch: &Batch, behaviour: &Behaviour) -> Outcome {
    let mut results = Map::new();
    let mut stored = Vec::new();
    let mut asks_for_retry = false;
    for (event, verdict, note) in &batch.judged {
        let (result, details) = on_the_wire(verdict, *note);
        if let Some(result) = result {
            let mut entry = json!({"result": result});
            if let Some(details) = details {
                entry["details"] = json!(details);
            }
            results.insert(event.uuid.to_string(), entry);
        }
        asks_for_retry |= *verdict == Verdict::Retry;
        if stores(verdict) && behaviour.knows(&event.token) {
            stored.push(Arc::clone(event));
        }
    }
    let mut reply = Reply::json(StatusCode::OK, &json!({"results": results}));
    if asks_for_retry {
        reply = reply.header(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    Outcome {
        reply,
        events: batch.judged.iter().map(|(e, ..)| Arc::clone(e)).collect(),
        stored,
        decompressed_bytes: Some(batch.decompressed),
    }
}

/// `result` and `details`; no result is an event left out.
fn on_the_wire<'a>(
    verdict: &'a Verdict,
    note: Option<&'a str>,
) -> (Option<&'a str>, Option<&'a str>) {
    match verdict {
        Verdict::Ok => (Some("ok"), note),
        Verdict::Warning(details) => (Some("warning"), Some(details)),
        Verdict::Drop(details) => (Some("drop"), Some(details)),
        Verdict::Limited(details) => (Some("limited"), Some(details)),
        Verdict::Retry => (Some("retry"), Some("not_persisted")),
        Verdict::Missing { .. } => (None, None),
        Verdict::Other(result) => (Some(result), None),
    }
}

fn stores(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Ok | Verdict::Warning(_) | Verdict::Missing { stored: true } => true,
        Verdict::Limited(details) => details == "person_processing_disabled",
        Verdict::Drop(_)
        | Verdict::Retry
        | Verdict::Missing { stored: false }
        | Verdict::Other(_) => false,
    }
}
