//! Values as a part of HogQL's text: only where a query cannot be given values, as in an insight.

use serde_json::Value;

use crate::query::Statement;

/// A string literal. HogQL escapes by backslashes (`escape_hogql_string`).
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{b}' => out.push_str("\\v"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// The statement with its values in the text, each in place of its `{name}`. What a value contains is not looked at again.
pub(super) fn inlined(statement: &Statement) -> String {
    let mut out = String::with_capacity(statement.sql.len());
    let mut rest = statement.sql.as_str();
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let found = statement.values.iter().find_map(|(name, value)| {
            let rest = from.strip_prefix('{')?.strip_prefix(name.as_str())?;
            Some((value, rest.strip_prefix('}')?))
        });
        match found {
            Some((value, after)) => {
                out.push_str(&literal(value));
                rest = after;
            }
            None => {
                out.push('{');
                rest = &from[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn literal(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{Field, Filter, Named};

    #[test]
    fn a_value_cannot_end_its_literal() {
        for (text, literal) in [
            ("shop", "'shop'"),
            ("o'clock", "'o\\'clock'"),
            ("\\", "'\\\\'"),
            ("\\'", "'\\\\\\''"),
            ("a\nb\0", "'a\\nb\\0'"),
            ("{v1} {filters}", "'{v1} {filters}'"),
        ] {
            assert_eq!(quoted(text), literal);
        }
    }

    #[test]
    fn a_value_that_looks_like_a_name_of_another_is_left_as_it_is() {
        let filter = Filter::all()
            .is(Field::Service, ["{v2}"])
            .and_then(|filter| filter.is(Field::Environment, ["x' OR {v1} = '"]))
            .unwrap();
        let statement = Named::Users.question(None, filter).unwrap().hogql();
        let text = inlined(&statement);
        assert!(
            text.contains("toString(properties.service) IN ('{v2}')"),
            "{text}"
        );
        assert!(text.contains("IN ('x\\' OR {v1} = \\'')"), "{text}");
    }
}
