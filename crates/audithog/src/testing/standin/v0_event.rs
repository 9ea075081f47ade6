//! One event of a v0 payload. Whatever is wrong with it refuses the whole payload.

use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::event::CapturedEvent;
use super::times::{self, GivenTime};
use super::v0::Refusal;

/// Longer distinct ids are cut to this many characters.
const MAX_DISTINCT_ID_CHARS: usize = 200;

/// What an event takes from the request around it.
pub(super) struct EventContext<'a> {
    pub(super) token: &'a str,
    pub(super) now: Timestamp,
    pub(super) sent_at: Option<Timestamp>,
}

/// The token that an event carries itself.
pub(super) fn token(event: &Map<String, Value>) -> Option<String> {
    ["token", "$token", "api_key"]
        .iter()
        .find_map(|name| event.get(*name))
        .or_else(|| event.get("properties")?.get("token"))
        .and_then(Value::as_str)
        .map(str::to_owned)
}

pub(super) fn read(
    mut event: Map<String, Value>,
    context: &EventContext<'_>,
) -> Result<CapturedEvent, Refusal> {
    let name = match event.get("event") {
        Some(Value::String(name)) if !name.is_empty() => name.clone(),
        Some(Value::String(_)) | None => {
            return Err(Refusal::bad_request("an event has no name"));
        }
        Some(_) => return Err(Refusal::bad_request("`event` is no string")),
    };
    let uuid = uuid(&event)?;
    let timestamp_given = optional_string(&event, "timestamp")?;
    let offset_ms = offset(&event)?;
    let mut properties = match event.remove("properties") {
        None => Map::new(),
        Some(Value::Object(properties)) => properties,
        Some(_) => return Err(Refusal::bad_request("`properties` is no object")),
    };
    let distinct_id = distinct_id(&event, &properties)?;
    for name in ["$set", "$set_once"] {
        match event.remove(name) {
            None | Some(Value::Null) => {}
            Some(object @ Value::Object(_)) => {
                properties.insert(name.to_owned(), object);
            }
            Some(_) => return Err(Refusal::bad_request(format!("`{name}` is no object"))),
        }
    }
    let cookieless = properties.get("$cookieless_mode");
    if cookieless.is_some_and(|mode| !mode.is_boolean()) {
        return Err(Refusal::bad_request("`$cookieless_mode` is no boolean"));
    }
    let ignores_sent_at = properties.get("$ignore_sent_at") == Some(&Value::Bool(true));
    let given = GivenTime {
        timestamp: timestamp_given.as_deref(),
        offset_ms,
        sent_at: context.sent_at.filter(|_| !ignores_sent_at),
    };
    Ok(CapturedEvent {
        uuid,
        event: name,
        distinct_id,
        timestamp: times::stored(given, context.now),
        timestamp_given,
        created: context.now,
        properties,
        token: context.token.to_owned(),
    })
}

/// A field that is absent, null or a string.
pub(super) fn optional_string(
    object: &Map<String, Value>,
    name: &str,
) -> Result<Option<String>, Refusal> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Refusal::bad_request(format!("`{name}` is no string"))),
    }
}

fn uuid(event: &Map<String, Value>) -> Result<Uuid, Refusal> {
    match optional_string(event, "uuid")?.as_deref() {
        // One per request: a client that leaves the uuid out makes a duplicate with each retry.
        None | Some("") => Ok(Uuid::now_v7()),
        Some(text) => {
            Uuid::parse_str(text).map_err(|_| Refusal::bad_request(format!("`{text}` is no uuid")))
        }
    }
}

fn offset(event: &Map<String, Value>) -> Result<Option<i64>, Refusal> {
    match event.get("offset") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_i64()
            .map(Some)
            .ok_or_else(|| Refusal::bad_request("`offset` is no integer")),
    }
}

fn distinct_id(
    event: &Map<String, Value>,
    properties: &Map<String, Value>,
) -> Result<String, Refusal> {
    let value = [
        event.get("distinct_id"),
        event.get("$distinct_id"),
        properties.get("distinct_id"),
    ]
    .into_iter()
    .flatten()
    .find(|value| !value.is_null());
    let text = match value {
        None => return Err(Refusal::bad_request("an event has no distinct_id")),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let text = text.replace('\0', "\u{fffd}");
    if text.trim().is_empty() {
        return Err(Refusal::bad_request("a distinct_id is blank"));
    }
    Ok(text.chars().take(MAX_DISTINCT_ID_CHARS).collect())
}
