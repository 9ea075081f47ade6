//! Each feature of the library compiles alone, and so does none.
//!
//! Features only add: whichever subset a user picks has to build without a warning.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::command::Run;

const PACKAGE: &str = "audithog";

pub(crate) fn run(root: &Path) -> Result<()> {
    let features = features_of(&metadata(root)?, PACKAGE)?;
    check(root, None).context("without any feature")?;
    for feature in &features {
        check(root, Some(feature))
            .with_context(|| format!("with the feature `{feature}` alone"))?;
    }
    println!("{} features, and none", features.len());
    Ok(())
}

/// What cargo knows of the workspace's own packages.
pub(crate) fn metadata(root: &Path) -> Result<Value> {
    let metadata = Run::cargo(root)
        .words("metadata --no-deps --format-version 1")
        .output()?;
    serde_json::from_str(&metadata).context("`cargo metadata` wrote no JSON")
}

/// Clippy and not `check`, because it can refuse warnings without a change of flags that would rebuild dependencies.
fn check(root: &Path, feature: Option<&str>) -> Result<()> {
    let mut command = Run::cargo(root)
        .words("clippy --quiet --no-default-features --package")
        .arg(PACKAGE);
    if let Some(feature) = feature {
        command = command.arg("--features").arg(feature);
    }
    command.words("-- -D warnings").check()
}

/// The features that a package's manifest names, in alphabetical order.
fn features_of(metadata: &Value, package: &str) -> Result<Vec<String>> {
    let packages = metadata["packages"]
        .as_array()
        .context("the metadata lists no packages")?;
    let package = packages
        .iter()
        .find(|candidate| candidate["name"] == package)
        .with_context(|| format!("the workspace has no package `{package}`"))?;
    let features = package["features"]
        .as_object()
        .context("the package lists no features")?;
    Ok(features.keys().cloned().collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn features_are_read_from_the_manifest_of_the_package() {
        let metadata = json!({"packages": [
            {"name": "other", "features": {"x": []}},
            {"name": "audithog", "features": {"zstd": ["dep:zstd"], "axum": [], "default": ["zstd"]}},
        ]});
        assert_eq!(
            features_of(&metadata, "audithog").unwrap(),
            ["axum", "default", "zstd"]
        );
        let problem = features_of(&metadata, "gone").unwrap_err().to_string();
        assert!(problem.contains("`gone`"), "{problem}");
    }
}
