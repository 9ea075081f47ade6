//! The lines that audithog writes into the log, and the page that says what they mean, agree.

use super::Finding;
use super::rust::{Keep, is_test_file, stripped, without_tests};
use super::tree::Tree;

const PAGE: &str = "docs/operations.md";
/// The part of the page.
const PART: &str = "## Lines in the log";
/// The macros, and the heading under which their lines are explained.
const LEVELS: &[(&str, &str)] = &[
    ("info", "### Info"),
    ("warn", "### Warnings"),
    ("error", "### Errors"),
];
/// Stands for anything, in entries and, for arguments, in messages.
const ANYTHING: char = '…';

/// Messages that are all argument: the file, and how the line begins.
const SPOKEN: &[(&str, &str)] = &[(
    "crates/audithog/src/tower/axum.rs",
    "no audit layer around this route: …",
)];

/// A line that the code writes.
struct Message {
    path: String,
    line: usize,
    heading: &'static str,
    text: String,
}

/// A line that the page explains.
struct Entry {
    line: usize,
    heading: &'static str,
    text: String,
    /// It says what to do.
    acts: bool,
}

/// Silent as long as there is no such page.
pub(super) fn log_lines_are_explained(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.text(PAGE) else {
        return Vec::new();
    };
    let (messages, entries) = (messages(tree), entries(page));
    let mut findings = Vec::new();
    for message in &messages {
        let explains =
            |entry: &&Entry| entry.heading == message.heading && agree(&entry.text, &message.text);
        // A line that is all argument could be anything: it is named in `SPOKEN`, or it has words of its own.
        let says_something = message.text.chars().any(char::is_alphanumeric);
        if !says_something || !entries.iter().any(|entry| explains(&entry)) {
            let (heading, text) = (message.heading, &message.text);
            findings.push(Finding::new(
                &message.path,
                message.line,
                format!(
                    "`{text}` has no entry under \"{heading}\" in {PAGE}: operators look there"
                ),
            ));
        }
    }
    for entry in &entries {
        let written = |message: &&Message| {
            entry.heading == message.heading && agree(&entry.text, &message.text)
        };
        if !messages.iter().any(|message| written(&message)) {
            let text = &entry.text;
            findings.push(Finding::new(
                PAGE,
                entry.line,
                format!("nothing in the code writes `{text}` at this level"),
            ));
        }
        if !entry.acts {
            findings.push(Finding::new(
                PAGE,
                entry.line,
                "a warning's entry says what to do, in its last column",
            ));
        }
    }
    findings
}

/// Whether they are the same line, where either may leave parts open.
fn agree(entry: &str, message: &str) -> bool {
    matches(entry, message) || matches(message, entry)
}

/// Whether `text` is what `pattern` says; its [`ANYTHING`] matches whatever is there.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split(ANYTHING);
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    true
}

fn messages(tree: &Tree) -> Vec<Message> {
    let mut messages = Vec::new();
    for (path, source) in tree.with_ending("rs").filter(|(path, _)| {
        path.starts_with("crates/") && path.contains("/src/") && !is_test_file(path)
    }) {
        let text = without_tests(source, Keep::CodeAndLiterals);
        // Brackets are counted where none hides in a text; test code is blank in `text` alone.
        let code = stripped(source, Keep::Code);
        for (macro_name, heading) in LEVELS {
            let call = format!("{macro_name}!(");
            for (at, _) in text.match_indices(&call) {
                let before = text[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                    continue;
                }
                let open = at + call.len();
                let close = open + closing(&code[open..]);
                let said = last_literal(&code[open..close], &text[open..close]);
                let spoken = SPOKEN.iter().find(|(file, _)| *file == path);
                let said = match (said, spoken) {
                    (Some(said), Some((_, begin))) if said == "…" => (*begin).to_owned(),
                    (Some(said), _) => said,
                    (None, _) => String::new(),
                };
                messages.push(Message {
                    path: path.to_owned(),
                    line: text[..at].matches('\n').count() + 1,
                    heading,
                    text: said,
                });
            }
        }
    }
    messages
}

/// Where the bracket that is open before `code` closes.
fn closing(code: &str) -> usize {
    let mut depth = 1_usize;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    code.len()
}

/// The last text among the arguments, with [`ANYTHING`] for what is filled in. `code` is blank where `text` has the
/// contents of literals, their quotes included.
fn last_literal(code: &str, text: &str) -> Option<String> {
    let blank = |at: usize| code.as_bytes().get(at) == Some(&b' ');
    let end = text.rfind('"').filter(|at| blank(*at))?;
    let mut start = end;
    // The opening quote: the last one before that is not escaped and belongs to the same literal.
    while let Some(quote) = text[..start].rfind('"') {
        start = quote;
        if !text[..quote].ends_with('\\') {
            break;
        }
    }
    let mut said = String::new();
    let mut characters = text[start + 1..end].chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            // A line that goes on.
            '\\' if characters.peek() == Some(&'\n') => {
                while characters.next_if(|c| c.is_whitespace()).is_some() {}
            }
            '\\' => said.extend(characters.next()),
            '{' => {
                while characters.next_if(|c| *c != '}').is_some() {}
                characters.next();
                said.push(ANYTHING);
            }
            c => said.push(c),
        }
    }
    Some(said)
}

/// The texts in backticks of each first cell, but for those in brackets, which name fields.
fn entries(page: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut heading = None;
    let mut inside = false;
    for (index, line) in page.lines().enumerate() {
        if line.starts_with("## ") {
            inside = line == PART;
        }
        if line.starts_with('#') {
            heading = LEVELS
                .iter()
                .map(|(_, heading)| *heading)
                .find(|found| *found == line);
        }
        let (Some(heading), true) = (heading, inside && line.starts_with("| `")) else {
            continue;
        };
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let Some(first) = cells.first() else {
            continue;
        };
        let needed = if heading == LEVELS[0].1 { 2 } else { 3 };
        let acts = needed <= cells.len() && cells.iter().all(|cell| !cell.is_empty());
        for (at, text) in first.split('`').enumerate() {
            let before: String = first.split('`').take(at).step_by(2).collect();
            let in_brackets = before.matches('(').count() > before.matches(')').count();
            if at % 2 == 1 && !in_brackets {
                let text = text.to_owned();
                entries.push(Entry {
                    line: index + 1,
                    heading,
                    text,
                    acts,
                });
            }
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "fn f() {\n    tracing::warn!(%error, path = %path.display(), \"the disk (or \\\n        volume) is full\");\n    \
                        tracing::error!(\"key {hint}\");\n    tracing::debug!(\"not told\");\n}\n\
                        #[cfg(test)]\nmod tests { fn t() { tracing::warn!(\"in a test\"); } }\n";
    const GOOD: &str = "## Lines in the log\n\n### Warnings\n\n| line | meaning | do |\n|---|---|---|\n\
                        | `the disk (or volume) is full` (`error`, `path`) | Full. | Make room. |\n\n### Errors\n\n\
                        | `key is wrong` | A key. | Set another. |\n\n## More\n\n### Warnings\n\n| `elsewhere` | x |\n";

    fn found(page: &str) -> Vec<String> {
        let tree = Tree::of(&[("crates/audithog/src/a.rs", CODE), (PAGE, page)]);
        let findings = log_lines_are_explained(&tree);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn agreement_is_silent_and_so_is_a_missing_page() {
        assert_eq!(found(GOOD), [""; 0]);
        let tree = Tree::of(&[("crates/audithog/src/a.rs", CODE)]);
        assert_eq!(log_lines_are_explained(&tree), []);
    }

    #[test]
    fn a_line_without_an_entry_is_found() {
        let found = found(&GOOD.replace("the disk (or volume) is full", "the disk … is full soon"));
        assert_eq!(found.len(), 2, "{found:?}");
        let missing = "crates/audithog/src/a.rs:2: `the disk (or volume) is full` has no entry under \"### Warnings\"";
        assert!(found[0].starts_with(missing), "{found:?}");
        assert!(found[1].contains("nothing in the code writes `the disk … is full soon`"));
    }

    #[test]
    fn an_entry_under_another_level_does_not_count() {
        let found = found(&GOOD.replace("### Errors", "### Info"));
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn an_entry_says_what_to_do() {
        let found = found(&GOOD.replace(" | Make room. |", " |"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("says what to do"), "{found:?}");
    }

    #[test]
    fn a_line_that_is_all_argument_is_found() {
        let code = CODE.replace("key {hint}", "{hint}");
        let tree = Tree::of(&[("crates/audithog/src/a.rs", &code), (PAGE, GOOD)]);
        let findings = log_lines_are_explained(&tree);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(
            findings[0].message.starts_with("`…` has no entry"),
            "{findings:?}"
        );
    }

    #[test]
    fn what_is_left_open_matches_anything_and_nothing_else_does() {
        assert!(matches("a … c", "a b c") && matches("…c", "abc") && matches("a…", "abc"));
        assert!(!matches("a b", "a b c") && !matches("b c", "a b c") && !matches("a … d", "a b c"));
        assert!(agree("key is wrong", "key …"));
    }
}
