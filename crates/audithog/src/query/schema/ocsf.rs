//! Open Cybersecurity Schema Framework, API Activity.
//!
//! Source: github.com/ocsf/ocsf-schema, tag v1.8.0: `events/application/api_activity.json`, `events/base_event.json`, `dictionary.json`
//! and `objects/`. Business events are API Activity too, with the activity Other: the class has the actor and the source, which a Base Event has not.

use serde_json::{Value, json};

use super::kind::{Grade, What, grade, message, what};
use super::{properties, without_nulls};
use crate::query::LogRow;
use crate::record::{ActorType, Row};

pub(super) const VERSION: &str = "1.8.0";

/// Methods that the schema knows; another one is in `unmapped`.
const METHODS: [&str; 9] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
];

pub(super) fn row(stored: &LogRow) -> Value {
    let row = stored.row();
    let own = what(row) == What::Own;
    let (activity, activity_name) = activity(row);
    let (class, class_name, category, category_name) = if own {
        (0, "Base Event", 0, "Uncategorized")
    } else {
        (6003, "API Activity", 6, "Application Activity")
    };
    let caption = if activity == OTHER {
        "Other"
    } else {
        activity_name
    };
    let (severity_id, severity) = severity(row);
    let (status_id, status) = status(row);
    let event = without_nulls(json!({
        "activity_id": activity,
        "activity_name": activity_name,
        "category_uid": category,
        "category_name": category_name,
        "class_uid": class,
        "class_name": class_name,
        "type_uid": class * 100 + activity,
        "type_name": format!("{class_name}: {caption}"),
        "severity_id": severity_id,
        "severity": severity,
        "status_id": status_id,
        "status": status,
        "status_code": row.status_code().map(|code| code.to_string()),
        "status_detail": row.error_code(),
        "time": stored.time_micros().div_euclid(1_000),
        "timezone_offset": 0,
        "message": message(stored),
        "metadata": metadata(stored),
        "trace": { "uid": row.trace_id() },
    }));
    let Value::Object(mut event) = event else {
        return event;
    };
    if !own && let Value::Object(activity) = without_nulls(api_activity(stored)) {
        event.extend(activity);
    }
    let mut unmapped = without_nulls(unmapped(stored, own));
    if let (Some(properties), Some(unmapped)) = (properties(stored), unmapped.as_object_mut()) {
        unmapped.insert("properties".to_owned(), properties);
    }
    event.insert("unmapped".to_owned(), unmapped);
    Value::Object(event)
}

/// The attributes of the class besides those of every event.
fn api_activity(stored: &LogRow) -> Value {
    let (row, run) = (stored.row(), &stored.0.run);
    let operation = match row.method() {
        Some(method) => {
            let target = row.route().or(row.path()).unwrap_or_default();
            format!("{method} {target}")
        }
        None => row.event_name().to_owned(),
    };
    let method = row.method().filter(|method| METHODS.contains(method));
    let response = row.status_code().map(|code| {
        json!({
            "code": code,
            "latency": row.duration().map(|took| took.as_millis() as u64),
        })
    });
    let request = row.method().map(|_| {
        json!({
            "uid": row.request_id(),
            "http_method": method,
            "url": { "path": row.path() },
            "user_agent": row.user_agent(),
        })
    });
    json!({
        "actor": actor(stored),
        "api": {
            "operation": operation,
            "request": { "uid": row.request_id() },
            "response": { "code": row.status_code(), "error": row.error_code() },
            "service": { "name": run.service, "version": run.version },
        },
        "src_endpoint": source(stored),
        "dst_endpoint": { "svc_name": run.service, "name": run.instance },
        "http_request": request,
        "http_response": response,
    })
}

/// One is required: the client's address, else where a job ran, else that it is not known.
fn source(stored: &LogRow) -> Value {
    match (stored.row().ip(), what(stored.row())) {
        (Some(ip), _) => json!({ "ip": ip }),
        (None, What::Business) => {
            json!({ "svc_name": stored.0.run.service, "name": stored.0.run.instance })
        }
        (None, _) => json!({ "name": "Unknown" }),
    }
}

fn actor(stored: &LogRow) -> Value {
    let actor = stored.row().actor();
    let (type_id, kind) = match actor.kind {
        None => (0, "Unknown"),
        Some(ActorType::User) => (1, "User"),
        Some(ActorType::System) => (3, "System"),
        Some(ActorType::Service) => (4, "Service"),
        Some(kind) => (OTHER, kind.as_str()),
    };
    // One of account, name and uid is required.
    let name = match (actor.user_id(), actor.kind) {
        (Some(_), _) => None,
        (None, Some(ActorType::System)) => Some(&*stored.0.run.service),
        (None, Some(kind)) => Some(kind.as_str()),
        (None, None) => Some("Unknown"),
    };
    let role = actor
        .user_role()
        .map(|role| json!([{ "name": role, "type": "role" }]));
    json!({
        "user": {
            "uid": actor.user_id(),
            "name": name,
            "type_id": type_id,
            "type": kind,
            "groups": role,
            "org": { "uid": actor.org_id() },
        },
    })
}

fn metadata(stored: &LogRow) -> Value {
    let row = stored.row();
    json!({
        "version": VERSION,
        "product": {
            "name": "audithog",
            "vendor_name": "audithog",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "profiles": row.trace_id().map(|_| ["trace"]),
        "uid": row.id().as_hyphenated().to_string(),
        "sequence": stored.seq(),
        "event_code": row.event_name(),
        "correlation_uid": row.request_id(),
        "log_name": "audit_logs",
        "original_time": stored.time_text(),
        "tenant_uid": row.actor().org_id(),
    })
}

fn unmapped(stored: &LogRow, own: bool) -> Value {
    let (row, run) = (stored.row(), &stored.0.run);
    let unknown = row.method().filter(|method| !METHODS.contains(method));
    let kept = |text: &Option<String>| text.clone().filter(|_| own);
    json!({
        "method": unknown,
        "route": row.route(),
        "duration_ms": row.duration().map(|took| took.as_micros() as f64 / 1_000.0),
        "on_behalf_of": row.actor().acts_for(),
        "upstream_request_id": row.upstream_request_id(),
        "distinct_id": row.distinct_id.as_ref(),
        "environment": run.environment,
        "service": own.then_some(&run.service),
        "version": kept(&run.version),
        "instance": kept(&run.instance),
    })
}

const OTHER: i64 = 99;

fn activity(row: &Row) -> (i64, &str) {
    match (what(row), row.method()) {
        (What::Request, Some("POST")) => (1, "Create"),
        (What::Request, Some("GET" | "HEAD")) => (2, "Read"),
        (What::Request, Some("PUT" | "PATCH")) => (3, "Update"),
        (What::Request, Some("DELETE")) => (4, "Delete"),
        (What::Request, Some(method)) => (OTHER, method),
        _ => (OTHER, row.event_name()),
    }
}

fn severity(row: &Row) -> (i64, &'static str) {
    match grade(row) {
        Grade::Information => (1, "Informational"),
        Grade::Warning => (2, "Low"),
        Grade::Error => (3, "Medium"),
        Grade::Loss => (4, "High"),
    }
}

fn status(row: &Row) -> (i64, &'static str) {
    match row.result() {
        Some("success") => (1, "Success"),
        Some(_) => (2, "Failure"),
        None => (0, "Unknown"),
    }
}
