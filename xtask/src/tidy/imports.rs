//! Arrows between the rooms of the library point one way.
//!
//! The rooms and their order are those of the code map in ARCHITECTURE.md. A room that reaches to its right makes a
//! circle, and with it a change in one place becomes a change in all.

use super::Finding;
use super::rust::{Keep, is_test_file, without_tests};
use super::tree::Tree;

const LIBRARY: &str = "crates/audithog/src/";

/// What a room must not know.
struct Room {
    name: &'static str,
    /// Other rooms, by the first word after `crate::`.
    rooms: &'static [&'static str],
    /// Other crates.
    crates: &'static [&'static str],
    rule: &'static str,
}

const ROOMS: &[Room] = &[
    Room {
        name: "record",
        rooms: &[
            "capture", "tower", "logger", "queue", "ledger", "delivery", "sink", "query",
            "inspect", "posthog", "config", "testing", "bench",
        ],
        crates: &[
            "axum",
            "tower_layer",
            "tower_service",
            "hyper",
            "rusqlite",
            "hyper_util",
            "tokio",
        ],
        rule: "record knows nobody: it says what a row is, and does no I/O",
    },
    Room {
        name: "capture",
        rooms: &[
            "tower", "logger", "queue", "ledger", "delivery", "sink", "query", "inspect", "config",
            "testing", "bench",
        ],
        crates: &[
            "axum",
            "tower_layer",
            "tower_service",
            "hyper",
            "rusqlite",
            "hyper_util",
        ],
        rule: "capture knows only record: it is neutral of the framework, and other rooms hand it values",
    },
    Room {
        name: "tower",
        rooms: &[
            "queue", "ledger", "delivery", "sink", "query", "inspect", "testing", "bench",
        ],
        crates: &["rusqlite", "hyper_util"],
        rule: "tower knows capture, and gives rows to the logger: where they go is not its business",
    },
    Room {
        name: "queue",
        rooms: &[
            "capture", "tower", "logger", "ledger", "delivery", "sink", "query", "inspect",
            "testing", "bench",
        ],
        crates: &[
            "axum",
            "tower_layer",
            "tower_service",
            "hyper",
            "rusqlite",
            "hyper_util",
        ],
        rule: "the queue knows only rows: neither who fills it nor who empties it",
    },
    Room {
        name: "ledger",
        rooms: &[
            "capture", "tower", "logger", "delivery", "sink", "query", "inspect", "testing",
            "bench",
        ],
        crates: &[
            "axum",
            "tower_layer",
            "tower_service",
            "hyper",
            "hyper_util",
        ],
        rule: "the ledger knows no sink and no request: rows come from the queue, cursors are names to it",
    },
    Room {
        name: "delivery",
        rooms: &[
            "capture", "tower", "logger", "query", "inspect", "testing", "bench",
        ],
        crates: &["axum", "tower_layer", "tower_service", "hyper"],
        rule: "delivery stands between ledger and sink: requests and questions are not its business",
    },
    Room {
        name: "sink",
        rooms: &[
            "capture", "tower", "logger", "queue", "ledger", "delivery", "query", "inspect",
            "testing", "bench",
        ],
        // hyper is its client here, and connectors are tower services.
        crates: &["axum", "tower_layer", "rusqlite"],
        rule: "a sink is given rows and knows no HTTP framework, no ledger and no schedule",
    },
    Room {
        name: "query",
        rooms: &[
            "capture", "tower", "logger", "queue", "delivery", "sink", "inspect", "testing",
            "bench",
        ],
        crates: &[
            "axum",
            "tower_layer",
            "tower_service",
            "hyper",
            "hyper_util",
        ],
        rule: "queries read the table: nothing that writes or ships is theirs",
    },
    Room {
        name: "inspect",
        rooms: &[
            "capture", "tower", "logger", "queue", "delivery", "query", "testing", "bench",
        ],
        crates: &[
            "axum",
            "tower_layer",
            "tower_service",
            "hyper",
            "rusqlite",
            "hyper_util",
        ],
        rule: "inspect looks at a ledger's file from outside: what runs in a service's process is not its business",
    },
];

/// Arrows that point the wrong way and are accepted: the file, what it reaches, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[(
    "crates/audithog/src/queue.rs",
    "ledger",
    "commands to the writer travel beside the rows, and one of them carries a settlement",
)];

pub(super) fn rooms_know_only_their_left(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let accepted = |path: &str, name: &str| {
        EXCEPTIONS
            .iter()
            .any(|(file, reached, _)| *file == path && *reached == name)
    };
    for (path, text) in tree
        .with_ending("rs")
        .filter(|(path, _)| !is_test_file(path))
    {
        let Some(module) = path.strip_prefix(LIBRARY).map(module_of) else {
            continue;
        };
        let Some(room) = ROOMS.iter().find(|room| module.first() == Some(&room.name)) else {
            continue;
        };
        let code = without_tests(text, Keep::Code);
        for (at, name) in crate_paths(&code, module.len()) {
            if room.rooms.contains(&name) && !accepted(path, name) {
                findings.push(Finding::new(
                    path,
                    line_of(&code, at),
                    format!("reaches `{name}`, but {}", room.rule),
                ));
            }
        }
        for name in room.crates {
            for at in external_paths(&code, name) {
                findings.push(Finding::new(
                    path,
                    line_of(&code, at),
                    format!("uses `{name}`, but {}", room.rule),
                ));
            }
        }
    }
    findings
}

/// The module path of a file below `src/`: `ledger/writer.rs` is `["ledger", "writer"]`.
fn module_of(file: &str) -> Vec<&str> {
    let mut module: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
    if module.last() == Some(&"mod") {
        module.pop();
    }
    module
}

/// Each name directly below the crate's root that the code mentions, with its place.
///
/// The root is written `crate`, or as one `super` for each level that the file is deep.
fn crate_paths(code: &str, depth: usize) -> Vec<(usize, &str)> {
    let mut names = Vec::new();
    for root in ["crate::".to_owned(), "super::".repeat(depth)] {
        for (at, _) in code.match_indices(&root) {
            let continues = code[..at].ends_with(|c: char| is_word(c) || c == ':');
            if !continues {
                names_after(code, at + root.len(), &mut names);
            }
        }
    }
    names
}

/// The name at `at`, or each name of the group there: `a`, or `a` and `c` of `{a::b, c}`.
fn names_after<'a>(code: &'a str, at: usize, names: &mut Vec<(usize, &'a str)>) {
    let mut push = |start: usize| {
        let name = &code[start..];
        let name = &name[..name.find(|c| !is_word(c)).unwrap_or(name.len())];
        if !name.is_empty() {
            names.push((start, name));
        }
    };
    if !code[at..].starts_with('{') {
        push(at);
        return;
    }
    let mut depth = 0usize;
    let mut expects_name = false;
    for (offset, c) in code[at..].char_indices() {
        match c {
            '{' => (depth, expects_name) = (depth + 1, depth == 0),
            '}' => depth -= 1,
            ',' => expects_name = depth == 1,
            c if is_word(c) && expects_name => {
                push(at + offset);
                expects_name = false;
            }
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

/// Where the code names something of another crate.
fn external_paths(code: &str, name: &str) -> Vec<usize> {
    let path = format!("{name}::");
    let starts = |at: usize| {
        let before = code[..at].trim_end();
        // `::axum::` and `use axum::` name the crate; `crate::axum::` and `my_axum::` do not.
        !code[..at].ends_with(is_word)
            && !before
                .strip_suffix("::")
                .is_some_and(|before| before.ends_with(is_word))
    };
    code.match_indices(&path)
        .map(|(at, _)| at)
        .filter(|at| starts(*at))
        .collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str, text: &str) -> Vec<(usize, String)> {
        let path = format!("{LIBRARY}{file}");
        let findings = rooms_know_only_their_left(&Tree::of(&[(&path, text)]));
        findings
            .into_iter()
            .map(|finding| (finding.line, finding.message))
            .collect()
    }

    #[test]
    fn every_way_to_reach_a_room_on_the_right_is_found() {
        for text in [
            "use crate::sink::Sink;",
            "use crate::{record::Row, sink::{Sink, Verdict}};",
            "use super::super::sink::Sink;",
            "use crate::{\n    sink};",
            "fn f() { crate::sink::g(); }",
        ] {
            let findings = found("ledger/writer.rs", text);
            assert_eq!(findings.len(), 1, "{text}: {findings:?}");
            assert!(
                findings[0].1.contains("the ledger knows no sink"),
                "{findings:?}"
            );
        }
        assert_eq!(found("logger.rs", "use super::ledger::Writer;").len(), 0);
        assert_eq!(found("queue.rs", "\nuse super::sink::Sink;")[0].0, 2);
        assert_eq!(found("sink/mod.rs", "use super::ledger::Reader;").len(), 1);
    }

    #[test]
    fn a_framework_in_a_sink_is_found() {
        let findings = found(
            "sink/posthog/v1.rs",
            "use axum::body::Body;\nfn f(_: ::axum::Request<()>) {}",
        );
        assert_eq!(
            findings.iter().map(|(line, _)| *line).collect::<Vec<_>>(),
            [1, 2]
        );
        assert!(
            findings[0].1.contains("knows no HTTP framework"),
            "{findings:?}"
        );
    }

    #[test]
    fn the_left_and_what_is_not_code_may_be_named() {
        for (file, text) in [
            (
                "ledger/writer.rs",
                "use crate::record::Row;\nuse crate::{Error, queue::Queue};",
            ),
            (
                "ledger/writer.rs",
                "//! Read by [`crate::sink`].\nconst A: &str = \"crate::sink\";",
            ),
            (
                "ledger/writer.rs",
                "use super::sink_names;\nuse super::sink::X;\nuse other_crate::sink::X;",
            ),
            (
                "ledger/writer.rs",
                "#[cfg(test)]\nmod tests {\n    use crate::testing::clock;\n}",
            ),
            ("ledger/tests.rs", "use crate::testing::clock;"),
            (
                "sink/mod.rs",
                "use crate::record::axum::X;\nuse my_axum::Y;",
            ),
            ("logger.rs", "use crate::{ledger, queue, delivery};"),
        ] {
            assert_eq!(found(file, text), [], "{file}: {text}");
        }
    }

    #[test]
    fn every_room_has_a_bad_sample_that_names_its_rule() {
        for room in ROOMS {
            for forbidden in room.rooms {
                let findings = found(
                    &format!("{}/x.rs", room.name),
                    &format!("use crate::{forbidden}::X;"),
                );
                assert_eq!(findings.len(), 1, "{} → {forbidden}", room.name);
                assert!(findings[0].1.ends_with(room.rule), "{findings:?}");
            }
        }
    }
}
