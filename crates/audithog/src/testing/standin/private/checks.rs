//! What members of a body may be.

use serde_json::{Map, Value};

use super::Refused;

/// A text of at most so many characters, if the member is there.
pub(super) fn text(body: &Value, name: &str, most: usize) -> Result<(), Refused> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(text)) if text.chars().count() <= most => Ok(()),
        Some(Value::String(_)) => Err(Refused::member(
            name,
            format!("Ensure this field has no more than {most} characters."),
        )),
        Some(_) => Err(Refused::member(name, "Not a valid string.")),
    }
}

pub(super) fn flag(body: &Value, name: &str) -> Result<(), Refused> {
    match body.get(name) {
        None | Some(Value::Bool(_)) => Ok(()),
        Some(_) => Err(Refused::member(name, "Must be a valid boolean.")),
    }
}

/// A list of texts, if the member is there.
pub(super) fn texts(body: &Value, name: &str) -> Result<(), Refused> {
    match body.get(name) {
        None => Ok(()),
        Some(Value::Array(all)) if all.iter().all(Value::is_string) => Ok(()),
        Some(_) => Err(Refused::member(name, "Expected a list of strings.")),
    }
}

/// One of these words.
pub(super) fn word(value: Option<&Value>, name: &str, words: &[&str]) -> Result<(), Refused> {
    match value.and_then(Value::as_str) {
        Some(word) if words.contains(&word) => Ok(()),
        _ => Err(Refused::member(
            name,
            format!("{} is not a valid choice.", value.unwrap_or(&Value::Null)),
        )),
    }
}

/// An object that has no other members than these.
pub(super) fn object<'v>(
    value: Option<&'v Value>,
    name: &str,
    members: &[&str],
) -> Result<&'v Map<String, Value>, Refused> {
    let Some(Value::Object(object)) = value else {
        return Err(Refused::member(name, "Expected an object."));
    };
    match object.keys().find(|key| !members.contains(&key.as_str())) {
        Some(key) => Err(Refused::member(
            name,
            format!("{key}: Extra inputs are not permitted"),
        )),
        None => Ok(object),
    }
}
