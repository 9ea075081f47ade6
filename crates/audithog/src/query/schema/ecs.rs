//! Elastic Common Schema.
//!
//! Source: github.com/elastic/ecs, tag v9.4.0: `generated/ecs/ecs_flat.yml`. What the schema has no field for is in the object
//! `audithog`, as its guidelines for custom fields ask.

use serde_json::{Value, json};

use super::kind::{Grade, What, grade, message, what};
use super::{properties, without_nulls};
use crate::query::LogRow;
use crate::record::{ActorType, Row};

pub(super) const VERSION: &str = "9.4.0";

pub(super) fn row(stored: &LogRow) -> Value {
    let (row, run) = (stored.row(), &stored.0.run);
    let actor = row.actor();
    let mut event = without_nulls(json!({
        "@timestamp": stored.time_text(),
        "ecs": { "version": VERSION },
        "message": message(stored),
        "event": event(stored),
        "log": { "level": level(row) },
        "http": {
            "request": { "method": row.method(), "id": row.method().and(row.request_id()) },
            "response": { "status_code": row.status_code() },
        },
        "url": { "path": row.path() },
        "error": { "code": row.error_code() },
        "user": {
            "id": actor.user_id(),
            "roles": actor.user_role().map(|role| [role]),
            // The person whose rights are used.
            "effective": { "id": actor.acts_for() },
        },
        "organization": { "id": actor.org_id() },
        "source": { "ip": row.ip() },
        "client": { "ip": row.ip() },
        "related": {
            "user": [actor.user_id(), actor.acts_for()],
            "ip": [row.ip()],
        },
        "user_agent": { "original": row.user_agent() },
        "trace": { "id": row.trace_id() },
        "service": {
            "name": run.service,
            "environment": run.environment,
            "version": run.version,
            "node": { "name": run.instance },
        },
        "audithog": {
            "request_id": row.request_id(),
            "upstream_request_id": row.upstream_request_id(),
            "route": row.route(),
            "actor_type": actor.kind.map(ActorType::as_str),
            "distinct_id": row.distinct_id.as_ref(),
        },
    }));
    if let (Some(properties), Some(event)) = (properties(stored), event.as_object_mut()) {
        let own = event.entry("audithog").or_insert_with(|| json!({}));
        own["properties"] = properties;
    }
    event
}

fn event(stored: &LogRow) -> Value {
    let row = stored.row();
    let (category, types) = categories(row);
    json!({
        "id": row.id().as_hyphenated().to_string(),
        "kind": "event",
        "category": category.map(|category| [category]),
        "type": types,
        "action": row.event_name(),
        "outcome": row.result().unwrap_or("unknown"),
        "duration": row.duration().map(|took| took.as_nanos() as u64),
        "sequence": stored.seq(),
        "dataset": "audithog.audit_logs",
        "module": "audithog",
        "provider": "audithog",
    })
}

/// The category, and the types that the schema expects in it.
fn categories(row: &Row) -> (Option<&'static str>, Vec<&'static str>) {
    let by_method = || {
        let mut types = vec![match row.method() {
            Some("GET" | "HEAD") => "access",
            Some("POST") => "creation",
            Some("PUT" | "PATCH") => "change",
            Some("DELETE") => "deletion",
            _ => "info",
        }];
        if matches!(row.status_code(), Some(401 | 403)) {
            types.push("denied");
        }
        types
    };
    match (what(row), row.event_name()) {
        (What::Request, _) => (Some("api"), by_method()),
        (What::Started, _) => (Some("api"), vec!["start"]),
        (What::Closed, _) => (Some("api"), vec!["end"]),
        (What::Own, "audit_config_changed") => (Some("configuration"), vec!["change"]),
        (What::Own, "audit_loss" | "audit_ledger_replaced") => (None, vec!["error"]),
        // No category fits everything that an application can tell.
        _ => (None, vec!["info"]),
    }
}

fn level(row: &Row) -> &'static str {
    match grade(row) {
        Grade::Information => "info",
        Grade::Warning => "warn",
        Grade::Error | Grade::Loss => "error",
    }
}
