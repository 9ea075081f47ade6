//! What many rows that wait for PostHog take in memory: a process with nothing but a logger on such a ledger, while
//! PostHog refuses and then while the rows drain.
//!
//! `memory [--quick] [--dir DIR]`: ten million rows; `--quick` has one million.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use audithog::{Logger, SinkHealth};
use bench_parts::Failure;
use bench_parts::arguments::Arguments;
use bench_parts::receiver::{self, Spawned};
use bench_parts::report::{figure, thousands};
use bench_parts::service::fill;

const LIMIT: Duration = Duration::from_secs(180);
/// How long one look at the sink may wait.
const SLICE: Duration = Duration::from_millis(500);
/// The share of the rows that is drained: the first request would not show what a drain takes.
const DRAINED: u64 = 20;

fn main() -> Result<(), Failure> {
    let names = ["--quick", "--dir", "--receive", "--child", "--receiver"];
    let arguments = Arguments::of_program(&names)?;
    if arguments.has("--receive") {
        return receiver::serve();
    }
    if let Some(ledger) = arguments.text("--child") {
        let address = arguments
            .text("--receiver")
            .ok_or("--receiver is missing")?;
        return child(Path::new(ledger), address.parse()?);
    }
    let (rows, name) = match arguments.has("--quick") {
        true => (1_000_000, "1m"),
        false => (10_000_000, "10m"),
    };
    let dir = tempfile::tempdir_in(arguments.directory())?;
    let ledger = dir.path().join("audit.db");
    eprintln!("filling a ledger with {} rows", thousands(rows));
    fill(&ledger, rows)?;
    // Filling has taken memory here: a process of its own has taken none yet.
    let receiver = Spawned::start(&[])?;
    let output = Command::new(std::env::current_exe()?)
        .arg("--child")
        .arg(&ledger)
        .args(["--receiver", &receiver.address.to_string()])
        .stdout(Stdio::piped())
        .spawn()?
        .wait_with_output()?;
    if !output.status.success() {
        return Err(format!("the logger's process failed ({})", output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let mut numbers = text.split_whitespace().map(str::parse::<f64>);
    let mut next = || numbers.next().ok_or("the logger's process said too little");
    let (refused, peak) = (next()??, next()??);
    let tell = |what: &str, megabytes: f64, note: &str| {
        figure(
            "memory",
            &format!("pending_{name}{what}_mb"),
            "MB",
            &[megabytes],
            note,
        );
    };
    tell(
        "",
        peak,
        "largest resident size of a process with a logger, over that before its start, PostHog refusing at first and then \
         taking a twentieth of the rows",
    );
    tell("_refused", refused, "the same until PostHog takes rows");
    Ok(())
}

/// Prints by how much memory was larger at most: until PostHog took rows, and after it had taken some.
fn child(ledger: &Path, address: SocketAddr) -> Result<(), Failure> {
    let before = kilobytes("VmRSS")?;
    receiver::switch(address, "refuse")?;
    let logger = Logger::builder()
        .environment([
            ("AUDITHOG_DB", ledger.as_os_str().to_owned()),
            ("POSTHOG_API_KEY", "phc_benchmark".into()),
            ("POSTHOG_HOST", format!("http://{address}").into()),
        ])
        .start()?;
    wait(&logger, |sink| sink.breaker != "closed")?;
    let refused = kilobytes("VmHWM")?;
    receiver::switch(address, "ok")?;
    let all = sink(&logger)?.pending;
    wait(&logger, |sink| sink.delivered >= all / DRAINED)?;
    let peak = kilobytes("VmHWM")?;
    println!("{} {}", megabytes(refused, before), megabytes(peak, before));
    Ok(())
}

fn wait(logger: &Logger, done: impl Fn(&SinkHealth) -> bool) -> Result<(), Failure> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let sink = sink(logger)?;
        if done(&sink) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("after {LIMIT:?} the sink is still {sink:?}").into());
        }
        // What is delivered meanwhile is seen at the next look.
        let _unfinished = logger.flush_blocking(Some(SLICE));
    }
}

fn sink(logger: &Logger) -> Result<SinkHealth, Failure> {
    let mut health = logger.health();
    Ok(health.sinks.remove("posthog").ok_or("no sink")?)
}

/// Of this process.
fn kilobytes(field: &str) -> Result<u64, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .ok_or_else(|| format!("/proc/self/status has no {field}"))?;
    Ok(value.trim().trim_end_matches("kB").trim().parse()?)
}

fn megabytes(kilobytes: u64, before: u64) -> f64 {
    kilobytes.saturating_sub(before) as f64 * 1.024 / 1000.0
}
