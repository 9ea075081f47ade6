//! Text from outside, made safe to store and to show: valid UTF-8, no control characters, bounded.
//!
//! A control character (C0, DEL, C1) becomes its escape `\u{…}`, so that a row can neither forge a
//! line of a log nor steer a terminal. Bytes that are no UTF-8 become U+FFFD.

use std::borrow::Cow;

use super::limits::cut;
use super::row::Text;

/// Bounded, escaped copy of `text`.
pub(crate) fn text(text: &str, limit: usize) -> Text {
    Cow::Owned(clean(text, limit).into_owned())
}

/// Like [`text`], without a copy where nothing has to change.
pub(crate) fn cow(text: Text, limit: usize) -> Text {
    match text {
        Cow::Borrowed(text) => clean(text, limit),
        Cow::Owned(text) => match clean(&text, limit) {
            Cow::Borrowed(same) if same.len() == text.len() => Cow::Owned(text),
            changed => Cow::Owned(changed.into_owned()),
        },
    }
}

/// Like [`text`], for header values and paths, which are bytes.
pub(crate) fn bytes(bytes: &[u8], limit: usize) -> Text {
    // Looks at no more than can stay: a huge header costs no more than a long one.
    let head = &bytes[..bytes.len().min(limit.saturating_mul(2))];
    Cow::Owned(clean(&String::from_utf8_lossy(head), limit).into_owned())
}

fn clean(text: &str, limit: usize) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return cut(text, limit);
    }
    let mut escaped = String::with_capacity(text.len().min(limit) + 16);
    for c in text.chars() {
        if c.is_control() {
            escaped.extend(c.escape_unicode());
        } else {
            escaped.push(c);
        }
        if escaped.len() > limit {
            break;
        }
    }
    Cow::Owned(cut(&escaped, limit).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_nothing_else() {
        assert_eq!(text("a\nb\u{0}\u{9b}c é", 100), "a\\u{a}b\\u{0}\\u{9b}c é");
        assert_eq!(bytes(b"\xff\x1b[31m", 100), "\u{fffd}\\u{1b}[31m");
    }

    #[test]
    fn long_text_is_cut_at_a_character_boundary() {
        let cut = bytes("é".repeat(1_000_000).as_bytes(), 512);
        assert!(
            cut.len() <= 512 && cut.ends_with('…'),
            "{} bytes",
            cut.len()
        );
        let escaped = text(&"\n".repeat(1_000), 64);
        assert!(escaped.len() <= 64 && escaped.ends_with('…'), "{escaped}");
    }

    #[test]
    fn a_text_that_needs_no_change_is_not_copied() {
        assert!(matches!(
            cow(Cow::Borrowed("fine"), 10),
            Cow::Borrowed("fine")
        ));
        assert_eq!(cow(Cow::Owned("x".repeat(20)), 10), "xxxxxxx…");
    }
}
