//! Words that must not be there.
//!
//! The words are put together from halves, so that this file does not break its own rules.

use super::Finding;
use super::rust::{Keep, stripped};
use super::tree::Tree;

const MARKERS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];

/// A marker without an owner is never done.
pub(super) fn todos_have_an_issue(tree: &Tree) -> Vec<Finding> {
    lines_where(tree.files(), |line| {
        let marker = MARKERS
            .iter()
            .find(|marker| words(line, marker).any(|rest| !starts_with_issue(rest)))?;
        Some(format!(
            "`{marker}` names no issue: write `{marker}(#123)`, or do it now"
        ))
    })
}

/// What follows each occurrence of `word` that is a word of its own.
fn words<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).filter_map(move |(at, _)| {
        let rest = &line[at + word.len()..];
        (!line[..at].ends_with(is_part) && !rest.starts_with(is_part)).then_some(rest)
    })
}

/// `(#123)`
fn starts_with_issue(rest: &str) -> bool {
    let Some((number, _)) = rest
        .strip_prefix("(#")
        .and_then(|rest| rest.split_once(')'))
    else {
        return false;
    };
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// A test that does not run proves nothing, and neither does an example that is not compiled.
pub(super) fn no_test_is_ignored(tree: &Tree) -> Vec<Finding> {
    let attribute = concat!("#[ign", "ore");
    let fence = concat!("```ign", "ore");
    lines_where(tree.with_ending("rs"), |line| {
        if line.contains(attribute) {
            Some("an ignored test proves nothing: make it reliable, or delete it".to_owned())
        } else if line.contains(fence) {
            Some("an example that is not compiled drifts: let it compile (`no_run` is fine), or mark it `text`".to_owned())
        } else {
            None
        }
    })
}

/// Files that wait for time to pass because that is what they are for, each with the reason.
const SLEEPING_FILES: &[(&str, &str)] = &[(
    "crates/audithog/src/clock.rs",
    "the clock itself: all other code waits through it, and tests move it",
)];

/// How far above a sleep its explanation may be.
const LINES_OF_EXPLANATION: usize = 8;

/// A sleep as synchronisation is slow and flaky at once. Clippy's ban is lifted only with a reason, just above.
pub(super) fn sleeps_are_explained(tree: &Tree) -> Vec<Finding> {
    let sleeps = [concat!("thread::sl", "eep"), concat!("time::sl", "eep")];
    let mut findings = Vec::new();
    let sleeps_for_all = |path: &str| SLEEPING_FILES.iter().any(|(file, _)| *file == path);
    for (path, text) in tree
        .with_ending("rs")
        .filter(|(path, _)| !sleeps_for_all(path))
    {
        let code = stripped(text, Keep::Code);
        let lines: Vec<&str> = code.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let above = &lines[index.saturating_sub(LINES_OF_EXPLANATION)..index];
            let explained = above
                .iter()
                .any(|line| line.contains("clippy::disallowed_methods"));
            if sleeps.iter().any(|sleep| line.contains(sleep)) && !explained {
                let message = "a sleep is no synchronisation: wait for a condition with a deadline, or say why it is \
                               needed in an `#[expect(clippy::disallowed_methods, reason = …)]` just above";
                findings.push(Finding::new(path, index + 1, message));
            }
        }
    }
    findings
}

/// Paths that exist on one machine only.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/wo", "rk/"),
];

/// Where packages come from is the user's configuration; a lock file that names a host breaks behind a mirror.
const REGISTRIES: &[&str] = &[
    concat!("registry.npm", "js.org"),
    concat!("registry.yarn", "pkg.com"),
    concat!("pypi", ".org"),
    concat!("files.python", "hosted.org"),
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
];

pub(super) fn nothing_names_a_machine_or_a_registry(tree: &Tree) -> Vec<Finding> {
    lines_where(tree.files(), |line| {
        // A path starts there: the same word inside an address or a relative path is something else.
        let starts =
            |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "/._-}".contains(c));
        let path = MACHINE_PATHS
            .iter()
            .find(|path| line.match_indices(*path).any(|(at, _)| starts(at)));
        if let Some(path) = path {
            return Some(format!(
                "`{path}…` exists on one machine only: use a relative path or a placeholder"
            ));
        }
        let registry = REGISTRIES
            .iter()
            .find(|registry| line.contains(*registry))?;
        Some(format!(
            "`{registry}` does not belong into the repository: name the package (for npm's lock file: `npm install \
             --omit-lockfile-registry-resolved`)"
        ))
    })
}

/// A finding for each line about which `judge` has something to say.
fn lines_where<'a>(
    files: impl Iterator<Item = (&'a str, &'a str)>,
    judge: impl Fn(&str) -> Option<String>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in files {
        for (index, line) in text.lines().enumerate() {
            if let Some(message) = judge(line) {
                findings.push(Finding::new(path, index + 1, message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of `text` that `rule` finds in a file called `path`.
    fn found(rule: fn(&Tree) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
        rule(&Tree::of(&[(path, text)]))
            .iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn a_marker_needs_an_issue_number() {
        let marker = MARKERS[0];
        let text = format!(
            "// {marker}: later\n// {marker}(#12): later\n// {marker}(#): later\n{marker}S_OPEN mas{marker}\n"
        );
        assert_eq!(found(todos_have_an_issue, "a.rs", &text), [1, 3]);
        for marker in &MARKERS[1..] {
            assert_eq!(
                found(todos_have_an_issue, "docs/a.md", &format!("{marker} this")),
                [1]
            );
        }
    }

    #[test]
    fn an_ignored_test_and_an_uncompiled_example_are_found() {
        let text = [
            "#[test]",
            concat!("#[ign", "ore = \"slow\"]"),
            "fn f() {}",
            concat!("/// ```ign", "ore"),
        ]
        .join("\n");
        assert_eq!(found(no_test_is_ignored, "a.rs", &text), [2, 4]);
        assert_eq!(
            found(no_test_is_ignored, "a.rs", "//! ignore\n/// ```no_run\n"),
            [0; 0]
        );
    }

    #[test]
    fn a_sleep_needs_its_reason_just_above() {
        let sleep = concat!("tokio::time::sl", "eep(wait).await;\n");
        let reason = "#[expect(clippy::disallowed_methods, reason = \"the clock itself\")]\n";
        assert_eq!(
            found(sleeps_are_explained, "a.rs", &format!("fn f() {{\n{sleep}")),
            [2]
        );
        assert_eq!(
            found(
                sleeps_are_explained,
                "a.rs",
                &format!("{reason}fn f() {{\n{sleep}")
            ),
            [0; 0]
        );
        assert_eq!(
            found(
                sleeps_are_explained,
                "a.rs",
                &format!("{reason}{}{sleep}", "g();\n".repeat(20))
            ),
            [22]
        );
        assert_eq!(
            found(
                sleeps_are_explained,
                "a.rs",
                &format!("// {sleep}\"{sleep}\";\n")
            ),
            [0; 0]
        );
    }

    #[test]
    fn machine_paths_and_registry_hosts_are_found() {
        for path in MACHINE_PATHS {
            assert_eq!(
                found(
                    nothing_names_a_machine_or_a_registry,
                    "a.md",
                    &format!("see `{path}x`")
                ),
                [1],
                "{path}"
            );
            let url = format!("https://example.com{path}x and src{path}x");
            assert_eq!(
                found(nothing_names_a_machine_or_a_registry, "a.md", &url),
                [0; 0],
                "{path}"
            );
        }
        for host in REGISTRIES {
            let line = format!("\"resolved\": \"https://{host}/a.tgz\"");
            assert_eq!(
                found(
                    nothing_names_a_machine_or_a_registry,
                    "package-lock.json",
                    &line
                ),
                [1],
                "{host}"
            );
        }
        let cargo = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
        assert_eq!(
            found(nothing_names_a_machine_or_a_registry, "Cargo.lock", cargo),
            [0; 0]
        );
    }
}
