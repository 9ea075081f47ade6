//! Business properties: masked, escaped, bounded, always one valid JSON object.

use serde_json::{Map, Value};

use super::{SharedText, limits, mask, sanitize};

/// Nesting below this is replaced; PostHog can hardly filter by it anyway.
const MAX_DEPTH: usize = 8;
/// Set when properties were left out because together they exceeded [`limits::PROPERTIES`].
const TRUNCATED: &str = "audithog_truncated";
/// Replaces a secret.
const MASKED: &str = "***";

/// Turns what the application passed into the text that a row carries; none if it is empty.
///
/// Values under a secret name become `***`, names and texts are escaped as [`sanitize`] says, texts are
/// cut at [`limits::PROPERTY_TEXT`], and properties that no longer fit into [`limits::PROPERTIES`] are left
/// out, with `audithog_truncated: true` in their place. They are taken in the map's order: by name, unless the
/// program builds `serde_json` with `preserve_order`. Names that have become equal, by an escape or by a cut, are told
/// apart by a number in brackets.
pub(crate) fn freeze(properties: Map<String, Value>) -> Option<SharedText> {
    if properties.is_empty() {
        return None;
    }
    let mut out = String::with_capacity(128);
    let mut truncated = false;
    for (name, value) in fields(properties, 0) {
        let start = out.len();
        out.push(if start == 0 { '{' } else { ',' });
        out.push_str(&Value::String(name).to_string());
        out.push(':');
        out.push_str(&value.to_string());
        // Room for the note and the closing brace.
        if out.len() + TRUNCATED.len() + 16 > limits::PROPERTIES {
            out.truncate(start);
            truncated = true;
        }
    }
    if truncated {
        out.push(if out.is_empty() { '{' } else { ',' });
        out.push_str(&format!("\"{TRUNCATED}\":true"));
    }
    out.push('}');
    Some(out.into())
}

/// Masks values and cleans names: PostHog takes no NUL, and neither names nor texts shall deceive whoever prints them.
fn fields(given: Map<String, Value>, depth: usize) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut renamed = Vec::new();
    for (name, value) in given {
        // The whole name counts: what makes it secret may be what is cut off.
        let value = if mask::is_secret_name(&name) {
            MASKED.into()
        } else {
            bounded(value, depth)
        };
        let is_ours = depth == 0 && name == TRUNCATED;
        if sanitize::fits(&name, limits::EVENT) && !is_ours {
            fields.insert(name, value);
        } else {
            renamed.push((sanitize::text(&name, limits::EVENT), is_ours, value));
        }
    }
    // A number for all, so that many names that are cut to the same one take no more than a try each.
    let mut number = 1_usize;
    for (name, is_ours, value) in renamed {
        let mut free = name.to_string();
        while is_ours && free == TRUNCATED || fields.contains_key(&free) {
            number += 1;
            let end = format!(" ({number})");
            free = limits::cut(&name, limits::EVENT - end.len()).into_owned() + &end;
        }
        fields.insert(free, value);
    }
    fields
}

fn bounded(value: Value, depth: usize) -> Value {
    match value {
        Value::String(text) => sanitize::owned(text, limits::PROPERTY_TEXT).into(),
        Value::Array(_) | Value::Object(_) if depth >= MAX_DEPTH => "…".into(),
        Value::Array(values) => values
            .into_iter()
            .map(|value| bounded(value, depth + 1))
            .collect(),
        Value::Object(given) => fields(given, depth + 1).into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn frozen(value: Value) -> Value {
        let Value::Object(map) = value else {
            panic!("not an object")
        };
        let text = freeze(map).expect("some properties");
        assert!(text.len() <= limits::PROPERTIES, "{} bytes", text.len());
        serde_json::from_str(&text).expect("valid JSON")
    }

    #[test]
    fn plain_values_stay_as_they_are() {
        let given = json!({"agentId": "a1", "price": 9.5, "tags": ["x", null], "nested": {"n": 1}});
        assert_eq!(frozen(given.clone()), given);
        assert_eq!(freeze(Map::new()), None);
    }

    #[test]
    fn secret_names_are_masked_at_every_depth() {
        let given = json!({"password": "hunter2", "login": {"token": {"raw": "t"}}, "list": [{"secret": 1}]});
        assert_eq!(
            frozen(given),
            json!({"password": "***", "login": {"token": "***"}, "list": [{"secret": "***"}]})
        );
    }

    #[test]
    fn names_and_texts_are_escaped_at_every_depth() {
        let given = json!({
            "a\0": "\0\u{7f}\u{9f}",
            "b\u{2028}": {"c\u{202e}": ["\u{2029}", {"d\u{2066}": "line\nbreak"}]},
        });
        assert_eq!(
            frozen(given),
            json!({
                r"a\u{0}": r"\u{0}\u{7f}\u{9f}",
                r"b\u{2028}": {r"c\u{202e}": [r"\u{2029}", {r"d\u{2066}": r"line\u{a}break"}]},
            })
        );
        let long = "n".repeat(1_000);
        let out = frozen(json!({"outer": {long: 1}}));
        let name = out["outer"].as_object().unwrap().keys().next().unwrap();
        assert!(name.len() <= limits::EVENT && name.ends_with('…'));
    }

    #[test]
    fn names_that_become_equal_are_told_apart() {
        let long = "n".repeat(300);
        let given = json!({
            "a\0": 1, r"a\u{0}": 2, "a\u{0} (2)": 3,
            format!("{long}x"): 4, format!("{long}y"): 5,
            "audithog_truncated": 6,
            "nested": {"b\n": 7, r"b\u{a}": 8},
        });
        let out = freeze(given.as_object().unwrap().clone()).unwrap();
        let read: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(read[r"a\u{0}"], 2, "an unchanged name stays");
        let mut numbers: Vec<_> = read
            .as_object()
            .unwrap()
            .values()
            .filter_map(Value::as_u64)
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
        assert!(read.get("audithog_truncated").is_none(), "{out}");
        assert_eq!(read["nested"].as_object().unwrap().len(), 2);
    }

    #[test]
    fn ten_megabytes_are_cut_and_say_so() {
        let huge: Map<String, Value> = (0..1_000)
            .map(|i| (format!("k{i}"), "x".repeat(10_000).into()))
            .collect();
        let out = frozen(Value::Object(huge));
        assert_eq!(out["audithog_truncated"], true);
        assert!(out.as_object().is_some_and(|fields| fields.len() > 5));
        let one = frozen(json!({"big": "é".repeat(5_000_000)}));
        assert!(
            one["big"]
                .as_str()
                .is_some_and(|text| text.ends_with('…') && text.len() <= limits::PROPERTY_TEXT)
        );
    }

    #[test]
    fn deep_nesting_and_odd_numbers_are_harmless() {
        let mut deep = json!(1);
        for _ in 0..100 {
            deep = json!([deep]);
        }
        assert!(frozen(json!({"deep": deep, "nan": f64::NAN}))["nan"].is_null());
    }
}
