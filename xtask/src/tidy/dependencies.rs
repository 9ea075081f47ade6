//! Every dependency of the library has its reason on the page of dependencies, and the page names no other.

use super::Finding;
use super::tree::Tree;

const MANIFEST: &str = "crates/audithog/Cargo.toml";
const PAGE: &str = "docs/reference/dependencies.md";

/// Silent as long as there is no such library.
pub(super) fn dependencies_have_reasons(tree: &Tree) -> Vec<Finding> {
    let Some(manifest) = tree.text(MANIFEST) else {
        return Vec::new();
    };
    let used = used(manifest);
    let told = told(tree.text(PAGE).unwrap_or(""));
    let knows = |list: &[(usize, &str)], name| list.iter().any(|(_, known)| *known == name);
    let untold = used.iter().filter(|(_, name)| !knows(&told, *name));
    let untold = untold.map(|(line, name)| {
        let message = format!("{PAGE} does not say why `{name}` is there");
        Finding::new(MANIFEST, *line, message)
    });
    let unused = told.iter().filter(|(_, name)| !knows(&used, *name));
    let unused = unused.map(|(line, name)| {
        let message = format!("{MANIFEST} has no dependency `{name}`");
        Finding::new(PAGE, *line, message)
    });
    untold.chain(unused).collect()
}

/// Names below `[dependencies]` and those of a target, with their lines.
fn used(manifest: &str) -> Vec<(usize, &str)> {
    let mut wanted = false;
    let mut names = Vec::new();
    for (index, line) in manifest.lines().enumerate() {
        if let Some(section) = line.strip_prefix('[') {
            wanted = section == "dependencies]" || section.ends_with(".dependencies]");
        } else if wanted
            && !line.starts_with('#')
            && let Some((name, _)) = line.split_once(" = ")
        {
            names.push((index + 1, name));
        }
    }
    names
}

/// Names in the first column of the table.
fn told(page: &str) -> Vec<(usize, &str)> {
    let lines = page.lines().enumerate();
    lines
        .filter_map(|(index, line)| {
            let (name, _) = line.strip_prefix("| `")?.split_once("` |")?;
            Some((index + 1, name))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USED: &str = "[features]\nx = []\n[dependencies]\n# Why.\nbytes = \"1\"\nring = { version = \"1\" }\n\
                        [target.'cfg(unix)'.dependencies]\nrustix = \"1\"\n[dev-dependencies]\ntower = \"1\"\n";

    fn found(page: &str) -> Vec<String> {
        let tree = Tree::of(&[(MANIFEST, USED), (PAGE, page)]);
        let findings = dependencies_have_reasons(&tree);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_side_misses_what_the_other_has() {
        let whole = "| crate | why |\n| `bytes` | a |\n| `ring` | b |\n| `rustix` | c |\n";
        assert!(found(whole).is_empty());
        let without = whole.replace("| `ring` | b |\n", "");
        assert_eq!(
            found(&without),
            [
                "crates/audithog/Cargo.toml:6: docs/reference/dependencies.md does not say why `ring` is there"
            ]
        );
        let with = format!("{whole}| `tower` | d |\n");
        assert_eq!(
            found(&with),
            [
                "docs/reference/dependencies.md:5: crates/audithog/Cargo.toml has no dependency `tower`"
            ]
        );
    }

    #[test]
    fn without_a_page_every_dependency_is_a_finding() {
        let tree = Tree::of(&[(MANIFEST, USED)]);
        assert_eq!(dependencies_have_reasons(&tree).len(), 3);
        assert_eq!(dependencies_have_reasons(&Tree::of(&[])), []);
    }
}
