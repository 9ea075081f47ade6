//! Times, numbers and names.

use jiff::Timestamp;
use maud::{Markup, html};
use serde_json::Value;

/// `2026-11-26 01:02:03.456 UTC`; a script shows it in the zone that was chosen.
pub(crate) fn time(text: &str) -> Markup {
    html! { time datetime=(text) { (utc(text)) } }
}

/// Only to the second.
pub(crate) fn second(text: &str) -> Markup {
    html! { time datetime=(text) data-to="second" { (utc(text).get(..19).unwrap_or_default()) } }
}

/// Without the zone: the column says it.
fn utc(text: &str) -> String {
    match text.parse::<Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S.%3f").to_string(),
        Err(_) => text.to_owned(),
    }
}

/// `12,345`
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `0.31 %`: three digits, and never 0 for something.
pub(crate) fn rate(rate: f64) -> String {
    let percent = rate * 100.0;
    match percent {
        0.0 => "0 %".to_owned(),
        percent if percent < 0.01 => "<0.01 %".to_owned(),
        percent if percent < 10.0 => format!("{percent:.2} %"),
        percent => format!("{percent:.1} %"),
    }
}

/// Milliseconds, in the unit that reads best.
pub(crate) fn duration(milliseconds: f64) -> String {
    match milliseconds {
        ms if ms < 1.0 => format!("{:.0} µs", ms * 1_000.0),
        ms if ms < 100.0 => format!("{ms:.1} ms"),
        ms if ms < 1_000.0 => format!("{ms:.0} ms"),
        ms if ms < 10_000.0 => format!("{:.2} s", ms / 1_000.0),
        ms => format!("{:.1} s", ms / 1_000.0),
    }
}

/// `3 MiB`
pub(crate) fn bytes(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, bits) in units {
        let size = 1_u64 << bits;
        if bytes >= size {
            return format!("{:.1} {unit}", bytes as f64 / size as f64);
        }
    }
    format!("{bytes} B")
}

/// Seconds as an age: `42 s`, `3 min`, `5 h`, `2 days`.
pub(crate) fn age(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{:.0} s", s.max(0.0)),
        s if s < 5_400.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3_600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

/// How a status looks.
pub(crate) fn status_class(status: Option<u16>, failed: bool) -> &'static str {
    match status {
        Some(500..=599) => "s5",
        Some(400..=499) => "s4",
        _ if failed => "sx",
        _ => "ok",
    }
}

/// A text, or a dash.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_at_a_glance() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [0.0, 0.000_01, 0.0123, 0.5].map(rate),
            ["0 %", "<0.01 %", "1.23 %", "50.0 %"]
        );
        assert_eq!(
            [0.25, 12.34, 123.4, 3_006.0, 12_345.6].map(duration),
            ["250 µs", "12.3 ms", "123 ms", "3.01 s", "12.3 s"]
        );
        assert_eq!(
            [12, 3_072, 5 << 30].map(bytes),
            ["12 B", "3.0 KiB", "5.0 GiB"]
        );
        assert_eq!(
            [-1.0, 42.0, 300.0, 9_000.0, 200_000.0].map(age),
            ["0 s", "42 s", "5 min", "2 h", "2 days"]
        );
    }
}
