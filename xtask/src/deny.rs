//! cargo-deny: licences, banned crates and sources, by the rules in `deny.toml`.
//!
//! Advisories are left out: their database changes without a commit here, and a check that fails by itself is no
//! gate for a change.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::command::Run;

const VERSION: &str = "0.20.2";

pub(crate) fn run(root: &Path) -> Result<()> {
    install(root)?;
    Run::new(binary(root), root)
        .words("--workspace --locked check --hide-inclusion-graph bans licenses sources")
        .check()
}

/// Has cargo-deny in `target/tools`, built once.
///
/// A build without optimisation takes a third of the time, and the check itself takes a second either way.
pub(crate) fn install(root: &Path) -> Result<()> {
    if Run::new(binary(root), root)
        .arg("--version")
        .output()
        .is_ok_and(|line| line.trim_end().ends_with(VERSION))
    {
        return Ok(());
    }
    // Outside of the repository's own target directory: its profiles and its lock are not cargo-deny's.
    Run::cargo(root)
        .words("install cargo-deny --locked --debug --force --version")
        .arg(VERSION)
        .words("--root target/tools --target-dir target/tools/build")
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .check()
}

fn binary(root: &Path) -> PathBuf {
    root.join("target/tools/bin/cargo-deny")
}
