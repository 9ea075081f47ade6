//! The library resolves, links and runs beside the SQLite libraries that services already have.
//!
//! Each directory of `checks/neighbours` is a package with a lock file of its own, because one lock file can hold one
//! SQLite binding only. They share a target directory, so what their graphs have in common is built once.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::command::Run;

const DIRECTORY: &str = "checks/neighbours";

pub(crate) fn run(root: &Path) -> Result<()> {
    // As with the repository's own lock file: at the desk cargo adds what a manifest newly asks for, and the change is
    // committed with it; a gate takes what is committed.
    let locked = if std::env::var_os("CI").is_some() {
        "--locked"
    } else {
        ""
    };
    for manifest in manifests(root)? {
        Run::cargo(root)
            .words("run --quiet --target-dir target/neighbours")
            .words(locked)
            .arg("--manifest-path")
            .arg(&manifest)
            .check()
            .context("if a lock file is behind: cargo xtask neighbours --update")?;
    }
    Ok(())
}

/// Adds to the lock files what the library's manifest newly asks for, and changes nothing else in them.
pub(crate) fn update(root: &Path) -> Result<()> {
    for manifest in manifests(root)? {
        Run::cargo(root)
            .words("update --workspace --manifest-path")
            .arg(&manifest)
            .check()?;
    }
    Ok(())
}

/// The manifests relative to `root`, in a stable order.
fn manifests(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = root
        .join(DIRECTORY)
        .read_dir()
        .with_context(|| format!("`{DIRECTORY}` cannot be read"))?;
    for entry in entries {
        let manifest = Path::new(DIRECTORY)
            .join(entry?.file_name())
            .join("Cargo.toml");
        if root.join(&manifest).is_file() {
            found.push(manifest);
        }
    }
    if found.is_empty() {
        bail!("`{DIRECTORY}` holds no package");
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_neighbour_has_a_lock_file_and_shares_one_source() {
        let root = crate::repository().unwrap();
        let manifests = manifests(&root).unwrap();
        assert!(manifests.len() > 1, "{manifests:?}");
        for manifest in manifests {
            assert!(
                root.join(manifest.with_file_name("Cargo.lock")).is_file(),
                "{manifest:?} has no lock file"
            );
        }
    }

    #[test]
    fn a_directory_without_packages_is_no_success() {
        let root = std::env::temp_dir().join(format!("xtask-neighbours-{}", std::process::id()));
        std::fs::create_dir_all(root.join(DIRECTORY).join("no-package")).unwrap();
        let problem = manifests(&root).unwrap_err().to_string();
        assert!(problem.contains("holds no package"), "{problem}");
        std::fs::remove_dir_all(&root).unwrap();
    }
}
