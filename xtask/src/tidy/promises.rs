//! The page of guarantees names tests that exist.

use super::Finding;
use super::rust::{Keep, stripped};
use super::tree::Tree;

const PAGE: &str = "docs/guarantees.md";
/// Between a path and the name of a test, in backticks: `it/lifecycle/crash.rs::a_test`. The path may be the end of one, as long as
/// it is the end of one only.
const BETWEEN: &str = ".rs::";

/// Silent as long as there is no such page.
pub(super) fn named_tests_exist(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.text(PAGE) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let mut named = 0;
    for (index, line) in page.lines().enumerate() {
        for span in line.split('`').skip(1).step_by(2) {
            let Some((path, test)) = span.split_once(BETWEEN) else {
                continue;
            };
            named += 1;
            if let Err(message) = look_up(tree, &format!("{path}.rs"), test) {
                findings.push(Finding::new(PAGE, index + 1, message));
            }
        }
    }
    if named == 0 {
        let message = "names no test as `path.rs::test`: a promise is worth the test that shows it";
        findings.push(Finding::new(PAGE, 1, message));
    }
    findings
}

fn look_up(tree: &Tree, path: &str, test: &str) -> Result<(), String> {
    let below = format!("/{path}");
    let mut found = tree
        .with_ending("rs")
        .filter(|(file, _)| *file == path || file.ends_with(&below));
    match (found.next(), found.next()) {
        (None, _) => Err(format!("there is no `{path}`")),
        (Some((one, _)), Some((other, _))) => Err(format!(
            "`{path}` is `{one}` or `{other}`: write more of the path"
        )),
        (Some((_, source)), None) if has_test(source, test) => Ok(()),
        (Some((file, _)), None) => Err(format!("`{file}` has no test `{test}`")),
    }
}

/// Whether a function of this name has the attribute that makes it a test; also in `proptest!`.
fn has_test(source: &str, test: &str) -> bool {
    let code = stripped(source, Keep::Code);
    let declared = format!("fn {test}");
    code.match_indices(&declared).any(|(at, _)| {
        let rest = &code[at + declared.len()..];
        let before = &code[..at];
        // What stands between the end of the item before and this one: attributes, `async`, `pub`.
        let head = &before[before.rfind(['{', '}', ';']).map_or(0, |end| end + 1)..];
        rest.starts_with('(')
            && ["#[test]", "#[tokio::test"]
                .iter()
                .any(|it| head.contains(it))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TESTS: &str = "fn helper() {}\n/// #[test]\n#[expect(x, reason = \"}\")]\n#[test]\nfn plain() { helper() }\n\
                         #[tokio::test(flavor = \"multi_thread\")]\nasync fn waits() {}\n\
                         proptest! {\n    #![proptest_config(c { cases: 5 })]\n    /// Says it.\n    #[test]\n    fn always(n in 0..5) {}\n}\n\
                         // #[test]\nfn not_any_more() {}\n";

    fn found(page: &str) -> Vec<String> {
        let tree = Tree::of(&[
            ("crates/a/tests/it/crash.rs", TESTS),
            ("crates/a/src/tests.rs", TESTS),
            ("crates/b/src/tests.rs", TESTS),
            (PAGE, page),
        ]);
        named_tests_exist(&tree)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn tests_that_exist_are_found_by_the_end_of_their_path() {
        let page =
            "| it | `it/crash.rs::plain`, `crash.rs::waits` |\n| `a/src/tests.rs::always` |\n";
        assert_eq!(found(page), [""; 0]);
    }

    #[test]
    fn what_is_no_test_is_told() {
        for (span, told) in [
            ("crash.rs::plai", "has no test `plai`"),
            ("crash.rs::helper", "has no test `helper`"),
            ("crash.rs::not_any_more", "has no test `not_any_more`"),
            ("crash.rs::a::plain", "has no test `a::plain`"),
            ("rash.rs::plain", "there is no `rash.rs`"),
            ("src/tests.rs::plain", "write more of the path"),
        ] {
            let findings = found(&format!("# Page\n\n`crash.rs::plain` and `{span}`\n"));
            assert_eq!(findings.len(), 1, "{span}: {findings:?}");
            assert!(
                findings[0].starts_with("docs/guarantees.md:3: ") && findings[0].contains(told),
                "{findings:?}"
            );
        }
    }

    #[test]
    fn a_page_without_tests_is_told_and_no_page_is_not() {
        assert_eq!(found("All is well: `crash.rs`.\n").len(), 1);
        assert_eq!(named_tests_exist(&Tree::of(&[("a.rs", TESTS)])), []);
    }
}
