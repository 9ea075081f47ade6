//! Elastic Common Schema.

use serde_json::{Value, json};

use super::{Schema, leaves, published, row, rows};

const PUBLISHED: &str = include_str!("../published/ecs.json");

fn check(at: &str, value: &Value, field: &Value) {
    let fits = match field["type"].as_str().unwrap() {
        "keyword" | "wildcard" | "match_only_text" => value.is_string(),
        "long" => value.is_i64() || value.as_u64().is_some_and(|n| i64::try_from(n).is_ok()),
        "date" => value
            .as_str()
            .is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
        "ip" => value
            .as_str()
            .is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok()),
        _ => false,
    };
    assert!(fits, "{at}: {value}");
    if let Some(known) = field["values"].as_array() {
        assert!(known.contains(value), "{at}: {value} is none of {known:?}");
    }
}

#[test]
fn rows_have_what_the_schema_requires_and_nothing_else() {
    let published = published(PUBLISHED, Schema::Ecs);
    let fields = published["fields"].as_object().unwrap();
    for (what, stored) in rows() {
        let event = Schema::Ecs.row(&stored);
        let leaves = leaves(&event, &["audithog"]);
        for (name, field) in fields {
            let required = field["required"] == true;
            assert!(
                !required || leaves.iter().any(|(leaf, _)| leaf == name),
                "{what}: {name} is required"
            );
        }
        for (name, value) in &leaves {
            let at = format!("{what}: {name}");
            // The schema's place for what it does not know.
            if name == "audithog" {
                continue;
            }
            let field = fields
                .get(name)
                .unwrap_or_else(|| panic!("{at} is no field of the schema"));
            match (field["array"] == true, value) {
                (true, Value::Array(values)) => {
                    values.iter().for_each(|value| check(&at, value, field));
                }
                (false, value) => check(&at, value, field),
                (true, _) => panic!("{at} is no array: {value}"),
            }
        }
        for category in event["event"]["category"].as_array().unwrap_or(&Vec::new()) {
            let expected = published["expected_types"][category.as_str().unwrap()]
                .as_array()
                .unwrap();
            for kind in event["event"]["type"].as_array().unwrap() {
                assert!(
                    expected.contains(kind),
                    "{what}: {kind} is not expected in {category}"
                );
            }
        }
    }
}

#[test]
fn it_says_what_happened() {
    for (what, category, types, outcome, level) in [
        (
            "success",
            json!(["api"]),
            json!(["access"]),
            "success",
            "info",
        ),
        (
            "created",
            json!(["api"]),
            json!(["creation"]),
            "success",
            "info",
        ),
        (
            "401",
            json!(["api"]),
            json!(["access", "denied"]),
            "failure",
            "warn",
        ),
        ("500", json!(["api"]), json!(["change"]), "failure", "error"),
        (
            "started",
            json!(["api"]),
            json!(["start"]),
            "unknown",
            "info",
        ),
        ("closed", json!(["api"]), json!(["end"]), "success", "info"),
        ("business", Value::Null, json!(["info"]), "unknown", "info"),
        (
            "audit_loss",
            Value::Null,
            json!(["error"]),
            "unknown",
            "error",
        ),
    ] {
        let row = row(what, Schema::Ecs);
        let event = &row["event"];
        assert_eq!(
            (&event["category"], &event["type"]),
            (&category, &types),
            "{what}"
        );
        assert_eq!(
            (&event["outcome"], &row["log"]["level"]),
            (&outcome.into(), &level.into()),
            "{what}"
        );
    }
    let event = row("on behalf of another", Schema::Ecs);
    assert_eq!(event["user"]["id"], "support");
    assert_eq!(event["user"]["effective"]["id"], "u_2");
    assert_eq!(event["related"]["user"], json!(["support", "u_2"]));
    assert_eq!(event["event"]["duration"], 12_345_000);
}
