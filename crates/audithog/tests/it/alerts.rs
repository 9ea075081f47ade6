//! The alert rules of docs/alerts: they fire when they should, and on metrics that exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use audithog::Logger;
use audithog::testing::PostHogStandIn;
use metrics_exporter_prometheus::PrometheusBuilder;
use uuid::Uuid;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn read(page: &str) -> String {
    std::fs::read_to_string(docs().join(page)).unwrap()
}

/// Every name of a metric of ours in `text`.
fn metrics(text: &str) -> BTreeSet<String> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    text.split(word)
        .filter(|word| word.starts_with("audithog_"))
        .map(str::to_owned)
        .collect()
}

#[track_caller]
fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(docs().join("alerts"))
        .output();
    let output = output.expect("promtool must be installed: run `cargo xtask setup`");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_rules_are_valid_and_fire_when_they_should() {
    promtool(&["check", "rules", "audithog.rules.yml"]);
    promtool(&["test", "rules", "audithog.test.yml"]);
}

#[test]
fn every_rule_is_tested_and_has_a_page_with_what_to_do() {
    let (rules, tests) = (
        read("alerts/audithog.rules.yml"),
        read("alerts/audithog.test.yml"),
    );
    let pages: BTreeSet<String> = read("operations.md")
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|heading| {
            format!(
                "docs/operations.md#{}",
                heading.to_lowercase().replace(' ', "-")
            )
        })
        .collect();
    let field = |name: &'static str| {
        rules
            .lines()
            .filter_map(move |line| line.split_once(name).map(|(_, value)| value.trim()))
    };
    let alerts: Vec<&str> = field("- alert:").collect();
    assert!(alerts.len() >= 5, "{alerts:?}");
    assert_eq!(field("runbook:").count(), alerts.len());
    for runbook in field("runbook:") {
        assert!(
            pages.contains(runbook),
            "{runbook} is no heading: {pages:#?}"
        );
    }
    for alert in alerts {
        let fires = format!("alertname: {alert}\n        exp_alerts:");
        assert!(tests.contains(&fires), "no test in which {alert} fires");
    }
}

#[test]
fn every_metric_of_the_rules_is_documented_and_exported() {
    let used = metrics(&read("alerts/audithog.rules.yml"));
    assert!(used.len() >= 6, "{used:?}");
    let table = read("reference/metrics.md");
    let rows: String = table
        .lines()
        .filter(|line| line.starts_with("| `audithog_"))
        .collect();
    let documented = metrics(&rows);
    let unknown: Vec<_> = used.difference(&documented).collect();
    assert!(
        unknown.is_empty(),
        "not in docs/reference/metrics.md: {unknown:?}"
    );

    // The recorder is the process's: other tests' loggers may be seen too, under the same names.
    let exporter = PrometheusBuilder::new().install_recorder().unwrap();
    let posthog = PostHogStandIn::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let logger = Logger::builder()
        .environment([
            ("POSTHOG_API_KEY", "phc_test"),
            ("POSTHOG_HOST", &*posthog.url()),
        ])
        .database(directory.path().join("audit.db"))
        .start()
        .unwrap();
    // The losses are exported once there is one.
    let id = Uuid::now_v7();
    for _ in 0..2 {
        logger.event("imported").id(id).log();
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    let missing = loop {
        let exported = metrics(&exporter.render());
        let missing: Vec<_> = used.difference(&exported).cloned().collect();
        if missing.is_empty() || Instant::now() > deadline {
            break missing;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    };
    assert!(
        missing.is_empty(),
        "a running logger does not export {missing:?}:\n{}",
        exporter.render()
    );
    assert!(logger.shutdown_blocking(None).closed);
}
