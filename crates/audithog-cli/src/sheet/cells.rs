//! A value as a text of a table.

use audithog::query::CellKind;
use serde_json::Value;

use crate::{
    output::{number, plain},
    when::Clock,
};

/// Shown where there is no value.
const NOTHING: &str = "-";

/// A cell's text, harmless to a terminal.
pub(super) fn shown(value: &Value, kind: Option<CellKind>, clock: &Clock) -> String {
    match (value, kind) {
        (Value::Null, _) => NOTHING.to_owned(),
        (Value::String(text), Some(CellKind::Time)) => plain(&clock.local(text)),
        (Value::String(text), _) => plain(text),
        (Value::Number(found), Some(CellKind::Count)) => match found.as_u64() {
            Some(n) => number(n),
            None => estimate(found.as_f64().unwrap_or(f64::NAN)),
        },
        (Value::Number(found), Some(CellKind::Rate)) => rate(found.as_f64().unwrap_or(f64::NAN)),
        (Value::Number(found), Some(CellKind::Milliseconds)) => {
            milliseconds(found.as_f64().unwrap_or(f64::NAN))
        }
        (value, _) => plain(&value.to_string()),
    }
}

/// `1,234.5`: a count of events that stand for others.
fn estimate(count: f64) -> String {
    let tenths = (count * 10.0).round();
    let whole = (tenths / 10.0).trunc();
    match (tenths - whole * 10.0).abs() as u64 {
        0 => number(whole as u64),
        part => format!("{}.{part}", number(whole as u64)),
    }
}

/// `12.3 %`
fn rate(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 0.1 {
        return "< 0.1 %".to_owned();
    }
    format!("{percent:.1} %")
}

/// Three digits where there are no more: `0.123`, `12.3`, `1,234`.
pub(crate) fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => format!("{ms:.3}"),
        ms if ms < 10.0 => format!("{ms:.2}"),
        ms if ms < 100.0 => format!("{ms:.1}"),
        ms => number(ms.round() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_shown_as_people_read_them() {
        let clock = Clock::system(true);
        for (value, kind, expected) in [
            (json!(1_234_567), Some(CellKind::Count), "1,234,567"),
            (json!(1_234.56), Some(CellKind::Count), "1,234.6"),
            (json!(1_234.0), Some(CellKind::Count), "1,234"),
            (json!(0.1234), Some(CellKind::Rate), "12.3 %"),
            (json!(0.0001), Some(CellKind::Rate), "< 0.1 %"),
            (json!(0.0), Some(CellKind::Rate), "0.0 %"),
            (json!(0.1234), Some(CellKind::Milliseconds), "0.123"),
            (json!(12.34), Some(CellKind::Milliseconds), "12.3"),
            (json!(12_345.6), Some(CellKind::Milliseconds), "12,346"),
            (
                json!("2026-02-02T02:40:00.000001Z"),
                Some(CellKind::Time),
                "2026-02-02 02:40:00.000Z",
            ),
            (json!(null), Some(CellKind::Text), "-"),
            (
                json!({"a": "\u{1b}"}),
                Some(CellKind::Json),
                "{\"a\":\"\\u001b\"}",
            ),
            (json!("a\u{1b}[2J"), Some(CellKind::Text), "a\\u{1b}[2J"),
            (json!("\u{1b}"), Some(CellKind::Time), "\\u{1b}"),
            (json!(1_234_567), None, "1234567"),
        ] {
            assert_eq!(shown(&value, kind, &clock), expected);
        }
    }
}
