//! One event of a v1 batch: its fields, and capture's verdict on it.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::behaviour::{Behaviour, Generation};
use super::event::CapturedEvent;
use super::faults::Verdict;
use super::times;
use super::v1_head::Refusal;

/// Longest event name and distinct id, in bytes.
const MAX_NAME_BYTES: usize = 200;

/// Distinct ids that are taken for a client's bug, in lower case.
const PLACEHOLDERS: [&str; 20] = [
    "0",
    "00000000-0000-0000-0000-000000000000",
    "[object object]",
    "anonymous",
    "anonymous-user",
    "backend",
    "distinct_id",
    "distinctid",
    "email",
    "false",
    "guest",
    "id",
    "nan",
    "none",
    "not_authenticated",
    "null",
    "system",
    "true",
    "undefined",
    "user",
];

const PERSON_PROCESSING_DISABLED: &str = "person_processing_disabled";

/// What an event takes from the request around it.
pub(super) struct EventContext<'a> {
    pub(super) token: &'a str,
    pub(super) library: Option<&'a (String, String)>,
    pub(super) now: Timestamp,
    /// The client's clock minus the server's.
    pub(super) skew: SignedDuration,
    pub(super) behaviour: &'a Behaviour,
}

/// An event and what capture says about it.
pub(super) struct Judged {
    pub(super) event: CapturedEvent,
    pub(super) verdict: Verdict,
    /// Details beside an `ok`.
    pub(super) note: Option<&'static str>,
}

/// Reads an event whose uuid has been checked. An error refuses the whole batch.
pub(super) fn judge(
    mut raw: Map<String, Value>,
    context: &EventContext<'_>,
) -> Result<Judged, Refusal> {
    let name = required_string(&raw, "event")?.to_owned();
    let distinct_id = required_string(&raw, "distinct_id")?.trim().to_owned();
    let given = required_string(&raw, "timestamp")?.to_owned();
    let uuid = required_string(&raw, "uuid")?.trim();
    let uuid = Uuid::parse_str(uuid).map_err(|_| {
        let why = format!("`{uuid}` is no uuid");
        Refusal::new(400, "invalid_event_uuid", why)
    })?;
    let options = Options::read(raw.get("options"));
    if let Err(why) = &options
        && context.behaviour.generation == Generation::Oldest
    {
        let why = format!("`{why}` has the wrong type");
        return Err(Refusal::new(400, "request_parsing_error", why));
    }
    let properties = match raw.remove("properties") {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(properties)) => Ok(properties),
        Some(_) => Err("malformed_event_properties"),
    };
    let mut refusal = refusal(&name, &distinct_id, &given, context)
        .or_else(|| properties.as_ref().err().copied())
        .or_else(|| options.as_ref().err().map(|_| "invalid_options"));
    let options = options.unwrap_or_default();
    let mut properties = properties.unwrap_or_default();
    options.write_back(&raw, context.library, &mut properties);
    let event = CapturedEvent {
        uuid,
        event: name,
        distinct_id,
        timestamp: stored_timestamp(&given, &options, context),
        timestamp_given: Some(given),
        created: context.behaviour.now(),
        properties,
        token: context.token.to_owned(),
    };
    if event.size_on_the_bus() > context.behaviour.limits.event {
        refusal = refusal.or(Some("event_too_big"));
    }
    let (verdict, note) = verdict(&event, refusal, context.behaviour);
    Ok(Judged {
        event,
        verdict,
        note,
    })
}

fn required_string<'a>(raw: &'a Map<String, Value>, name: &str) -> Result<&'a str, Refusal> {
    raw.get(name).and_then(Value::as_str).ok_or_else(|| {
        let why = format!("`{name}` is missing or no string");
        Refusal::new(400, "request_parsing_error", why)
    })
}

/// Why this event is dropped for good, if it is.
fn refusal(
    name: &str,
    distinct_id: &str,
    timestamp: &str,
    context: &EventContext<'_>,
) -> Option<&'static str> {
    if name.is_empty() {
        Some("missing_event_name")
    } else if name.len() > MAX_NAME_BYTES {
        Some("event_name_too_long")
    } else if distinct_id.is_empty() {
        Some("missing_distinct_id")
    } else if distinct_id.len() > MAX_NAME_BYTES {
        Some("distinct_id_too_large")
    } else if times::read_rfc3339(timestamp).is_none() {
        Some("invalid_event_timestamp")
    } else if name == "$performance_event" {
        Some("dropped_performance_event")
    } else if is_placeholder(distinct_id) {
        match context.behaviour.generation {
            Generation::Oldest => Some("malformed_distinct_id"),
            Generation::Middle => Some("invalid_distinct_id"),
            Generation::Newest => None,
        }
    } else {
        None
    }
}

fn is_placeholder(distinct_id: &str) -> bool {
    PLACEHOLDERS.contains(&distinct_id.to_lowercase().as_str())
}

fn verdict(
    event: &CapturedEvent,
    refusal: Option<&'static str>,
    behaviour: &Behaviour,
) -> (Verdict, Option<&'static str>) {
    if let Some(details) = refusal {
        return (Verdict::Drop(details.to_owned()), None);
    }
    if let Some(details) = behaviour.quota.scoped_refusal(&event.event) {
        let details = details.to_owned();
        let verdict = match behaviour.generation {
            Generation::Oldest => Verdict::Limited(details),
            Generation::Middle | Generation::Newest => Verdict::Drop(details),
        };
        return (verdict, None);
    }
    let note = is_placeholder(&event.distinct_id).then_some(PERSON_PROCESSING_DISABLED);
    (Verdict::Ok, note)
}

fn stored_timestamp(given: &str, options: &Options, context: &EventContext<'_>) -> Timestamp {
    let skew = match options.disable_skew_correction {
        Some(true) => SignedDuration::ZERO,
        _ => context.skew,
    };
    times::read_rfc3339(given).map_or(context.now, |at| times::corrected(at, skew, context.now))
}

#[derive(Default)]
struct Options {
    cookieless_mode: Option<bool>,
    disable_skew_correction: Option<bool>,
    process_person_profile: Option<bool>,
    product_tour_id: Option<String>,
}

impl Options {
    /// The options, or the name of the one that cannot be coerced.
    fn read(value: Option<&Value>) -> Result<Self, &'static str> {
        let raw = match value {
            None | Some(Value::Null) => return Ok(Self::default()),
            Some(Value::Object(raw)) => raw,
            Some(_) => return Err("options"),
        };
        let flag = |name| flag(raw, name);
        Ok(Self {
            cookieless_mode: flag("cookieless_mode")?,
            disable_skew_correction: flag("disable_skew_correction")?,
            process_person_profile: flag("process_person_profile")?,
            product_tour_id: match raw.get("product_tour_id") {
                None | Some(Value::Null) => None,
                Some(Value::String(id)) => Some(id.clone()),
                Some(Value::Number(id)) => Some(id.to_string()),
                Some(_) => return Err("product_tour_id"),
            },
        })
    }

    /// Writes the options, the session and the library's name into the properties, over what the client put there.
    fn write_back(
        &self,
        raw: &Map<String, Value>,
        library: Option<&(String, String)>,
        properties: &mut Map<String, Value>,
    ) {
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                properties.insert(name.to_owned(), value);
            }
        };
        put("$cookieless_mode", self.cookieless_mode.map(Value::Bool));
        put(
            "$ignore_sent_at",
            self.disable_skew_correction.map(Value::Bool),
        );
        put(
            "$process_person_profile",
            self.process_person_profile.map(Value::Bool),
        );
        let tour = self.product_tour_id.clone();
        put("$product_tour_id", tour.map(Value::String));
        for (field, property) in [("session_id", "$session_id"), ("window_id", "$window_id")] {
            let value = raw.get(field).filter(|value| value.is_string());
            put(property, value.cloned());
        }
        if let Some((name, version)) = library {
            put("$lib", Some(Value::String(name.clone())));
            put("$lib_version", Some(Value::String(version.clone())));
        }
    }
}

/// A boolean, as such, as a number or as text.
fn flag(raw: &Map<String, Value>, name: &'static str) -> Result<Option<bool>, &'static str> {
    match raw.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(Value::Number(number)) => Ok(number.as_f64().map(|number| number != 0.0)),
        Some(Value::String(text)) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(Some(true)),
            "false" | "0" => Ok(Some(false)),
            _ => Err(name),
        },
        Some(_) => Err(name),
    }
}
