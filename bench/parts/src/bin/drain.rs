//! What it costs to send a backlog: a ledger is drained by a logger to a receiver in another process, and the same rows
//! are only written as JSON and compressed. And what a row takes on the wire.
//!
//! `drain [--quick] [--dir DIR] [--rows N] [--rounds N] [--no-pin]`; `drain --only read|events|body|verdict` does one
//! step alone, for a profiler; with `--count` it asks no clock, which valgrind does not survive.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use audithog::Logger;
use audithog::bench::delivery::{Rows, Sink, Source};
use bench_parts::Failure;
use bench_parts::arguments::Arguments;
use bench_parts::cpu::{Taken, measure};
use bench_parts::receiver::{self, Spawned};
use bench_parts::report::{figure, thousands};
use bench_parts::service::fill;
use rustix::thread::{CpuSet, sched_setaffinity};

const READ: usize = 1_500;
/// The audit threads that a backlog keeps busy. Left out is the one that looks through what earlier runs left, which
/// any start does, with or without a sink.
const SENDING: [&str; 3] = ["audithog-deliv", "audithog-write", "audithog-check"];
const LOOKING: &str = "audithog-check";

fn main() -> Result<(), Failure> {
    let arguments = Arguments::of_program(&[
        "--quick",
        "--dir",
        "--rows",
        "--rounds",
        "--no-pin",
        "--only",
        "--count",
        "--receive",
    ])?;
    let pin = !arguments.has("--no-pin");
    if arguments.has("--receive") {
        pin_to(1, pin)?;
        return receiver::serve();
    }
    let quick = arguments.has("--quick");
    let rows = arguments.number("--rows", if quick { 200_000 } else { 1_000_000 })?;
    let rounds = arguments.number("--rounds", if quick { 3 } else { 5 })?;
    let dir = tempfile::tempdir_in(arguments.directory())?;
    pin_to(0, pin)?;
    if let Some(only) = arguments.text("--only") {
        let path = dir.path().join("only.db");
        fill(&path, rows)?;
        return one_step(only, &path, rows, arguments.has("--count"));
    }
    let full = dir.path().join("full.db");
    eprintln!("filling a ledger with {} rows", thousands(rows));
    fill(&full, rows)?;
    wire(&full)?;
    let mut figures = Figures::default();
    for round in 0..rounds {
        let path = dir.path().join(format!("round-{round}.db"));
        fs::copy(&full, &path)?;
        let alone = alone(&path, rows)?;
        let drained = drain(&path, rows, pin)?;
        fs::remove_file(&path)?;
        let each = |taken: Duration| taken.as_secs_f64() * 1e9 / rows as f64;
        eprintln!(
            "round {round}: {:.0} ns a row, of the process {:.0}; only encoding and compressing {:.0}; wall {:.2} s",
            each(drained.sending),
            each(drained.process),
            each(alone),
            drained.wall.as_secs_f64()
        );
        figures
            .per_core
            .push(rows as f64 / drained.sending.as_secs_f64());
        figures
            .per_core_all
            .push(rows as f64 / drained.process.as_secs_f64());
        figures
            .ratio
            .push(alone.as_secs_f64() / drained.sending.as_secs_f64());
        figures.wall.push(rows as f64 / drained.wall.as_secs_f64());
    }
    figures.print(rows);
    Ok(())
}

#[derive(Default)]
struct Figures {
    per_core: Vec<f64>,
    per_core_all: Vec<f64>,
    ratio: Vec<f64>,
    wall: Vec<f64>,
}

impl Figures {
    fn print(&self, rows: usize) {
        let note = format!(
            "{} rows, by the processor's time of the sending process without the check of earlier rows",
            thousands(rows)
        );
        let print = |name: &str, unit: &str, values: &[f64], note: &str| {
            figure("delivery", name, unit, values, note);
        };
        print("drain_rows_per_s_per_core", "rows/s", &self.per_core, &note);
        print(
            "drain_rows_per_s_per_core_with_check",
            "rows/s",
            &self.per_core_all,
            "the same, with the check that a start makes of what earlier runs left",
        );
        print(
            "drain_ratio",
            "ratio",
            &self.ratio,
            "time to write as JSON and compress the same rows, by the time to drain them",
        );
        print(
            "drain_rows_per_s_wall",
            "rows/s",
            &self.wall,
            "by the clock on the wall",
        );
    }
}

/// Encodes and compresses what is read, in requests as large as those of a drain. The time of that alone.
fn alone(path: &Path, rows: usize) -> Result<Duration, Failure> {
    let sink = Sink::new()?;
    let mut taken = Taken::default();
    each_request(path, sink.request_rows(), rows, |rows| {
        measure(Some(&mut taken), || sink.body(rows)).map(drop)?;
        Ok(())
    })?;
    Ok(taken.thread)
}

fn each_request(
    path: &Path,
    size: usize,
    rows: usize,
    mut work: impl FnMut(&Rows) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut source = Source::open(path)?;
    let (mut after, mut done) = (0, 0);
    while done < rows {
        let read = source.read(after, size)?;
        let Some(last) = read.last() else {
            break;
        };
        work(&read)?;
        after = last;
        done += read.len();
    }
    Ok(())
}

/// Bytes of bodies, compressed, without the requests' heads.
fn wire(path: &Path) -> Result<(), Failure> {
    let sink = Sink::new()?;
    for (name, size) in [
        ("wire_bytes_per_row_100", 100),
        ("wire_bytes_per_row_500", 500),
        ("wire_bytes_per_row_full", sink.request_rows()),
    ] {
        let mut values = Vec::new();
        each_request(path, size, 100_000.max(10 * size), |rows| {
            if rows.len() == size {
                values.push(sink.body(rows)?.len() as f64 / size as f64);
            }
            Ok(())
        })?;
        let note = format!(
            "bodies of {} rows after compression, without about 480 bytes of a request's head",
            thousands(size)
        );
        figure("delivery", name, "bytes", &values, &note);
    }
    Ok(())
}

struct Drained {
    /// Of the threads in [`SENDING`].
    sending: Duration,
    process: Duration,
    wall: Duration,
}

fn drain(path: &Path, rows: usize, pin: bool) -> Result<Drained, Failure> {
    let receiver = Spawned::start(if pin { &[] } else { &["--no-pin"] })?;
    let mut whole = Taken::default();
    let mut sending = Duration::ZERO;
    let delivered = measure(Some(&mut whole), || -> Result<u64, Failure> {
        let logger = Logger::builder()
            .environment([
                ("AUDITHOG_DB", path.as_os_str().to_owned()),
                ("POSTHOG_API_KEY", "phc_benchmark".into()),
                (
                    "POSTHOG_HOST",
                    format!("http://{}", receiver.address).into(),
                ),
            ])
            .start()?;
        let deadline = Instant::now() + Duration::from_secs(300);
        loop {
            let report = logger.flush_blocking(Some(Duration::from_secs(60)));
            let health = logger.health();
            let sink = health.sinks.get("posthog").ok_or("no sink")?;
            if sink.pending == 0 {
                break;
            }
            if Instant::now() > deadline {
                return Err(format!("{} rows are still pending: {report:?}", sink.pending).into());
            }
        }
        sending = of_threads()?;
        let report = logger.shutdown_blocking(Some(Duration::from_secs(60)));
        report
            .health
            .check()
            .map_err(|problem| format!("{problem:?}"))?;
        let sink = report.health.sinks.get("posthog").ok_or("no sink")?;
        Ok(sink.delivered)
    })?;
    if delivered < rows as u64 {
        return Err(format!("{delivered} rows of {rows} were delivered").into());
    }
    Ok(Drained {
        sending,
        process: whole.process,
        wall: whole.wall,
    })
}

/// What the audit threads have taken; the kernel cuts their names.
fn of_threads() -> Result<Duration, Failure> {
    let mut sum = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        let name = fs::read_to_string(task.join("comm"))?;
        let name = name.trim();
        if name == LOOKING || !SENDING.iter().any(|known| name.starts_with(known)) {
            continue;
        }
        let taken = fs::read_to_string(task.join("schedstat"))?;
        let nanos: u64 = taken.split(' ').next().unwrap_or_default().parse()?;
        sum += nanos;
    }
    Ok(Duration::from_nanos(sum))
}

fn pin_to(core: usize, pin: bool) -> Result<(), Failure> {
    if pin {
        let mut cores = CpuSet::new();
        cores.set(core);
        sched_setaffinity(None, &cores)?;
    }
    Ok(())
}

/// One step alone, for a profiler.
fn one_step(step: &str, path: &Path, rows: usize, count: bool) -> Result<(), Failure> {
    let sink = Sink::new()?;
    let mut taken = Taken::default();
    let mut out = Vec::new();
    each_request(path, READ, rows, |rows| {
        match step {
            "read" => {}
            "events" => {
                out.clear();
                measure((!count).then_some(&mut taken), || {
                    sink.events(rows, &mut out);
                });
            }
            "body" => {
                measure((!count).then_some(&mut taken), || sink.body(rows)).map(drop)?;
            }
            "verdict" => {
                let ids = rows.ids();
                let results: Vec<String> = ids
                    .iter()
                    .map(|id| format!(r#""{id}":{{"result":"ok"}}"#))
                    .collect();
                let body = format!(r#"{{"results":{{{}}}}}"#, results.join(","));
                let taken = measure((!count).then_some(&mut taken), || {
                    sink.verdict(&ids, body.into_bytes())
                });
                if taken != ids.len() {
                    return Err("the verdict is another".into());
                }
            }
            _ => return Err("--only: read, events, body or verdict".into()),
        }
        Ok(())
    })?;
    eprintln!(
        "{step}: {:.0} ns a row",
        taken.thread.as_secs_f64() * 1e9 / rows as f64
    );
    Ok(())
}
