//! Every kind of row in every schema, held against what is published. `published/` has the names, types, requirements and ids that the
//! sources named in it give; none of it was taken from the mappings.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Schema;
use crate::books::{Episode, LossReason};
use crate::clock::Clock;
use crate::ledger::own_rows::{loss_row, own_row};
use crate::query::LogRow;
use crate::record::{Actor, Exchange, Micros, Outcome, RequestId, Row, Run, StoredRow};

const TS: Micros = Micros(1_770_000_000_123_456);

/// An ended request with everything that a row can have.
fn request(method: &str, status: Option<u16>, error_code: Option<&str>) -> Row {
    let id = Uuid::now_v7();
    let mut row = Row::event(id, TS, "api_request".into());
    row.request_id = Some(RequestId::Uuid(id));
    row.actor = Actor::user("u_1").role("admin").org("acme");
    row.trace_id = Some([0xab; 16]);
    row.exchange = Some(Exchange {
        method: method.into(),
        path: "/agents/a1".into(),
        route: Some("/agents/{id}".into()),
        status_code: status,
        outcome: match error_code {
            None => Outcome::Success,
            Some(_) => Outcome::Failure,
        },
        error_code: error_code.map(Into::into),
        duration_us: 12_345,
        user_agent: Some("curl/8".into()),
        ip: Some([203, 0, 113, 9].into()),
        upstream_request_id: Some("up-1".into()),
    });
    row
}

fn changed(mut row: Row, change: impl FnOnce(&mut Row)) -> Row {
    change(&mut row);
    row
}

fn http(row: &mut Row) -> &mut Exchange {
    row.exchange.as_mut().unwrap()
}

/// Requests, by what each is.
fn requests() -> Vec<(&'static str, Row)> {
    vec![
        ("success", request("GET", Some(200), None)),
        ("created", request("POST", Some(201), None)),
        ("changed", request("PATCH", Some(200), None)),
        ("deleted", request("DELETE", Some(204), None)),
        ("options", request("OPTIONS", Some(204), None)),
        ("404", request("GET", Some(404), Some("NOT_FOUND"))),
        ("401", request("GET", Some(401), Some("UNAUTHORIZED"))),
        (
            "500",
            request("PUT", Some(500), Some("INTERNAL_SERVER_ERROR")),
        ),
        ("grpc", request("POST", Some(200), Some("GRPC_NOT_FOUND"))),
        (
            "left",
            request("GET", None, Some("CLIENT_CLOSED_BEFORE_RESPONSE")),
        ),
        ("panic", request("GET", None, Some("PANIC"))),
        ("a method of its own", request("M-SEARCH", Some(200), None)),
    ]
}

/// Requests of everybody and nobody.
fn requests_by_actor() -> Vec<(&'static str, Row)> {
    vec![
        (
            "nothing known",
            changed(request("GET", Some(200), None), |row| {
                row.actor = Actor::default();
                row.trace_id = None;
                let http = http(row);
                (http.ip, http.route, http.user_agent) = (None, None, None);
                http.upstream_request_id = None;
            }),
        ),
        (
            "on behalf of another",
            changed(request("GET", Some(200), None), |row| {
                row.actor = Actor::user("support").on_behalf_of("u_2");
                row.request_id = Some(RequestId::Adopted("not-a-uuid".into()));
            }),
        ),
        (
            "anonymous",
            changed(request("GET", Some(200), None), |row| {
                row.actor = Actor::anonymous();
            }),
        ),
        (
            "service",
            changed(request("GET", Some(200), None), |row| {
                row.actor = Actor::service("billing");
            }),
        ),
        (
            "key",
            changed(request("GET", Some(200), None), |row| {
                row.actor = Actor::api_key("key_1");
            }),
        ),
        (
            "started",
            changed(request("POST", None, None), |row| {
                row.event = "api_request_started".into();
                let http = http(row);
                (http.outcome, http.duration_us) = (Outcome::Open, 0);
            }),
        ),
        (
            "closed",
            changed(request("GET", Some(101), None), |row| {
                row.event = "api_connection_closed".into();
            }),
        ),
    ]
}

/// Rows that are about no request.
fn events() -> Vec<(&'static str, Row)> {
    let clock = Clock::system();
    let event = || Row::event(Uuid::now_v7(), TS, "agent_published".into());
    let own = |name| own_row(&clock, name, json!({"head": 7}));
    vec![
        (
            "business",
            changed(event(), |row| {
                row.actor = Actor::user("u_1");
                row.request_id = Some(RequestId::Uuid(Uuid::now_v7()));
                row.distinct_id = Some("d".into());
                let properties = json!({
                    "a": null, "b": [1, 2.5, "=x", {}], "c": {"d": true, "e": 18_446_744_073_709_551_615_u64},
                    "class_uid": "hostile", "event": {"kind": 7},
                });
                row.properties = Some(properties.to_string().into());
            }),
        ),
        ("job", changed(event(), |row| row.actor = Actor::system())),
        ("nobody's", event()),
        ("audit_started", own("audit_started")),
        ("audit_stopped", own("audit_stopped")),
        ("audit_heartbeat", own("audit_heartbeat")),
        ("audit_config_changed", own("audit_config_changed")),
        ("audit_ledger_replaced", own("audit_ledger_replaced")),
        (
            "audit_loss",
            loss_row(&clock, &Episode::new(LossReason::QueueFull, 3, TS)),
        ),
        (
            "audit_response_withheld",
            changed(own("audit_response_withheld"), |row| {
                row.request_id = Some(RequestId::Uuid(Uuid::now_v7()));
            }),
        ),
    ]
}

/// By what each is.
fn rows() -> Vec<(&'static str, LogRow)> {
    let all = requests()
        .into_iter()
        .chain(requests_by_actor())
        .chain(events());
    let bare = Arc::new(Run {
        service: "agents".to_owned(),
        ..Run::default()
    });
    let whole = Arc::new(Run {
        service: "agents".to_owned(),
        environment: Some("production".to_owned()),
        version: Some("1.2".to_owned()),
        instance: Some("pod-1".to_owned()),
    });
    let mut stored = Vec::new();
    for (what, row) in all {
        for run in [&bare, &whole] {
            let seq = i64::try_from(stored.len()).unwrap() + 1;
            let row = StoredRow {
                seq,
                run: Arc::clone(run),
                row: row.clone().into(),
            };
            stored.push((what, LogRow(row)));
        }
    }
    stored
}

fn row(what: &str, schema: Schema) -> Value {
    let rows = rows();
    let found = rows.iter().rev().find(|(name, _)| *name == what);
    schema.row(&found.unwrap().1)
}

fn published(text: &str, schema: Schema) -> Value {
    let published: Value = serde_json::from_str(text).unwrap();
    assert_eq!(published["version"], schema.version());
    published
}

/// The names and values of everything that is no object, and of the objects that have no structure of the schema's.
fn leaves(value: &Value, free: &[&str]) -> Vec<(String, Value)> {
    fn walk(at: &str, members: &Map<String, Value>, free: &[&str], all: &mut Vec<(String, Value)>) {
        for (name, value) in members {
            let name = match at {
                "" => name.clone(),
                at => format!("{at}.{name}"),
            };
            match value {
                Value::Object(members) if !free.contains(&&*name) => {
                    walk(&name, members, free, all);
                }
                value => all.push((name, value.clone())),
            }
        }
    }
    let mut all = Vec::new();
    walk("", value.as_object().unwrap(), free, &mut all);
    all
}

mod ecs;
mod ocsf;
mod otel;

#[test]
fn every_name_is_in_the_dictionary_with_its_type() {
    for schema in Schema::ALL {
        let mut seen = std::collections::BTreeSet::new();
        for (what, stored) in rows() {
            let row = schema.row(&stored);
            let row = match schema {
                Schema::Otel => otel::flat(&row),
                _ => row,
            };
            let free = [
                "properties",
                "unmapped.properties",
                "audithog.properties",
                "attributes.audithog.properties",
            ];
            for (name, value) in leaves(&row, &free) {
                let column = schema.columns().iter().find(|column| column.name == name);
                let column = column.unwrap_or_else(|| panic!("{what}: {name} is not described"));
                let fits = match column.kind {
                    "text" => value.is_string(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "number" => value.is_number(),
                    "time" => value.is_string() || value.is_i64(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    _ => false,
                };
                let null = value.is_null() && schema == Schema::Audithog;
                assert!(
                    fits || null,
                    "{what}: {name} is {value}, not {}",
                    column.kind
                );
                if !value.is_null() {
                    seen.insert(name);
                }
            }
        }
        let never = schema
            .columns()
            .iter()
            .filter(|column| !seen.contains(column.name));
        let never: Vec<&str> = never.map(|column| column.name).collect();
        assert!(never.is_empty(), "{}: no row has {never:?}", schema.name());
    }
}

#[test]
fn audithogs_own_schema_has_the_columns_of_the_view() {
    let names: Vec<&str> = Schema::Audithog
        .columns()
        .iter()
        .map(|column| column.name)
        .collect();
    assert_eq!(names, LogRow::NAMES);
    let row = row("success", Schema::Audithog);
    assert_eq!(row["duration_ms"], 12.345);
    assert_eq!(row["properties"], Value::Null);
}

#[test]
fn what_the_application_passed_is_kept_whole() {
    let properties = row("business", Schema::Audithog)["properties"].clone();
    assert_eq!(properties["class_uid"], "hostile");
    assert_eq!(
        row("business", Schema::Ocsf)["unmapped"]["properties"],
        properties
    );
    assert_eq!(
        row("business", Schema::Ecs)["audithog"]["properties"],
        properties
    );
    let flat = otel::flat(&row("business", Schema::Otel));
    let mut kept = properties.clone();
    // OTLP has no larger whole numbers than 64 bits with a sign.
    kept["c"]["e"] = "18446744073709551615".into();
    assert_eq!(flat["attributes"]["audithog.properties"], kept);
}

#[test]
fn the_time_is_that_of_the_row() {
    let took = Duration::from_micros(12_345);
    assert_eq!(row("success", Schema::Ocsf)["time"], 1_770_000_000_123_i64);
    assert_eq!(
        row("success", Schema::Ecs)["@timestamp"],
        "2026-02-02T02:40:00.123456Z"
    );
    let otel = otel::flat(&row("success", Schema::Otel));
    assert_eq!(otel["timeUnixNano"], "1770000000123456000");
    let made = 1_770_000_000_123_456_000 + took.as_nanos();
    assert_eq!(otel["observedTimeUnixNano"], made.to_string());
    // What no time of a row can be after cannot be said in OTLP, and is no reason to stop.
    let (_, mut old) = rows().remove(0);
    old.0.row.ts = Micros(-1);
    assert_eq!(Schema::Ocsf.row(&old)["time"], -1);
    assert_eq!(otel::flat(&Schema::Otel.row(&old))["timeUnixNano"], "0");
}
