//! Two processes write one ledger as fast as they can: how long an append waits at most.
//!
//! `two-writers [--quick] [--dir DIR] [--seconds N] [--group N]`. On a machine whose processors have other work the
//! longest wait is that of the work, so the 99.9th of 100 is told beside it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use audithog::bench::ledger::Ledger;
use bench_parts::Failure;
use bench_parts::arguments::Arguments;
use bench_parts::report::{figure, thousands};
use bench_parts::requests::Requests;

/// Groups whose rows are made before the clock runs.
const GROUPS: usize = 16;

fn main() -> Result<(), Failure> {
    let arguments =
        Arguments::of_program(&["--quick", "--dir", "--seconds", "--group", "--child"])?;
    let default = if arguments.has("--quick") { 2 } else { 10 };
    let seconds = Duration::from_secs(arguments.number("--seconds", default)? as u64);
    let group = arguments.number("--group", 1_000)?;
    if let Some(path) = arguments.text("--child") {
        return append(Path::new(path), seconds, group);
    }
    let dir = tempfile::tempdir_in(arguments.directory())?;
    let path = dir.path().join("audit.db");
    // Made before, so that both find it.
    Ledger::open(&path)?.close()?;
    let children = (0..2)
        .map(|_| {
            Command::new(std::env::current_exe()?)
                .args(["--child".as_ref(), path.as_os_str()])
                .args(["--seconds", &seconds.as_secs().to_string()])
                .args(["--group", &group.to_string()])
                .stdout(Stdio::piped())
                .spawn()
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut longest = Vec::new();
    let mut high = Vec::new();
    let mut rows = 0.0;
    for child in children {
        let output = child.wait_with_output()?;
        if !output.status.success() {
            return Err("a writer has failed".into());
        }
        let text = String::from_utf8(output.stdout)?;
        let mut numbers = text.split_whitespace().map(str::parse::<f64>);
        let mut next = || numbers.next().ok_or("a writer said too little");
        longest.push(next()??);
        high.push(next()??);
        rows += next()??;
    }
    let note = format!(
        "two processes, groups of {}, {} s",
        thousands(group),
        seconds.as_secs()
    );
    let worst = longest.iter().copied().fold(0.0, f64::max);
    figure(
        "ledger",
        "two_writers_longest_wait_ms",
        "ms",
        &[worst],
        &note,
    );
    figure("ledger", "two_writers_p999_wait_ms", "ms", &high, &note);
    let rate = rows / seconds.as_secs_f64();
    figure("ledger", "two_writers_rows_per_s", "rows/s", &[rate], &note);
    Ok(())
}

/// One of the two: prints its longest append, its 99.9th of a hundred, and how many rows it has appended.
fn append(path: &Path, seconds: Duration, group: usize) -> Result<(), Failure> {
    let mut requests = Requests::default();
    let groups: Vec<_> = (0..GROUPS).map(|_| requests.rows(group)).collect();
    let mut ledger = Ledger::open(path)?;
    let mut waits = Vec::new();
    let since = Instant::now();
    for rows in groups.iter().cycle() {
        let begun = Instant::now();
        if begun - since >= seconds {
            break;
        }
        ledger.append(rows, false)?;
        waits.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    ledger.close()?;
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| waits.get((waits.len() as f64 * share) as usize);
    let longest = waits.last().copied().unwrap_or(0.0);
    let high = at(0.999).copied().unwrap_or(longest);
    println!("{longest} {high} {}", waits.len() * group);
    Ok(())
}
