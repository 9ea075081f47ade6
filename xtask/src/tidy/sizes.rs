//! Short files.

use super::Finding;
use super::rust::{Keep, is_test_file, without_tests};
use super::tree::Tree;

/// In lines of code: neither blank, nor only a comment, nor test code.
const LONGEST_FILE: usize = 600;

/// Files that may be longer, each with the reason.
const LONGER_FILES: &[(&str, &str)] = &[];

pub(super) fn files_are_short(tree: &Tree) -> Vec<Finding> {
    too_long(tree, LONGEST_FILE, LONGER_FILES)
}

fn too_long(tree: &Tree, limit: usize, longer: &[(&str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree
        .with_ending("rs")
        .filter(|(path, _)| !is_test_file(path))
    {
        let lines = without_tests(text, Keep::CodeAndLiterals)
            .lines()
            .filter(|line| !line.trim().is_empty())
            .count();
        let allowed = longer.iter().any(|(allowed, _)| *allowed == path);
        if lines > limit && !allowed {
            let message = format!(
                "{lines} lines of code are more than {limit}: split the file by concept, or give a reason in tidy/sizes.rs"
            );
            findings.push(Finding::new(path, 1, message));
        }
        if lines <= limit && allowed {
            findings.push(Finding::new(
                path,
                1,
                "is short enough: take it off the list in tidy/sizes.rs",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_found_whatever_its_comments_and_tests() {
        let tree = Tree::of(&[
            ("crates/x/src/long.rs", "a();\nb();\nc();\n"),
            (
                "crates/x/src/documented.rs",
                "//! d\n\n// e\na();\nb();\n#[cfg(test)]\nmod tests {\n    f();\n}\n",
            ),
            ("crates/x/src/long/tests.rs", "a();\nb();\nc();\n"),
        ]);
        let findings = too_long(&tree, 2, &[]);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].path, "crates/x/src/long.rs");
        assert!(findings[0].message.starts_with("3 lines"));
    }

    #[test]
    fn the_list_of_longer_files_holds_and_does_not_go_stale() {
        let tree = Tree::of(&[("a.rs", "a();\nb();\nc();\n"), ("b.rs", "a();\n")]);
        let findings = too_long(&tree, 2, &[("a.rs", "a table"), ("b.rs", "a table once")]);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].path, "b.rs");
    }
}
