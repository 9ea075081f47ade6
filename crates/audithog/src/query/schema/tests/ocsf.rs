//! Open Cybersecurity Schema Framework.

use serde_json::Value;

use super::{Schema, published, row, rows};

const PUBLISHED: &str = include_str!("../published/ocsf.json");

/// Holds an object against its attributes, and those within it against theirs.
fn check(at: &str, object: &Value, attributes: &Value, published: &Value) {
    let object = object
        .as_object()
        .unwrap_or_else(|| panic!("{at} is no object"));
    for (name, attribute) in attributes.as_object().unwrap() {
        let required = attribute["requirement"] == "required";
        assert!(
            !required || object.contains_key(name),
            "{at}.{name} is required"
        );
    }
    for (name, value) in object {
        let at = format!("{at}.{name}");
        let attribute = &attributes[name];
        assert!(attribute.is_object(), "{at} is no attribute of the schema");
        let array = attribute["array"] == true;
        assert_eq!(array, value.is_array(), "{at}: {value}");
        let values = match value {
            Value::Array(values) => values.clone(),
            value => vec![value.clone()],
        };
        for value in values {
            check_value(&at, &value, attribute, published);
        }
    }
}

fn check_value(at: &str, value: &Value, attribute: &Value, published: &Value) {
    let kind = attribute["type"].as_str().unwrap();
    match kind {
        "integer_t" => assert!(
            value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            "{at}: {value}"
        ),
        "long_t" | "timestamp_t" => assert!(value.is_i64(), "{at}: {value}"),
        "string_t" => assert!(value.is_string(), "{at}: {value}"),
        "ip_t" => assert!(
            value.as_str().unwrap().parse::<std::net::IpAddr>().is_ok(),
            "{at}"
        ),
        // Free: `unmapped`.
        "object" => assert!(value.is_object(), "{at}: {value}"),
        kind => {
            let object = &published["objects"][kind];
            assert!(
                object.is_object(),
                "{at}: the type {kind} is not known here"
            );
            let any = object["at_least_one"].as_array().unwrap();
            let has = any
                .iter()
                .any(|name| !value[name.as_str().unwrap()].is_null());
            assert!(any.is_empty() || has, "{at} has none of {any:?}: {value}");
            check(at, value, &object["attributes"], published);
        }
    }
    if let Some(known) = attribute["enum"].as_array() {
        assert!(known.contains(value), "{at}: {value} is none of {known:?}");
    }
}

#[test]
fn rows_have_what_the_schema_requires_and_nothing_else() {
    let published = published(PUBLISHED, Schema::Ocsf);
    for (what, stored) in rows() {
        let event = Schema::Ocsf.row(&stored);
        let (class, activity) = (
            event["class_uid"].as_i64().unwrap(),
            event["activity_id"].as_i64().unwrap(),
        );
        check(
            what,
            &event,
            &published["classes"][class.to_string()],
            &published,
        );
        assert_eq!(event["type_uid"], class * 100 + activity, "{what}");
    }
}

#[test]
fn ids_say_what_happened() {
    for (what, class, activity, severity, status) in [
        ("success", 6003, 2, 1, 1),
        ("created", 6003, 1, 1, 1),
        ("changed", 6003, 3, 1, 1),
        ("deleted", 6003, 4, 1, 1),
        ("options", 6003, 99, 1, 1),
        ("a method of its own", 6003, 99, 1, 1),
        ("404", 6003, 2, 2, 2),
        ("500", 6003, 3, 3, 2),
        ("grpc", 6003, 1, 3, 2),
        ("left", 6003, 2, 2, 2),
        ("panic", 6003, 2, 3, 2),
        ("started", 6003, 99, 1, 0),
        ("closed", 6003, 99, 1, 1),
        ("business", 6003, 99, 1, 0),
        ("job", 6003, 99, 1, 0),
        ("audit_started", 0, 99, 1, 0),
        ("audit_loss", 0, 99, 4, 0),
    ] {
        let event = row(what, Schema::Ocsf);
        let ids = ["class_uid", "activity_id", "severity_id", "status_id"];
        let ids = ids.map(|name| event[name].as_i64().unwrap());
        assert_eq!(ids, [class, activity, severity, status], "{what}");
    }
}

#[test]
fn it_says_who_did_what_from_where() {
    let event = row("404", Schema::Ocsf);
    assert_eq!(event["actor"]["user"]["uid"], "u_1");
    assert_eq!(event["actor"]["user"]["groups"][0]["name"], "admin");
    assert_eq!(event["api"]["operation"], "GET /agents/{id}");
    assert_eq!(event["api"]["response"]["error"], "NOT_FOUND");
    assert_eq!(event["src_endpoint"]["ip"], "203.0.113.9");
    assert_eq!(event["http_response"]["code"], 404);
    assert_eq!(event["http_request"]["url"]["path"], "/agents/a1");
    assert_eq!(row("left", Schema::Ocsf)["http_response"], Value::Null);
    assert_eq!(
        row("nothing known", Schema::Ocsf)["actor"]["user"]["name"],
        "Unknown"
    );
    assert_eq!(
        row("on behalf of another", Schema::Ocsf)["unmapped"]["on_behalf_of"],
        "u_2"
    );
    assert_eq!(
        row("a method of its own", Schema::Ocsf)["unmapped"]["method"],
        "M-SEARCH"
    );
    assert_eq!(
        row("job", Schema::Ocsf)["src_endpoint"]["svc_name"],
        "agents"
    );
}
