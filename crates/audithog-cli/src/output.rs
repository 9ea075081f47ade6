//! Standard output for all commands: text of 80 columns, numbers as people read them, and an end
//! when nobody reads any more.

use std::{
    borrow::Cow,
    error::Error,
    fmt::Write as _,
    io::{self, BufWriter, IsTerminal as _, Write as _},
};

use audithog::query::{
    csv,
    text::{escaped, is_unseen},
};

use crate::failure::Failure;

/// A terminal's usual width; also in a pipe, so that what was seen can be compared.
const WIDTH: usize = 80;

/// How a command shows what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Style {
    Bold,
    Dim,
    Good,
    Warning,
    Bad,
}

/// Buffered standard output.
#[derive(Debug)]
pub(crate) struct Output {
    to: BufWriter<io::Stdout>,
    colors: bool,
}

impl Output {
    /// Colours on a terminal, unless `NO_COLOR` is set (no-color.org) or the terminal is dumb.
    pub(crate) fn standard() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            to: BufWriter::new(io::stdout()),
            colors: io::stdout().is_terminal() && !set("NO_COLOR") && !dumb,
        }
    }

    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.to, "{text}")
    }

    /// `text` folded at words, after `label` in a column of `indent` characters.
    pub(crate) fn entry(&mut self, label: &str, indent: usize, text: &str) -> io::Result<()> {
        let mut label = label;
        for line in fold(text, WIDTH - indent) {
            let name = self.paint(&format!("{label:<indent$}"), Style::Bold);
            writeln!(self.to, "{}", format!("{name}{line}").trim_end())?;
            label = "";
        }
        Ok(())
    }

    /// The same with text that somebody may copy: folded on a terminal only.
    pub(crate) fn copyable(&mut self, label: &str, indent: usize, text: &str) -> io::Result<()> {
        if io::stdout().is_terminal() {
            return self.entry(label, indent, text);
        }
        writeln!(self.to, "{label:<indent$}{text}")
    }

    pub(crate) fn json(&mut self, value: &impl serde::Serialize) -> Result<(), Failure> {
        serde_json::to_string_pretty(value)
            .map_err(io::Error::from)
            .and_then(|text| writeln!(self.to, "{}", harmless(&text)))
            .map_err(written)
    }

    /// One line of JSON.
    pub(crate) fn ndjson(&mut self, value: &impl serde::Serialize) -> io::Result<()> {
        let text = serde_json::to_string(value)?;
        writeln!(self.to, "{}", harmless(&text))
    }

    /// One line of CSV.
    pub(crate) fn csv<T: AsRef<str>>(
        &mut self,
        cells: impl IntoIterator<Item = T>,
    ) -> io::Result<()> {
        csv::line(&mut self.to, cells)
    }

    /// Columns of the terminal; none if it is no terminal.
    pub(crate) fn width() -> Option<usize> {
        let (width, _) = terminal_size::terminal_size_of(io::stdout())?;
        Some(usize::from(width.0)).filter(|width| *width > 0)
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    /// Nothing but spaces stays as it is: a colour would show only in a dump.
    pub(crate) fn paint(&self, text: &str, style: Style) -> String {
        if !self.colors || text.trim().is_empty() {
            return text.to_owned();
        }
        let code = match style {
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Good => "32",
            Style::Warning => "33",
            Style::Bad => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    pub(crate) fn end(mut self) -> Result<(), Failure> {
        self.to.flush().map_err(written)
    }
}

/// JSON that a terminal can show: the same value, with escapes where a character would not be seen as itself.
fn harmless(json: &str) -> Cow<'_, str> {
    // Line ends are the formatter's; those of values are escaped already.
    let harms = |c: char| c != '\n' && is_unseen(c);
    if !json.contains(harms) {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if harms(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(c);
        }
    }
    Cow::Owned(text)
}

/// What went wrong with a question, or with what was asked for it.
pub(crate) fn unanswered(error: audithog::Error) -> Failure {
    let exit_code = if error.is_question() || error.is_config() {
        2
    } else {
        1
    };
    Failure::new(exit_code, error)
}

/// A line for people, beside what programs read.
pub(crate) fn remark(text: &str) {
    // Nobody may be reading.
    let _ = writeln!(io::stderr(), "audithog: {text}");
}

/// A failed write to standard output. A reader that has left, as `head` does, is no failure.
#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
pub(crate) fn written(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::quiet(0);
    }
    Failure::new(1, format!("the output cannot be written: {error}"))
}

/// What the library says, in one line with its causes.
pub(crate) fn failed(error: impl Error + 'static) -> Failure {
    Failure::new(1, error)
}

/// Lines of at most `width` characters, broken at spaces; a longer word stays whole.
pub(crate) fn fold(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let length = line.chars().count();
        if length > 0 && length + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// `1,234,567`
pub(crate) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 row`, `1,234 rows`
pub(crate) fn counted(n: u64, noun: &str) -> String {
    let ending = if n == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", number(n))
}

/// `1 row waits`, `1,234 rows wait`
pub(crate) fn wait(n: u64, noun: &str) -> String {
    let ending = if n == 1 { "s" } else { "" };
    format!("{} wait{ending}", counted(n, noun))
}

/// `12.3 MiB`
pub(crate) fn bytes(n: u64) -> String {
    let mut value = n as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    match unit {
        "B" => format!("{n} B"),
        _ => format!("{value:.1} {unit}"),
    }
}

/// `3 s`, `12 min`, `5 h`, `9 days`
pub(crate) fn age(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    let (n, unit) = match seconds {
        s if s < 120.0 => (s, "s"),
        s if s < 2.0 * 3_600.0 => (s / 60.0, "min"),
        s if s < 2.0 * 86_400.0 => (s / 3_600.0, "h"),
        s => (s / 86_400.0, "days"),
    };
    format!("{} {unit}", n as u64)
}

/// `2026-11-23 09:10:11 UTC` of an RFC 3339 time in UTC.
pub(crate) fn time(text: &str) -> String {
    match (text.get(..10), text.get(11..19)) {
        (Some(day), Some(time)) => format!("{day} {time} UTC"),
        _ => text.to_owned(),
    }
}

/// Text from a ledger for a terminal: what would move the cursor, or turn or hide text, shows as an escape.
pub(crate) fn plain(text: &str) -> String {
    escaped(text, |_| false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_people_read_them() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(number),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [0, 1, 1_000].map(|n| counted(n, "row")),
            ["0 rows", "1 row", "1,000 rows"]
        );
        assert_eq!(
            [0, 1, 2].map(|n| wait(n, "row")),
            ["0 rows wait", "1 row waits", "2 rows wait"]
        );
        assert_eq!(
            [512, 1536, 5 << 30].map(bytes),
            ["512 B", "1.5 KiB", "5.0 GiB"]
        );
        assert_eq!(
            [0.4, 119.0, 120.0, 86_400.0, 864_000.0].map(age),
            ["0 s", "119 s", "2 min", "24 h", "10 days"]
        );
        assert_eq!(
            time("2026-02-02T02:40:00.000001Z"),
            "2026-02-02 02:40:00 UTC"
        );
    }

    #[test]
    fn text_is_folded_at_words() {
        assert_eq!(fold("one two three", 7), ["one two", "three"]);
        assert_eq!(fold("a-very-long-word b", 4), ["a-very-long-word", "b"]);
        assert_eq!(fold("", 4), [""]);
    }

    #[test]
    fn json_keeps_its_value_and_shows_nothing_raw() {
        let value = serde_json::json!({"a": "\u{9b}31m \u{7f}\u{202e}\u{e0041} \n né"});
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = harmless(&text);
        assert!(!shown.replace('\n', "").contains(is_unseen), "{shown}");
        let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read, value);
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(plain("a\x1b[31m\n"), "a\\u{1b}[31m\\n");
        assert_eq!(plain("\u{9b}31m\u{202e}x"), "\\u{9b}31m\\u{202e}x");
        assert_eq!(plain("né 日本 👍"), "né 日本 👍");
    }
}
