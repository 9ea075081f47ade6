//! OpenTelemetry.

use serde_json::{Map, Value, json};

use super::{Schema, published, row, rows};

const PUBLISHED: &str = include_str!("../published/otel.json");

/// Required of a server's span, and nothing that a row could know: audithog is not told whether TLS ended before it.
const NOT_KNOWN: &str = "url.scheme";

/// The one record with its attributes and its resource's as objects.
pub(super) fn flat(line: &Value) -> Value {
    let resource = &line["resourceLogs"][0];
    let scope = &resource["scopeLogs"][0];
    assert_eq!(scope["logRecords"].as_array().unwrap().len(), 1);
    assert_eq!(scope["scope"]["name"], "audithog");
    assert_eq!(
        scope["schemaUrl"],
        format!(
            "https://opentelemetry.io/schemas/{}",
            Schema::Otel.version()
        )
    );
    let mut flat = scope["logRecords"][0].clone();
    flat["attributes"] = members(&flat["attributes"]);
    flat["resource"] = members(&resource["resource"]["attributes"]);
    flat["body"] = plain(&flat["body"]);
    flat
}

fn members(attributes: &Value) -> Value {
    let mut all = Map::new();
    for attribute in attributes.as_array().unwrap() {
        let name = attribute["key"].as_str().unwrap().to_owned();
        let before = all.insert(name.clone(), plain(&attribute["value"]));
        assert_eq!(before, None, "{name} comes twice");
    }
    all.into()
}

/// What an `AnyValue` stands for.
fn plain(any: &Value) -> Value {
    let any = any.as_object().unwrap();
    assert!(any.len() <= 1, "{any:?}");
    let Some((kind, value)) = any.iter().next() else {
        return Value::Null;
    };
    match kind.as_str() {
        "stringValue" | "boolValue" | "doubleValue" => value.clone(),
        "intValue" => json!(value.as_str().unwrap().parse::<i64>().unwrap()),
        "arrayValue" => value["values"]
            .as_array()
            .unwrap()
            .iter()
            .map(plain)
            .collect(),
        "kvlistValue" => members(&value["values"]),
        other => panic!("{other} is no kind of value"),
    }
}

#[test]
fn rows_follow_the_conventions() {
    let published = published(PUBLISHED, Schema::Otel);
    let known = published["attributes"].as_object().unwrap();
    for (what, stored) in rows() {
        let record = flat(&Schema::Otel.row(&stored));
        let attributes = record["attributes"].as_object().unwrap();
        let resource = record["resource"].as_object().unwrap();
        assert!(resource.contains_key("service.name"), "{what}");
        if stored.row().method().is_some() {
            for (name, attribute) in known {
                let required = attribute["requirement"] == "required" && name != NOT_KNOWN;
                assert!(
                    !required || attributes.contains_key(name),
                    "{what}: {name} is required"
                );
            }
        }
        for (name, value) in attributes.iter().chain(resource) {
            if name.starts_with("audithog.") {
                continue;
            }
            let attribute = known
                .get(name)
                .unwrap_or_else(|| panic!("{what}: {name} is no attribute"));
            let fits = match attribute["type"].as_str().unwrap() {
                "string" => value.is_string(),
                "int" => value.is_i64(),
                "string[]" => value
                    .as_array()
                    .is_some_and(|all| all.iter().all(Value::is_string)),
                _ => false,
            };
            assert!(fits, "{what}: {name} is {value}");
            // Of the others any text is allowed besides the known ones.
            if name == "http.request.method" {
                assert!(
                    attribute["values"].as_array().unwrap().contains(value),
                    "{what}: {value}"
                );
            }
        }
        let severity = record["severityNumber"].as_i64().unwrap();
        assert!((1..=24).contains(&severity), "{what}");
        for time in ["timeUnixNano", "observedTimeUnixNano"] {
            assert!(
                record[time].as_str().unwrap().parse::<u64>().is_ok(),
                "{what}"
            );
        }
        if let Some(trace) = record["traceId"].as_str() {
            assert_eq!(trace, "ab".repeat(16));
        }
    }
}

#[test]
fn it_says_what_happened() {
    for (what, severity, error_type) in [
        ("success", "INFO", Value::Null),
        ("404", "WARN", Value::Null),
        ("500", "ERROR", json!("500")),
        ("grpc", "ERROR", json!("GRPC_NOT_FOUND")),
        ("left", "WARN", json!("CLIENT_CLOSED_BEFORE_RESPONSE")),
        ("panic", "ERROR", json!("PANIC")),
        ("business", "INFO", Value::Null),
        ("audit_loss", "ERROR2", Value::Null),
    ] {
        let record = flat(&row(what, Schema::Otel));
        assert_eq!(record["severityText"], severity, "{what}");
        assert_eq!(record["attributes"]["error.type"], error_type, "{what}");
    }
    let record = flat(&row("a method of its own", Schema::Otel));
    assert_eq!(record["attributes"]["http.request.method"], "_OTHER");
    assert_eq!(
        record["attributes"]["http.request.method_original"],
        "M-SEARCH"
    );
    assert_eq!(record["body"], "M-SEARCH /agents/a1 200");
}
