//! The house rules that neither rustc nor clippy knows. Each finding says what to do instead.
//!
//! The rules see a [`Tree`]: the repository's files in memory, so that their tests need no disk.

mod dependencies;
mod imports;
mod links;
mod messages;
mod promises;
mod rust;
mod sizes;
mod tree;
mod variables;
mod words;

use std::fmt;
use std::path::Path;

use anyhow::{Result, bail};

use tree::Tree;

/// A broken rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    /// Counted from 1.
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

const RULES: &[fn(&Tree) -> Vec<Finding>] = &[
    sizes::files_are_short,
    words::todos_have_an_issue,
    words::no_test_is_ignored,
    words::sleeps_are_explained,
    words::nothing_names_a_machine_or_a_registry,
    imports::rooms_know_only_their_left,
    links::links_resolve,
    variables::variables_are_documented,
    messages::log_lines_are_explained,
    promises::named_tests_exist,
    dependencies::dependencies_have_reasons,
];

pub(crate) fn run(root: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    let findings = check(&tree);
    for finding in &findings {
        println!("{finding}");
    }
    match findings.as_slice() {
        [] => {
            println!("{} files, {} rules", tree.len(), RULES.len());
            Ok(())
        }
        [first, rest @ ..] => bail!(
            "{first}{}",
            if rest.is_empty() {
                ""
            } else {
                " (and more, above)"
            }
        ),
    }
}

fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule(tree)).collect();
    findings.sort();
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        run(&crate::repository().unwrap()).unwrap();
    }

    #[test]
    fn a_finding_is_printed_as_a_place_that_editors_jump_to() {
        let finding = Finding::new("crates/x/src/lib.rs", 7, "too bad");
        assert_eq!(finding.to_string(), "crates/x/src/lib.rs:7: too bad");
    }
}
