//! CSV as RFC 4180 has it, safe to open in a spreadsheet.

use std::io::{self, Write};

use serde_json::Value;

use super::text::escaped;

/// A cell that begins with one of these is run by some spreadsheet: the usual signs, their wide forms, and what is skipped before them.
const RUN: &[char] = &['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// One line of cells, which are as [`cell`] and [`quoted`] make them.
///
/// # Errors
///
/// Those of the writer.
pub fn line<T: AsRef<str>>(
    to: &mut impl Write,
    cells: impl IntoIterator<Item = T>,
) -> io::Result<()> {
    for (at, cell) in cells.into_iter().enumerate() {
        if at > 0 {
            to.write_all(b",")?;
        }
        to.write_all(cell.as_ref().as_bytes())?;
    }
    to.write_all(b"\r\n")
}

/// A value as a cell: nothing for null, objects as JSON.
#[must_use]
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => quoted(text),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(_) | Value::Object(_) => quoted(&value.to_string()),
    }
}

/// A text as a cell. One that a spreadsheet would run gets an apostrophe in front; control characters that no cell needs show
/// as escapes.
#[must_use]
pub fn quoted(text: &str) -> String {
    let runs = text.starts_with(RUN) && !is_negative_number(text);
    let shown = escaped(text, |c| matches!(c, '\t' | '\r' | '\n'));
    let sign = if runs { "'" } else { "" };
    if shown.contains(['"', ',', ';', '\t', '\r', '\n']) {
        return format!("\"{sign}{}\"", shown.replace('"', "\"\""));
    }
    format!("{sign}{shown}")
}

/// `-5`, `-0.25`
fn is_negative_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.strip_prefix('-')
        .is_some_and(|number| match number.split_once('.') {
            Some((whole, part)) => digits(whole) && digits(part),
            None => digits(number),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_would_break_a_line_is_quoted() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("a,\"b\"\nc"), "\"a,\"\"b\"\"\nc\"");
        assert_eq!(cell(&json!({"a": 1})), "\"{\"\"a\"\":1}\"");
        assert_eq!(cell(&Value::Null), "");
        let mut to = Vec::new();
        line(&mut to, ["a", "b"]).unwrap();
        assert_eq!(to, b"a,b\r\n");
    }

    #[test]
    fn what_a_spreadsheet_would_run_is_text() {
        for (text, expected) in [
            ("=cmd()", "'=cmd()"),
            ("+1", "'+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-2+3", "'-2+3"),
            ("-", "'-"),
            ("-1.", "'-1."),
            ("＝1", "'＝1"),
            ("\t=1", "\"'\t=1\""),
            ("\r=1", "\"'\r=1\""),
            ("=HYPERLINK(\"x\",1)", "\"'=HYPERLINK(\"\"x\"\",1)\""),
            ("-5", "-5"),
            ("-0.25", "-0.25"),
            ("a=b", "a=b"),
        ] {
            assert_eq!(quoted(text), expected, "{text:?}");
        }
        assert_eq!(cell(&json!(-5)), "-5");
        assert_eq!(cell(&json!(-0.5)), "-0.5");
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(quoted("a\x1b[31m\u{9b}"), "a\\u{1b}[31m\\u{9b}");
    }
}
