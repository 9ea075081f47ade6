//! OpenTelemetry: a log record in OTLP's JSON, one `resourceLogs` a line, as its file exporter writes and the collector's `otlpjsonfile`
//! receiver reads.
//!
//! Source: github.com/open-telemetry/semantic-conventions, tag v1.44.0: `model/http`, `model/url`, `model/client`, `model/user`,
//! `model/user-agent`, `model/error`, `model/service`, `model/deployment`, `model/log`.

use serde_json::{Value, json};

use super::kind::{Grade, What, grade, message, what};
use super::properties;
use crate::query::LogRow;
use crate::record::{ActorType, Row};

pub(super) const VERSION: &str = "1.44.0";

/// Methods that the conventions know; another one is `_OTHER`, and itself in `http.request.method_original`.
const METHODS: [&str; 10] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE",
];

pub(super) fn row(stored: &LogRow) -> Value {
    let (row, run) = (stored.row(), &stored.0.run);
    let (severity, text) = severity(row);
    let nanos = |micros: i64| micros.saturating_mul(1_000).max(0).to_string();
    // A request's row was made when the request ended.
    let took = row
        .duration()
        .and_then(|took| i64::try_from(took.as_micros()).ok());
    let made = stored
        .time_micros()
        .saturating_add(took.unwrap_or_default());
    let mut record = json!({
        "timeUnixNano": nanos(stored.time_micros()),
        "observedTimeUnixNano": nanos(made),
        "severityNumber": severity,
        "severityText": text,
        "eventName": row.event_name(),
        "body": { "stringValue": message(stored) },
        "attributes": attributes(stored),
    });
    if let Some(trace) = row.trace_id() {
        record["traceId"] = trace.into();
    }
    let resource = [
        ("service.name", Some(run.service.clone())),
        ("service.version", run.version.clone()),
        ("service.instance.id", run.instance.clone()),
        ("deployment.environment.name", run.environment.clone()),
    ];
    let resource: Vec<Value> = resource
        .into_iter()
        .filter_map(|(name, text)| Some(attribute(name, &text?.into())))
        .collect();
    let schema = format!("https://opentelemetry.io/schemas/{VERSION}");
    json!({
        "resourceLogs": [{
            "resource": { "attributes": resource },
            "scopeLogs": [{
                "scope": { "name": "audithog", "version": env!("CARGO_PKG_VERSION") },
                "logRecords": [record],
                "schemaUrl": schema,
            }],
            "schemaUrl": schema,
        }],
    })
}

fn attributes(stored: &LogRow) -> Vec<Value> {
    let row = stored.row();
    let actor = row.actor();
    let known = row.method().map(|method| {
        if METHODS.contains(&method) {
            method
        } else {
            "_OTHER"
        }
    });
    let original = row.method().filter(|method| !METHODS.contains(method));
    let all = [
        (
            "log.record.uid",
            json!(row.id().as_hyphenated().to_string()),
        ),
        ("http.request.method", json!(known)),
        ("http.request.method_original", json!(original)),
        ("http.route", json!(row.route())),
        ("url.path", json!(row.path())),
        ("http.response.status_code", json!(row.status_code())),
        ("error.type", json!(error_type(row))),
        ("client.address", json!(row.ip())),
        ("user_agent.original", json!(row.user_agent())),
        ("user.id", json!(actor.user_id())),
        ("user.roles", json!(actor.user_role().map(|role| [role]))),
        ("audithog.seq", json!(stored.seq())),
        ("audithog.request_id", json!(row.request_id())),
        (
            "audithog.upstream_request_id",
            json!(row.upstream_request_id()),
        ),
        ("audithog.org_id", json!(actor.org_id())),
        (
            "audithog.actor_type",
            json!(actor.kind.map(ActorType::as_str)),
        ),
        ("audithog.on_behalf_of", json!(actor.acts_for())),
        ("audithog.result", json!(row.result())),
        ("audithog.error_code", json!(row.error_code())),
        (
            "audithog.duration_ms",
            json!(row.duration().map(|took| took.as_micros() as f64 / 1_000.0)),
        ),
        ("audithog.distinct_id", json!(row.distinct_id.as_ref())),
        ("audithog.properties", json!(properties(stored))),
    ];
    all.iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| attribute(name, value))
        .collect()
}

/// By the conventions a server's 4xx is no error of it, and an error with a status has the status for a type.
fn error_type(row: &Row) -> Option<String> {
    if what(row) == What::Business || row.result() != Some("failure") {
        return None;
    }
    match row.status_code() {
        Some(status @ 500..) => Some(status.to_string()),
        Some(400..) => None,
        _ => row.error_code().map(str::to_owned),
    }
}

fn attribute(name: &str, value: &Value) -> Value {
    json!({ "key": name, "value": any(value) })
}

/// OTLP's `AnyValue`. Whole numbers are texts, as protobuf's JSON has 64 bits; null is the empty value.
fn any(value: &Value) -> Value {
    match value {
        Value::Null => json!({}),
        Value::Bool(yes) => json!({ "boolValue": yes }),
        Value::Number(number) => match (number.as_i64(), number.is_u64()) {
            (Some(whole), _) => json!({ "intValue": whole.to_string() }),
            // Larger than its integers: as text it stays exact.
            (None, true) => json!({ "stringValue": number.to_string() }),
            (None, false) => json!({ "doubleValue": number.as_f64() }),
        },
        Value::String(text) => json!({ "stringValue": text }),
        Value::Array(all) => {
            let values: Vec<Value> = all.iter().map(any).collect();
            json!({ "arrayValue": { "values": values } })
        }
        Value::Object(members) => {
            let values: Vec<Value> = members
                .iter()
                .map(|(name, value)| attribute(name, value))
                .collect();
            json!({ "kvlistValue": { "values": values } })
        }
    }
}

/// `SeverityNumber` of the logs data model: INFO, WARN, ERROR, ERROR2.
fn severity(row: &Row) -> (i64, &'static str) {
    match grade(row) {
        Grade::Information => (9, "INFO"),
        Grade::Warning => (13, "WARN"),
        Grade::Error => (17, "ERROR"),
        Grade::Loss => (18, "ERROR2"),
    }
}
