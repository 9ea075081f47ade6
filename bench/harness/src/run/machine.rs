//! The machine: what it is, and what else it does.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::read::procfs::{self, Ticks};
use crate::results::Machine;

/// What runs now besides this program and its children.
pub(crate) fn ticks() -> Result<Ticks> {
    let mut all = Vec::new();
    for entry in Path::new("/proc").read_dir()? {
        let name = entry?.file_name();
        let is_process = name
            .to_str()
            .is_some_and(|name| name.parse::<u32>().is_ok());
        if !is_process {
            continue;
        }
        // A process may end at any time.
        if let Ok(line) = std::fs::read_to_string(Path::new("/proc").join(&name).join("stat")) {
            all.push(procfs::stat(&line)?);
        }
    }
    let stat = std::fs::read_to_string("/proc/stat").context("/proc/stat cannot be read")?;
    Ok(Ticks {
        others: procfs::ticks_of_others(&all, std::process::id()),
        steal: procfs::steal(&stat)?,
    })
}

/// What the report says of it. What cannot be found out is said to be unknown: it is no reason to stop.
pub(crate) fn describe(root: &Path) -> Machine {
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let bench = root.join("bench");
    let mut versions = vec![
        ("rustc".to_owned(), said(root, "rustc", &["--version"])),
        ("node".to_owned(), said(root, "node", &["--version"])),
        ("wrk".to_owned(), wrk_version(root)),
    ];
    let lock = std::fs::read_to_string(bench.join("Cargo.lock")).unwrap_or_default();
    versions.extend(crates(&lock));
    let lock = std::fs::read_to_string(bench.join("nest/package-lock.json")).unwrap_or_default();
    versions.extend(packages(&lock));
    Machine {
        date: said(root, "date", &["--utc", "+%Y-%m-%d %H:%M UTC"]),
        commit: said(
            root,
            "git",
            &["describe", "--always", "--dirty", "--abbrev=12"],
        ),
        cpu: after_colon(&file("/proc/cpuinfo"), "model name"),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory: memory(&file("/proc/meminfo")),
        kernel: said(root, "uname", &["-sr"]),
        disk: disk(&said(
            root,
            "df",
            &["--output=fstype,source,avail", "-h", "bench"],
        )),
        versions,
    }
}

fn said(root: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .output();
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default();
    known(&text)
}

/// wrk prints its version among the usage, and fails.
fn wrk_version(root: &Path) -> String {
    let text = said(root, "wrk", &["--version"]);
    let words: Vec<&str> = text.split_whitespace().take(2).collect();
    known(&words.join(" "))
}

fn known(text: &str) -> String {
    if text.is_empty() {
        "unknown".to_owned()
    } else {
        text.to_owned()
    }
}

fn after_colon(text: &str, field: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(field));
    let value = line.and_then(|line| line.split_once(':'));
    known(value.map_or("", |(_, value)| value.trim()))
}

fn memory(text: &str) -> String {
    let kilobytes = after_colon(text, "MemTotal");
    match kilobytes.trim_end_matches("kB").trim().parse::<u64>() {
        Ok(kilobytes) => format!(
            "{:.1} GiB",
            crate::read::wrk::count_as_f64(kilobytes) / 1_048_576.0
        ),
        Err(_) => kilobytes,
    }
}

/// The last line of df: file system, device, free space.
fn disk(text: &str) -> String {
    let fields: Vec<&str> = text
        .lines()
        .last()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    match fields.as_slice() {
        [kind, device, free] => format!("{kind} on {device}, {free} free"),
        _ => known(text),
    }
}

/// What is compared, by the names of its packages.
const CRATES: &[&str] = &[
    "axum",
    "hyper",
    "tokio",
    "tower-http",
    "tracing-subscriber",
    "tracing-appender",
    "posthog-rs",
    "opentelemetry",
    "opentelemetry-otlp",
    "opentelemetry_sdk",
    "rusqlite",
    "libsqlite3-sys",
];

fn crates(lock: &str) -> Vec<(String, String)> {
    let value = |line: &str, field: &str| -> Option<String> {
        let value = line.strip_prefix(field)?.strip_prefix(" = \"")?;
        Some(value.strip_suffix('"')?.to_owned())
    };
    let mut found = Vec::new();
    let mut package = String::new();
    for line in lock.lines() {
        if let Some(name) = value(line, "name") {
            package = name;
        } else if let Some(version) = value(line, "version")
            && CRATES.contains(&package.as_str())
        {
            found.push((package.clone(), version));
        }
    }
    found
}

const PACKAGES: &[&str] = &["@nestjs/core", "express", "fastify", "posthog-node"];

fn packages(lock: &str) -> Vec<(String, String)> {
    let lock: serde_json::Value = serde_json::from_str(lock).unwrap_or_default();
    PACKAGES
        .iter()
        .filter_map(|name| {
            let version = lock["packages"][format!("node_modules/{name}")]["version"].as_str()?;
            Some(((*name).to_owned(), version.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_the_lock_files() {
        let lock = "[[package]]\nname = \"axum\"\nversion = \"0.8.4\"\n\n[[package]]\nname = \"zzz\"\nversion = \"1.0.0\"\n";
        assert_eq!(crates(lock), [("axum".to_owned(), "0.8.4".to_owned())]);
        let lock = r#"{"packages":{"node_modules/express":{"version":"5.1.0"}}}"#;
        assert_eq!(packages(lock), [("express".to_owned(), "5.1.0".to_owned())]);
        assert_eq!(packages("not JSON"), []);
        assert_eq!(crates(""), []);
    }

    #[test]
    fn what_is_not_there_is_unknown() {
        assert_eq!(after_colon("", "model name"), "unknown");
        assert_eq!(after_colon("model name\t: A 1\n", "model name"), "A 1");
        assert_eq!(memory("MemTotal:       2097152 kB\n"), "2.0 GiB");
        assert_eq!(
            disk("Type Filesystem Avail\next4 /dev/x 7G\n"),
            "ext4 on /dev/x, 7G free"
        );
        assert_eq!(said(Path::new("."), "no-such-program-here", &[]), "unknown");
    }

    #[test]
    fn the_machine_can_be_looked_at() {
        let before = ticks().unwrap();
        assert!(ticks().unwrap().steal >= before.steal);
    }
}
