//! Capture v0: `/batch` and its older siblings.

use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW,
    HeaderValue,
};
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::behaviour::{Behaviour, Quota};
use super::decode::{DecodeError, Encoding, is_gzip, parameter};
use super::event::CapturedEvent;
use super::exchange::{Incoming, Outcome, Route};
use super::reply::Reply;
use super::v0_event::{self, EventContext};
use super::{times, token};

/// A request refused as a whole.
#[derive(Debug)]
pub(super) struct Refusal(StatusCode, String);

impl Refusal {
    pub(super) fn bad_request(why: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, why.into())
    }

    pub(super) fn unauthorized(why: impl Into<String>) -> Self {
        Self(StatusCode::UNAUTHORIZED, why.into())
    }

    fn too_large(why: impl Into<String>) -> Self {
        Self(StatusCode::PAYLOAD_TOO_LARGE, why.into())
    }
}

/// Decides what becomes of a request to a v0 route.
pub(super) fn receive(request: &Incoming, behaviour: &Behaviour) -> Outcome {
    let mut outcome = match request.method {
        Method::OPTIONS => Outcome::only(preflight()),
        Method::GET | Method::POST => accept(request, behaviour)
            .unwrap_or_else(|Refusal(status, why)| Outcome::only(Reply::text(status, why))),
        _ => Outcome::only(
            Reply::empty(StatusCode::METHOD_NOT_ALLOWED)
                .header(ALLOW, HeaderValue::from_static("GET, POST, OPTIONS")),
        ),
    };
    outcome
        .reply
        .headers
        .insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    outcome
}

fn preflight() -> Reply {
    Reply::empty(StatusCode::OK)
        .header(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, POST, OPTIONS"),
        )
        .header(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*"))
}

fn accept(request: &Incoming, behaviour: &Behaviour) -> Result<Outcome, Refusal> {
    let body = decoded_body(request, behaviour)?;
    let decompressed = body.len();
    let payload = parse(&body)?;
    let events = payload.into_events(request, behaviour.now())?;
    let events: Vec<Arc<CapturedEvent>> = events.into_iter().map(Arc::new).collect();
    let (reply, stored) = fate(request, behaviour, &events);
    Ok(Outcome {
        reply,
        events,
        stored,
        decompressed_bytes: Some(decompressed),
    })
}

/// What is answered for well-formed events, and which of them are stored.
fn fate(
    request: &Incoming,
    behaviour: &Behaviour,
    events: &[Arc<CapturedEvent>],
) -> (Reply, Vec<Arc<CapturedEvent>>) {
    let accepted = || {
        let query = request.query.as_deref().unwrap_or_default();
        if parameter(query, "beacon").as_deref() == Some("1") {
            Reply::empty(StatusCode::NO_CONTENT)
        } else {
            Reply::json(StatusCode::OK, &json!({"status": "Ok"}))
        }
    };
    let all_performance = events.iter().all(|e| e.event == "$performance_event");
    if all_performance || behaviour.quota == Quota::Exceeded {
        return (accepted(), Vec::new());
    }
    // Each event is produced on its own: one that is too large fails the request, the others are stored all the same.
    let (fitting, too_large): (Vec<_>, Vec<_>) = events
        .iter()
        .filter(|event| behaviour.knows(&event.token))
        .filter(|event| behaviour.quota.scoped_refusal(&event.event).is_none())
        .cloned()
        .partition(|event| event.size_on_the_bus() <= behaviour.limits.event);
    if too_large.is_empty() {
        (accepted(), fitting)
    } else {
        let reply = Reply::text(StatusCode::PAYLOAD_TOO_LARGE, "event too large");
        (reply, fitting)
    }
}

fn decoded_body(request: &Incoming, behaviour: &Behaviour) -> Result<Vec<u8>, Refusal> {
    let limit = match request.route {
        Route::V0Batch => behaviour.limits.v0_batch,
        _ => behaviour.limits.v0_event,
    };
    if request.raw_bytes > limit {
        return Err(Refusal::too_large("the body is too large"));
    }
    let (data, form_hint) = payload_bytes(request);
    if data.is_empty() {
        return Err(Refusal::bad_request("the body is empty"));
    }
    let encoding = if is_gzip(&data) {
        Some(Encoding::Gzip)
    } else {
        hint(request, form_hint)
    };
    let decoded = match encoding {
        None => Ok(data),
        Some(encoding) => encoding.decode(&data, limit),
    };
    // A form's base64 may wrap gzip.
    let decoded = decoded.and_then(|data| {
        if is_gzip(&data) {
            Encoding::Gzip.decode(&data, limit)
        } else {
            Ok(data)
        }
    });
    decoded.map_err(|error| match error {
        DecodeError::TooLarge => Refusal::too_large("the decompressed body is too large"),
        DecodeError::Malformed(format) => Refusal::bad_request(format!("the body is not {format}")),
    })
}

/// The payload and the compression that a form names: the body, a form's `data`, or the query's `data`.
fn payload_bytes(request: &Incoming) -> (Vec<u8>, Option<String>) {
    let query = request.query.as_deref().unwrap_or_default();
    if request.body.is_empty() {
        let data = parameter(query, "data").unwrap_or_default();
        return (data.into_bytes(), None);
    }
    let is_form = request
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if is_form
        && let Ok(form) = std::str::from_utf8(&request.body)
        && let Some(data) = parameter(form, "data")
    {
        return (data.into_bytes(), parameter(form, "compression"));
    }
    (request.body.to_vec(), None)
}

/// The compression named by the query, the form or the header, in this order. zstd, brotli and deflate mean nothing
/// here: such a body is read as it is, and fails as JSON.
fn hint(request: &Incoming, form: Option<String>) -> Option<Encoding> {
    let query = request.query.as_deref().unwrap_or_default();
    let word = parameter(query, "compression")
        .or(form)
        .or_else(|| request.header("content-encoding").map(str::to_owned))?;
    match word.as_str() {
        "gzip" | "gzip-js" => Some(Encoding::Gzip),
        "base64" | "b64" => Some(Encoding::Base64),
        _ => None,
    }
}

/// The three forms a payload may have.
struct Payload {
    envelope_token: Option<String>,
    sent_at: Option<Timestamp>,
    events: Vec<Map<String, Value>>,
}

fn parse(body: &[u8]) -> Result<Payload, Refusal> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Refusal::bad_request(format!("the body is not JSON: {error}")))?;
    let mut envelope = match value {
        Value::Array(events) => return bare(events),
        Value::Object(object) => object,
        _ => return Err(Refusal::bad_request("the body is no event")),
    };
    let events = match envelope.remove("batch") {
        None => return bare(vec![Value::Object(envelope)]),
        Some(Value::Array(events)) => objects(events)?,
        Some(_) => return Err(Refusal::bad_request("`batch` is no array")),
    };
    let historical = envelope.get("historical_migration");
    if historical.is_some_and(|flag| !flag.is_boolean()) {
        return Err(Refusal::bad_request("`historical_migration` is no boolean"));
    }
    let envelope_token = v0_event::optional_string(&envelope, "api_key")?
        .or(v0_event::optional_string(&envelope, "token")?);
    let sent_at = v0_event::optional_string(&envelope, "sent_at")?;
    Ok(Payload {
        envelope_token,
        sent_at: sent_at.as_deref().and_then(times::read_instant),
        events,
    })
}

fn bare(events: Vec<Value>) -> Result<Payload, Refusal> {
    Ok(Payload {
        envelope_token: None,
        sent_at: None,
        events: objects(events)?,
    })
}

fn objects(events: Vec<Value>) -> Result<Vec<Map<String, Value>>, Refusal> {
    if events.is_empty() {
        return Err(Refusal::bad_request("the batch is empty"));
    }
    events
        .into_iter()
        .map(|event| match event {
            Value::Object(event) => Ok(event),
            _ => Err(Refusal::bad_request("an event is no object")),
        })
        .collect()
}

impl Payload {
    fn into_events(
        self,
        request: &Incoming,
        now: Timestamp,
    ) -> Result<Vec<CapturedEvent>, Refusal> {
        let token = match &self.envelope_token {
            Some(token) => token.clone(),
            None => shared_token(&self.events)?,
        };
        let token = token::check(&token).map_err(Refusal::unauthorized)?;
        let query = request.query.as_deref().unwrap_or_default();
        let context = EventContext {
            token,
            now,
            sent_at: self.sent_at.or_else(|| {
                parameter(query, "_")
                    .as_deref()
                    .and_then(times::read_query_millis)
            }),
        };
        self.events
            .into_iter()
            .map(|event| v0_event::read(event, &context))
            .collect()
    }
}

/// The token that all events agree on.
fn shared_token(events: &[Map<String, Value>]) -> Result<String, Refusal> {
    let mut tokens = events.iter().map(v0_event::token);
    let first = tokens.next().flatten();
    let first = first.ok_or_else(|| Refusal::unauthorized("there is no token"))?;
    if tokens.all(|token| token.as_deref() == Some(&first)) {
        Ok(first)
    } else {
        Err(Refusal::unauthorized("the events have different tokens"))
    }
}
