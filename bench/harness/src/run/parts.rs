//! What is measured without HTTP: the programs of bench/parts, the benches of bench/micro, and the build.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::process::{Plan, Process};
use crate::read::programs::{self, Part};
use crate::results::Criterion;
use crate::suite::Suite;

/// A full part may take its time.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Runs every program of bench/parts and collects its lines.
pub(crate) fn run(suite: &Suite) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for name in programs_in(&suite.root.join("bench/parts/src/bin"))? {
        println!("  {name}");
        let directory = suite.fresh_directory("now")?;
        let program = Process::start(&Plan {
            name: format!("bench/parts {name}"),
            program: suite.program(&name),
            arguments: extent(suite, &name),
            environment: vec![("TMPDIR", directory.clone().into())],
            core: None,
            directory: directory.clone(),
        })?;
        let finished = program.finish(LIMIT, |_| ())?;
        parts.extend(read(&name, &finished.lines)?);
        std::fs::remove_dir_all(directory)?;
    }
    Ok(parts)
}

/// How much a part is to measure.
fn extent(suite: &Suite, name: &str) -> Vec<std::ffi::OsString> {
    if suite.arguments.quick {
        return vec!["--quick".into()];
    }
    // Only the size of a ledger has another one.
    match suite.arguments.full && name == "flat" {
        true => vec!["--full".into()],
        false => Vec::new(),
    }
}

/// One binary for each file, or directory, as cargo finds them.
fn programs_in(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let entries = match directory.read_dir() {
        Ok(entries) => entries,
        Err(_) => return Ok(names),
    };
    for entry in entries {
        let path = entry?.path();
        let is_program =
            path.extension().is_some_and(|ending| ending == "rs") || path.join("main.rs").is_file();
        if let (true, Some(name)) = (is_program, path.file_stem().and_then(|name| name.to_str())) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn read(name: &str, lines: &[String]) -> Result<Vec<Part>> {
    let parts: Vec<Part> = lines
        .iter()
        .filter(|line| !line.trim().is_empty())
        .map(|line| programs::line(&format!("bench/parts {name}"), line))
        .collect::<Result<_>>()?;
    if parts.is_empty() {
        bail!("bench/parts {name} measured nothing");
    }
    Ok(parts)
}

/// How long a user waits for the first release build of the library, with cargo's default profile.
pub(crate) fn build(suite: &Suite) -> Result<Part> {
    let target = suite.fresh_directory("now")?;
    let words = [
        "build",
        "--release",
        "--offline",
        "--quiet",
        "--package",
        "audithog",
        // What the repository adds to a user's profile.
        "--config",
        "profile.release.debug=false",
        "--manifest-path",
    ];
    let mut arguments: Vec<std::ffi::OsString> = words.map(Into::into).into();
    arguments.push(suite.root.join("Cargo.toml").into());
    let plan = Plan {
        name: "cargo build".to_owned(),
        program: cargo(),
        arguments,
        environment: vec![
            ("CARGO_TARGET_DIR", target.join("target").into()),
            ("CARGO_INCREMENTAL", "0".into()),
        ],
        core: None,
        directory: target.clone(),
    };
    let started = Instant::now();
    Process::start(&plan)?.finish(LIMIT, |_| ())?;
    let seconds = started.elapsed().as_secs_f64();
    std::fs::remove_dir_all(target)?;
    Ok(Part {
        group: "build".to_owned(),
        name: "clean_release_s".to_owned(),
        value: seconds,
        unit: "s".to_owned(),
        min: None,
        max: None,
        note: Some("wall clock, once".to_owned()),
    })
}

fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// Runs the benches of bench/micro, shorter than criterion does by itself, and collects their medians.
pub(crate) fn criterion(suite: &Suite) -> Result<Vec<Criterion>> {
    println!("  criterion");
    let kept = suite.root.join("bench/target/criterion");
    if kept.exists() {
        // What earlier runs kept is of other code.
        std::fs::remove_dir_all(&kept)?;
    }
    let directory = suite.fresh_directory("now")?;
    let words = [
        "bench",
        "--offline",
        "--quiet",
        "--package",
        "micro",
        "--manifest-path",
    ];
    let mut arguments: Vec<std::ffi::OsString> = words.map(Into::into).into();
    arguments.push(suite.root.join("bench/Cargo.toml").into());
    let (warm_up, seconds) = if suite.arguments.quick {
        ("0.3", "0.3")
    } else {
        ("0.5", "1")
    };
    let words = [
        "--",
        "--noplot",
        "--warm-up-time",
        warm_up,
        "--measurement-time",
        seconds,
    ];
    arguments.extend(words.map(Into::into));
    let plan = Plan {
        name: "cargo bench".to_owned(),
        program: cargo(),
        arguments,
        // criterion asks cargo for the target directory otherwise, and finds that of the directory it runs in.
        environment: vec![
            ("CRITERION_HOME", kept.clone().into()),
            ("TMPDIR", directory.clone().into()),
        ],
        core: None,
        directory: directory.clone(),
    };
    Process::start(&plan)?.finish(LIMIT, |_| ())?;
    std::fs::remove_dir_all(directory)?;
    let found = medians(&kept)?;
    if found.is_empty() {
        bail!("the benches of bench/micro measured nothing");
    }
    Ok(found)
}

/// The medians that criterion keeps.
fn medians(top: &Path) -> Result<Vec<Criterion>> {
    let mut found = Vec::new();
    if top.is_dir() {
        collect(top, top, &mut found)?;
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn collect(top: &Path, directory: &Path, found: &mut Vec<Criterion>) -> Result<()> {
    let estimates = directory.join("new/estimates.json");
    if estimates.is_file() {
        let text = std::fs::read_to_string(&estimates)?;
        let name = directory.strip_prefix(top).unwrap_or(directory);
        found.push(Criterion {
            name: name.display().to_string(),
            nanoseconds: median(&text).with_context(|| estimates.display().to_string())?,
        });
        return Ok(());
    }
    for entry in directory.read_dir()? {
        let path = entry?.path();
        if path.is_dir() {
            collect(top, &path, found)?;
        }
    }
    Ok(())
}

fn median(estimates: &str) -> Result<f64> {
    let estimates: serde_json::Value = serde_json::from_str(estimates)?;
    estimates["median"]["point_estimate"]
        .as_f64()
        .context("no median in it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::scratch;

    #[test]
    fn a_part_that_prints_nothing_or_garbage_is_named() {
        let problem = read("ledger", &[]).unwrap_err().to_string();
        assert!(problem.contains("ledger measured nothing"), "{problem}");
        let problem = read("ledger", &["appending".to_owned()])
            .unwrap_err()
            .to_string();
        assert!(problem.contains("ledger answered `appending`"), "{problem}");
    }

    #[test]
    fn programs_are_found_as_cargo_finds_them() {
        let scratch = scratch();
        let directory = scratch.path();
        std::fs::write(directory.join("ledger.rs"), "").unwrap();
        std::fs::create_dir(directory.join("delivery")).unwrap();
        std::fs::write(directory.join("delivery/main.rs"), "").unwrap();
        std::fs::create_dir(directory.join("common")).unwrap();
        assert_eq!(programs_in(directory).unwrap(), ["delivery", "ledger"]);
        assert_eq!(programs_in(&directory.join("none")).unwrap(), [""; 0]);
    }

    #[test]
    fn medians_of_criterion_are_found_where_it_keeps_them() {
        let scratch = scratch();
        let top = scratch.path();
        let kept = top.join("watch/one request/new");
        std::fs::create_dir_all(&kept).unwrap();
        let estimates = kept.join("estimates.json");
        std::fs::write(&estimates, r#"{"median":{"point_estimate":412.5}}"#).unwrap();
        let found = medians(top).unwrap();
        assert_eq!(
            (found[0].name.as_str(), found[0].nanoseconds),
            ("watch/one request", 412.5)
        );
        std::fs::write(&estimates, "{}").unwrap();
        assert!(medians(top).is_err());
        assert_eq!(medians(&top.join("none")).unwrap(), []);
    }
}
