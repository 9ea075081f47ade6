//! What a server says, made fit for a log, a page and the dead letters.

use std::fmt::Write as _;

use serde_json::Value;

/// In bytes, before the ellipsis. Enough for a sentence; a page of HTML is not worth more.
const LIMIT: usize = 300;

/// The error of a reply's body: `error: description` from JSON, else the text itself.
pub(super) fn said(body: &[u8], key: &str) -> String {
    if let Ok(Value::Object(fields)) = serde_json::from_slice(body) {
        let field = |name: &str| fields.get(name).and_then(Value::as_str);
        let tag = field("error").or_else(|| field("code"));
        let description = field("error_description").or_else(|| field("detail"));
        match (tag, description) {
            (Some(tag), Some(description)) => {
                return bounded(&format!("{tag}: {description}"), key);
            }
            (Some(one), None) | (None, Some(one)) => return bounded(one, key),
            (None, None) => {}
        }
    }
    bounded(&String::from_utf8_lossy(body), key)
}

/// One line of at most [`LIMIT`] bytes: the key replaced, runs of white space made one space,
/// other control characters escaped.
pub(super) fn bounded(text: &str, key: &str) -> String {
    // Before cutting and escaping: either could leave a part of the key that no longer matches.
    let text = match key {
        "" => text.to_owned(),
        _ => text.replace(key, "***"),
    };
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        for c in word.chars() {
            if is_unsafe(c) {
                let _ = write!(line, "{}", c.escape_unicode());
            } else {
                line.push(c);
            }
        }
        if LIMIT < line.len() {
            line.truncate(line.floor_char_boundary(LIMIT));
            line.push('…');
            break;
        }
    }
    line
}

/// Control characters, and the marks that turn the direction of text or hide it.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
