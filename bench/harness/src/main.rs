//! Runs the benchmark suite: services, peers, load and receiver as processes of their own, in alternating rounds.
//!
//! `read` understands what they print, `run` starts them, `rounds` decides the order, `figures` and `goals` make ratios
//! of one run, `report` and `plots` show them. Only `run` touches the machine.

mod arguments;
mod compare;
mod figures;
mod goals;
mod plots;
mod read;
mod report;
mod results;
mod rounds;
mod run;
mod stats;
mod suite;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use arguments::Arguments;
use results::Results;
use suite::Suite;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let arguments = match Arguments::parse(&words) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("error: {problem:#}\n\n{}", arguments::HELP);
            return ExitCode::from(2);
        }
    };
    if arguments.help {
        print!("{}", arguments::HELP);
        return ExitCode::SUCCESS;
    }
    match run(arguments, &words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("\nerror: {problem:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments, words: &[String]) -> Result<()> {
    let suite = Suite::new(arguments)?;
    if suite.arguments.report {
        let results = Results::read(&suite.root.join("bench/results.json"))?;
        return publish(&results, &suite.root.join("bench"));
    }
    let started = Instant::now();
    let mut results = Results {
        machine: run::machine::describe(&suite.root),
        command: Arguments::line(words),
        quick: suite.arguments.quick,
        partial: !suite.is_whole(),
        rounds: suite.extent.rounds,
        ..Results::default()
    };
    prepare(&suite)?;
    let outcome = rounds::run(&suite, &mut results);
    results.took_seconds = started.elapsed().as_secs_f64();
    // What a run leaves behind is large, and says nothing that an error does not.
    fs::remove_dir_all(&suite.scratch)?;
    if outcome.is_err() {
        results.write(&suite.root.join("bench/target/failed.json"))?;
    }
    outcome?;
    if suite.is_whole() {
        publish(&results, &suite.root.join("bench"))
    } else {
        show(&results, &suite.root.join("bench/target"))
    }
}

/// An empty place for this run, and in it the list of requests. What runs that were cut off left is removed.
fn prepare(suite: &Suite) -> Result<()> {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        bail!("the suite needs two cores: one for the service, one for the load");
    }
    fs::create_dir_all(&suite.scratch)?;
    let all = suite
        .scratch
        .parent()
        .context("the scratch directory is in no other")?;
    for entry in all.read_dir()? {
        // Each is named for the process that made it.
        let entry = entry?;
        if !Path::new("/proc").join(entry.file_name()).exists() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    let status = Command::new(suite.program("requests"))
        .arg(suite.requests())
        .status()
        .context("the program `requests` could not be started")?;
    if !status.success() {
        bail!("the program `requests` failed ({status})");
    }
    suite
        .spin
        .iter()
        .try_for_each(|spin| build_spin(&suite.root, spin))
}

fn build_spin(root: &Path, spin: &Path) -> Result<()> {
    let status = Command::new("cc")
        .args(["-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o"])
        .arg(spin)
        .arg(root.join("bench/load/spin.c"))
        .status()
        .context("the C compiler `cc` could not be started")?;
    if !status.success() {
        bail!("`bench/load/spin.c` does not compile ({status})");
    }
    Ok(())
}

/// Writes what the repository keeps.
fn publish(results: &Results, bench: &Path) -> Result<()> {
    results.write(&bench.join("results.json"))?;
    write(&bench.join("RESULTS.md"), &report::markdown(results))?;
    fs::create_dir_all(bench.join("plots"))?;
    for (name, picture) in plots::all(results) {
        write(&bench.join("plots").join(name), &picture)?;
    }
    print!("{}", report::summary(results));
    Ok(())
}

/// Prints what a run of some parts found, compares it with the one before, and keeps it for the next.
fn show(results: &Results, target: &Path) -> Result<()> {
    let kind = if results.quick { "quick" } else { "partial" };
    let path = target.join(format!("{kind}.json"));
    print!("{}", report::markdown(results));
    if let Ok(before) = Results::read(&path) {
        print!("{}", compare::table(&before, results));
        fs::rename(&path, target.join(format!("{kind}-before.json")))?;
    }
    results.write(&path)?;
    write(
        &target.join(format!("{kind}.md")),
        &report::markdown(results),
    )?;
    for (name, picture) in plots::all(results) {
        write(&target.join(format!("{kind}-{name}")), &picture)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("`{}` cannot be written", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    /// Makes a program of a shell script. Another process writes it: a test beside this one that starts a child would keep the
    /// file busy for a moment.
    pub(crate) fn write_script(program: &Path, script: &str) {
        // It runs in its own directory, and leaves there what it leaves.
        let write =
            r#"printf '#!/bin/sh\ncd "${0%%/*}" || exit\n%s\n' "$1" >"$2" && chmod +x "$2""#;
        let written = Command::new("sh")
            .args(["-c", write, "sh", script])
            .arg(program)
            .status();
        assert!(written.unwrap().success());
    }

    /// An empty directory, which goes with the test.
    pub(crate) fn scratch() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }
}
