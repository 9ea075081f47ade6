//! Targets for fuzzers: what an application passes on from outside.

use serde_json::{Map, Value};

use super::{limits, mask, properties as frozen};
use crate::fuzz::{is_clean, parse_unique};

/// Stands in a secret's value, and nowhere else.
const SECRET: &str = "S3CR3T";

/// Business properties as JSON.
pub(crate) fn properties(data: &[u8]) {
    let Ok(given) = serde_json::from_slice::<Map<String, Value>>(data) else {
        return;
    };
    let told = without_secrets(&Value::Object(given.clone()))
        .to_string()
        .contains(SECRET);
    let Some(text) = frozen::freeze(given.clone()) else {
        assert!(given.is_empty());
        return;
    };
    assert!(text.len() <= limits::PROPERTIES, "{} bytes", text.len());
    assert!(told || !text.contains(SECRET), "{text}");
    let read = match parse_unique(text.as_bytes()) {
        Ok(Value::Object(read)) => read,
        other => panic!("{other:?} of {text}"),
    };
    check(&read);
    if !read.contains_key("audithog_truncated") {
        assert_eq!(read.len(), given.len(), "a property is gone from {text}");
        // What is frozen does not change when it is frozen again; a fraction may, by what a reader rounds.
        let whole = is_whole(&Value::Object(read.clone()));
        assert!(
            !whole || frozen::freeze(read).as_deref() == Some(&*text),
            "{text}"
        );
    }
}

fn without_secrets(value: &Value) -> Value {
    match value {
        Value::Array(values) => values.iter().map(without_secrets).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| match mask::is_secret_name(name) {
                true => (name.clone(), Value::Null),
                false => (name.clone(), without_secrets(value)),
            })
            .collect(),
        other => other.clone(),
    }
}

fn check(fields: &Map<String, Value>) {
    for (name, value) in fields {
        assert!(name.len() <= limits::EVENT && is_clean(name), "{name:?}");
        check_value(value);
    }
}

fn check_value(value: &Value) {
    match value {
        Value::String(text) => {
            assert!(
                text.len() <= limits::PROPERTY_TEXT && is_clean(text),
                "{text:?}"
            );
        }
        Value::Array(values) => values.iter().for_each(check_value),
        Value::Object(fields) => check(fields),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// True if no number in it is a fraction.
fn is_whole(value: &Value) -> bool {
    match value {
        Value::Number(number) => !number.is_f64(),
        Value::Array(values) => values.iter().all(is_whole),
        Value::Object(fields) => fields.values().all(is_whole),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}
