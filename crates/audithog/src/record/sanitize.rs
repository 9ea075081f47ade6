//! Text from outside, made fit for a row: valid UTF-8, bounded, and harmless to whoever prints it.
//!
//! * A control character, a line or paragraph separator and a character that turns the writing
//!   direction become `\u{1b}` (their code point in hexadecimal digits).
//! * A byte that is no UTF-8 becomes `\xff`.
//! * Everything else stays, a backslash too: the escapes are for reading, not for reversing.
//! * Then the text is cut at its limit (see [`super::limits`]).

use std::fmt::Write;

use super::Actor;
use super::limits::{ACTOR, cut};
use super::text::Text;

/// Bounded, escaped copy of bytes from outside. Reads no more of them than the limit can show.
pub(crate) fn bytes(raw: &[u8], limit: usize) -> Text {
    if raw.len() <= limit
        && let Some(text) = plain(raw)
    {
        return text.into();
    }
    // A character takes up to four bytes. One that this cuts in half lies beyond the limit.
    let seen = &raw[..raw.len().min(limit.saturating_add(4))];
    let text = escaped(seen);
    if text.len() <= limit {
        return text.into();
    }
    cut(&text, limit).into_owned().into()
}

/// Bounded, escaped copy of `text`.
pub(crate) fn text(text: &str, limit: usize) -> Text {
    if text.len() <= limit && is_plain(text.as_bytes()) {
        return text.into();
    }
    bytes(text.as_bytes(), limit)
}

/// Like [`text`], without a copy where nothing has to change.
pub(crate) fn kept(value: Text, limit: usize) -> Text {
    if fits(&value, limit) {
        value
    } else {
        text(&value, limit)
    }
}

/// Like [`text`], for what is no text of a row.
pub(super) fn owned(value: String, limit: usize) -> String {
    if fits(&value, limit) {
        value
    } else {
        text(&value, limit).to_string()
    }
}

/// True if `text` stays as it is.
#[inline]
pub(super) fn fits(text: &str, limit: usize) -> bool {
    text.len() <= limit && (is_plain(text.as_bytes()) || !text.contains(needs_escape))
}

/// Text that needs no look at its characters one by one: nearly all that arrives.
fn plain(raw: &[u8]) -> Option<&str> {
    if is_plain(raw) {
        str::from_utf8(raw).ok()
    } else {
        None
    }
}

/// True for printable ASCII. Looks at all bytes in any case, eight at a step.
#[inline]
fn is_plain(raw: &[u8]) -> bool {
    let marks = if let Some(last) = raw.last_chunk::<8>() {
        let (words, _) = raw.as_chunks::<8>();
        // The last step may look at some bytes again.
        words
            .iter()
            .chain([last])
            .fold(0, |all, word| all | marks(u64::from_ne_bytes(*word)))
    } else if let (Some(first), Some(last)) = (raw.first_chunk::<4>(), raw.last_chunk::<4>()) {
        let (first, last) = (u32::from_ne_bytes(*first), u32::from_ne_bytes(*last));
        marks(u64::from(first) << 32 | u64::from(last))
    } else {
        let rest = |word, byte: &u8| word << 8 | u64::from(*byte);
        marks(raw.iter().fold(u64::from_ne_bytes([b' '; 8]), rest))
    };
    marks == 0
}

/// The highest bit of a byte, and no other, for bytes that are no printable ASCII: of all, at least of the lowest one.
#[inline]
fn marks(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    // A byte below b' ' borrows and one above b'~' carries into its highest bit. What that does to the byte after it does
    // not matter: one mark is enough.
    let below = word.wrapping_sub(ONES * 0x20);
    let above = word.wrapping_add(ONES);
    (word | below | above) & (ONES << 7)
}

/// An actor as the application passed it: what it holds may come from outside.
pub(crate) fn actor(actor: &mut Actor) {
    let Actor {
        user_id,
        user_role,
        org_id,
        kind: _,
        on_behalf_of,
    } = actor;
    for value in [user_id, user_role, org_id].into_iter().flatten() {
        if !fits(value, ACTOR) {
            *value = text(value, ACTOR);
        }
    }
    if let Some(value) = on_behalf_of
        && !fits(value, ACTOR)
    {
        *value = text(value, ACTOR).into();
    }
}

fn escaped(raw: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(raw)
        && !text.chars().any(needs_escape)
    {
        return text.to_owned();
    }
    let mut out = String::with_capacity(raw.len() + 16);
    for chunk in raw.utf8_chunks() {
        for c in chunk.valid().chars() {
            if needs_escape(c) {
                out.extend(c.escape_unicode());
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// True for what could end a line, start a terminal sequence or reorder the text around it.
fn needs_escape(c: char) -> bool {
    match c {
        ' '..='~' => false,
        '\u{2028}' | '\u{2029}' => true,
        // Unicode Standard Annex #9: the explicit directional formatting characters.
        '\u{61c}' | '\u{200e}' | '\u{200f}' => true,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes, is_plain, kept, owned, text};

    #[test]
    fn one_byte_that_is_not_plain_is_seen_wherever_it_is() {
        for length in 0..20 {
            for odd in 0..=u8::MAX {
                for around in [b' ', b'~'] {
                    for at in 0..length {
                        let mut raw = vec![around; length];
                        raw[at] = odd;
                        assert_eq!(is_plain(&raw), matches!(odd, b' '..=b'~'), "{raw:?}");
                    }
                }
            }
        }
        assert!(is_plain(b""));
    }

    #[test]
    fn ordinary_text_stays_as_it_is() {
        for value in ["", "curl/8.5.0", "/a/b%20c", r"C:\temp", "Grüße 日本", "{}"] {
            assert_eq!(bytes(value.as_bytes(), 512), value);
            assert_eq!(text(value, 512), value);
        }
    }

    #[test]
    fn what_could_deceive_a_reader_is_escaped() {
        for (raw, shown) in [
            (&b"a\nb"[..], r"a\u{a}b"),
            (b"a\0b\x7f", r"a\u{0}b\u{7f}"),
            (b"\x1b[31mred", r"\u{1b}[31mred"),
            (b"\xff\xfea", r"\xff\xfea"),
            (b"caf\xe9", r"caf\xe9"),
            ("\u{85}\u{2028}".as_bytes(), r"\u{85}\u{2028}"),
            ("abc\u{202e}gpj".as_bytes(), r"abc\u{202e}gpj"),
        ] {
            assert_eq!(bytes(raw, 512), shown);
        }
        assert_eq!(text("a\r\nb", 512), r"a\u{d}\u{a}b");
        assert_eq!(kept("a\r\nb".into(), 512), r"a\u{d}\u{a}b");
    }

    #[test]
    fn a_cut_shows_and_keeps_whole_characters() {
        assert_eq!(bytes(&[b'x'; 1_000_000], 8), "xxxxx…");
        assert_eq!(bytes("ääääää".as_bytes(), 8), "ää…");
        assert_eq!(bytes(&b"\n".repeat(9), 8), r"\u{a}…");
        assert_eq!(text("123456789", 8), "12345…");
        assert_eq!(kept("12345678".into(), 8), "12345678");
        // The last character that is looked at is cut in half there, and does not show.
        for pad in 0..8 {
            let value = format!("{}{}", "x".repeat(pad), "€".repeat(20));
            let shown = bytes(value.as_bytes(), 16);
            assert!(!shown.contains('\\') && shown.len() <= 16, "{shown}");
        }
    }

    #[test]
    fn a_text_that_needs_no_change_is_not_copied() {
        let fine = "fine".to_owned();
        let at = fine.as_ptr();
        let kept_whole = owned(fine, 10);
        assert_eq!(kept_whole.as_ptr(), at);
        assert_eq!(owned("x".repeat(20), 10), "xxxxxxx…");
        assert_eq!(kept("x".repeat(20).into(), 10), "xxxxxxx…");
    }
}
