//! The benchmark suite: builds bench/, a workspace of its own, and runs its harness.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::command::Run;
use crate::setup;

/// What `cargo xtask bench …` takes, for the help text.
pub(crate) const HELP: &str =
    "    cargo xtask bench              measures audithog beside its peers, about an hour; writes bench/RESULTS.md
    cargo xtask bench --quick      less of it, for before and after a change
                                   (--only GROUP,… --stacks STACK,… --rounds N --report; `bench --help` explains)
    cargo xtask bench --check      the suite compiles without a warning, and its tests pass
";

const MANIFEST: &str = "bench/Cargo.toml";
/// As in `bench/harness`.
const HARNESS: &str = "harness";

pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<()> {
    match arguments {
        [only] if only == "--check" => check(root),
        arguments => measure(root, arguments),
    }
}

/// Not a step of `cargo xtask test`: the peers alone take minutes to build.
fn check(root: &Path) -> Result<()> {
    cargo(root, "fmt --all --check").check()?;
    // All packages at once would give each the features of all others.
    for package in packages(root)? {
        cargo(root, "clippy --all-targets --package")
            .arg(&package)
            .words("-- -D warnings")
            .check()?;
        cargo(root, "test --package").arg(&package).check()?;
    }
    Ok(())
}

fn measure(root: &Path, arguments: &[String]) -> Result<()> {
    let only_text = ["--help", "-h", "--report"];
    let measures = !arguments
        .iter()
        .any(|word| only_text.contains(&word.as_str()));
    if measures {
        setup::bench(root)?;
        // Two peers are one crate with and without a feature: each package is built for itself.
        for package in packages(root)? {
            cargo(root, "build --release --quiet --bins --package")
                .arg(package)
                .check()?;
        }
        // The harness runs these and must not wait for a build.
        cargo(root, "bench --no-run --quiet --package micro").check()?;
    }
    let mut run = cargo(root, "run --release --quiet --package")
        .arg(HARNESS)
        .arg("--");
    for word in arguments {
        run = run.arg(word);
    }
    run.check()
}

/// Cargo on the suite's workspace, which keeps its target directory to itself.
fn cargo(root: &Path, words: &str) -> Run {
    let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
    Run::cargo(root)
        .arg(verb)
        .arg("--manifest-path")
        .arg(MANIFEST)
        .words(rest)
}

fn packages(root: &Path) -> Result<Vec<String>> {
    let text = cargo(root, "metadata --no-deps --format-version 1").output()?;
    names(&serde_json::from_str(&text)?)
}

fn names(metadata: &Value) -> Result<Vec<String>> {
    let packages = metadata["packages"]
        .as_array()
        .context("the metadata lists no packages")?;
    packages
        .iter()
        .map(|package| {
            let name = package["name"].as_str().context("a package has no name")?;
            Ok(name.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_harness_is_a_package_of_the_suite() {
        let found = packages(&crate::repository().unwrap()).unwrap();
        assert!(found.iter().any(|name| name == HARNESS), "{found:?}");
    }

    #[test]
    fn a_package_without_a_name_is_no_success() {
        assert_eq!(names(&json!({"packages": [{"name": "a"}]})).unwrap(), ["a"]);
        assert!(names(&json!({"packages": [{}]})).is_err());
        assert!(names(&json!({})).is_err());
    }

    #[test]
    fn the_manifest_comes_after_the_verb() {
        let line = cargo(Path::new("."), "build --release").line();
        assert_eq!(
            line,
            format!("cargo build --manifest-path {MANIFEST} --release")
        );
    }
}
