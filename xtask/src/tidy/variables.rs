//! The reference of environment variables and the code that reads them agree.

use std::collections::BTreeMap;

use super::Finding;
use super::rust::{Keep, is_test_file, without_tests};
use super::tree::Tree;

const CONFIG: &str = "crates/audithog/src/config";
const REFERENCE: &str = "docs/reference/variables.md";
const PREFIXES: &[&str] = &["AUDITHOG_", "LOG_", "POSTHOG_"];
/// Every secret can also be read from a file; the code makes those names from the secret's own.
const FILE_FORM: &str = "_FILE";

/// Silent as long as one of the two does not exist.
pub(super) fn variables_are_documented(tree: &Tree) -> Vec<Finding> {
    let (true, Some(reference)) = (tree.contains(CONFIG), tree.text(REFERENCE)) else {
        return Vec::new();
    };
    let read = variables_read(tree);
    let mentioned = names(reference, |_| true);
    let documented = names(reference, |line| line.starts_with('|'));
    let mut findings = Vec::new();
    for (name, (path, line)) in &read {
        if !mentioned.contains_key(name) {
            findings.push(Finding::new(
                path,
                *line,
                format!("`{name}` is not in {REFERENCE}: users look there"),
            ));
        }
    }
    for (name, line) in &documented {
        let base = name.strip_suffix(FILE_FORM).unwrap_or(name);
        if !read.contains_key(name) && !read.contains_key(base) {
            findings.push(Finding::new(
                REFERENCE,
                *line,
                format!("nothing in {CONFIG} reads `{name}`"),
            ));
        }
    }
    findings
}

/// Each variable that is a text of its own in the code, with its first place.
fn variables_read(tree: &Tree) -> BTreeMap<String, (String, usize)> {
    let mut read = BTreeMap::new();
    let in_config =
        |path: &str| path.starts_with(&format!("{CONFIG}/")) || path == format!("{CONFIG}.rs");
    for (path, text) in tree
        .with_ending("rs")
        .filter(|(path, _)| in_config(path) && !is_test_file(path))
    {
        let code = without_tests(text, Keep::CodeAndLiterals);
        for (index, line) in code.lines().enumerate() {
            for literal in line
                .split('"')
                .skip(1)
                .step_by(2)
                .filter(|literal| is_variable(literal))
            {
                read.entry(literal.to_owned())
                    .or_insert_with(|| (path.to_owned(), index + 1));
            }
        }
    }
    read
}

/// The variables in backticks on the lines that `counts` accepts, each with its first line.
fn names(text: &str, counts: impl Fn(&str) -> bool) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| counts(line)) {
        for name in line
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| is_variable(name))
        {
            names.entry(name.to_owned()).or_insert(index + 1);
        }
    }
    names
}

fn is_variable(text: &str) -> bool {
    let rest = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix));
    let shaped = |rest: &str| {
        rest.chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    rest.is_some_and(|rest| !rest.is_empty() && !rest.ends_with('_') && shaped(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "/// `AUDITHOG_OLD`\nconst DB: &str = \"AUDITHOG_DB\";\nconst KEY: &str = \"POSTHOG_API_KEY\";\n\
                        const PREFIX: &str = \"AUDITHOG_\";\n#[cfg(test)]\nmod tests { const X: &str = \"LOG_X\"; }\n";

    fn found(reference: &str) -> Vec<String> {
        let path = format!("{CONFIG}/names.rs");
        let tree = Tree::of(&[(&path, CODE), (REFERENCE, reference)]);
        variables_are_documented(&tree)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_variable_that_is_read_must_be_documented() {
        let findings = found("| `POSTHOG_API_KEY` | none |\n");
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(
            findings[0].contains("names.rs:2: `AUDITHOG_DB`"),
            "{findings:?}"
        );
    }

    #[test]
    fn a_variable_that_is_documented_must_be_read() {
        let findings = found("| `AUDITHOG_DB` | `POSTHOG_API_KEY` |\n\n| `LOG_X` | 1 |\n");
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(
            findings[0].starts_with("docs/reference/variables.md:3: ")
                && findings[0].contains("`LOG_X`")
        );
    }

    #[test]
    fn agreement_is_silent_and_so_is_a_missing_side() {
        let all = "| `AUDITHOG_DB` |\n| `POSTHOG_API_KEY` | or `POSTHOG_API_KEY_FILE` |\n\nNot `AUDITHOG_DBX`, a slip.\n";
        assert_eq!(found(all), [""; 0]);
        assert_eq!(
            variables_are_documented(&Tree::of(&[(REFERENCE, "| `LOG_X` |")])),
            []
        );
    }
}
