//! All tests of the workspace.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::command::Run;
use crate::features::metadata;

/// posthog-rs speaks capture v0, or v1 with a feature, never both in one build: its tests need a second one.
const SWITCH: &str = "official-sdks/rs-capture-v1";

pub(crate) fn run(root: &Path) -> Result<()> {
    // One failure does not hide the next: everything runs, then the step fails.
    Run::cargo(root)
        .words("test --workspace --all-features --no-fail-fast")
        .check()?;
    let features = features_of_all(&metadata(root)?)?;
    if features.iter().any(|feature| feature == SWITCH) {
        // All other features stay as they were, so that only posthog-rs is built again.
        let others: Vec<String> = features
            .into_iter()
            .filter(|feature| feature != SWITCH)
            .collect();
        Run::cargo(root)
            .words("test --workspace --test sdks --no-fail-fast --features")
            .arg(others.join(","))
            .check()
            .context("posthog-rs on capture v0")?;
    }
    Ok(())
}

/// Every feature of every package of the workspace, as `package/feature`.
fn features_of_all(metadata: &Value) -> Result<Vec<String>> {
    let packages = metadata["packages"]
        .as_array()
        .context("the metadata lists no packages")?;
    let mut features = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("a package has no name")?;
        let own = package["features"]
            .as_object()
            .context("a package lists no features")?;
        features.extend(own.keys().map(|feature| format!("{name}/{feature}")));
    }
    Ok(features)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn features_carry_the_name_of_their_package() {
        let metadata = json!({"packages": [
            {"name": "official-sdks", "features": {"rs-capture-v1": []}},
            {"name": "audithog", "features": {"axum": [], "zstd": []}},
        ]});
        let features = features_of_all(&metadata).unwrap();
        assert_eq!(features, [SWITCH, "audithog/axum", "audithog/zstd"]);
    }
}
