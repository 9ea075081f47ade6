//! Text of a log, made fit to be shown: rows of older versions, and those that were changed by hand, can have anything in them.

use std::fmt::Write as _;

/// What would move a cursor, or turn or hide text, as an escape (`\\u{1b}`); but for characters that the place can have.
#[must_use]
pub fn escaped(text: &str, except: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unseen(c) && !except(c) {
            // Writing to a string cannot fail.
            let _ = write!(shown, "{}", c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Controls, line separators, and what has no width or changes the direction of writing (Unicode's `Cf`, as far as it does that).
#[must_use]
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
