//! The questions that have a name, over a large ledger that is written at the same time; and what keeping rows by column costs the writer.
//!
//! `questions [--rows N] [--days N] [--quick] [--keep PATH] [--dir DIR]`: ten million rows over ten days, `--quick` a million over one. Each question
//! is about the last day, asked once cold and then seven times, while another thread appends a group of a hundred rows every twenty milliseconds.
//! `--keep` makes the ledger there, or uses what is there.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use audithog::bench::ledger::Ledger;
use audithog::query::{Field, Filter, Log, Named};
use bench_parts::Failure;
use bench_parts::arguments::Arguments;
use bench_parts::cpu::{Taken, measure};
use bench_parts::report::figure;
use bench_parts::requests::Requests;

const DAY: Duration = Duration::from_secs(86_400);
const TIMES: usize = 7;
const GROUP: usize = 1_000;
/// Rows of one measurement of the writer: four stretches.
const WRITTEN: usize = 131_072;

fn main() -> Result<(), Failure> {
    let known = ["--rows", "--days", "--quick", "--keep", "--dir"];
    let arguments = Arguments::of_program(&known)?;
    let (rows, days) = match arguments.has("--quick") {
        true => (1_000_000, 1),
        false => (10_000_000, 10),
    };
    let rows = arguments.number("--rows", rows)?;
    let days = arguments.number("--days", days)?;
    let dir = tempfile::tempdir_in(arguments.directory())?;
    writer(dir.path())?;
    let kept = arguments.text("--keep").map(PathBuf::from);
    let path = kept.unwrap_or_else(|| dir.path().join("audit.db"));
    let end = SystemTime::now();
    let range = DAY * u32::try_from(days)?;
    let first = micros(end - range)?;
    let step = i64::try_from(range.as_micros())? / i64::try_from(rows)?;
    if !path.exists() {
        eprintln!("questions: {rows} rows over {days} days");
        grow(&path, Requests::since(first, step), rows)?;
    }
    let bytes = std::fs::metadata(&path)?.len() as f64 / rows as f64;
    figure(
        "questions",
        "file_bytes_a_row",
        "B",
        &[bytes],
        "with columns",
    );
    while_written(&path, || ask(&path, end))
}

/// The same rows with and without columns, group by group in turns: the machine is not the same for two ledgers that are
/// written one after the other.
fn writer(dir: &Path) -> Result<(), Failure> {
    let mut costs = [Vec::new(), Vec::new()];
    for round in 0..5 {
        let open = |by_column| Ledger::open(&dir.join(format!("writer-{round}-{by_column}.db")));
        let mut ledgers = [open(false)?, open(true)?];
        let mut taken = [Taken::default(), Taken::default()];
        let mut requests = Requests::default();
        for group in 0..WRITTEN.div_ceil(GROUP) {
            let rows = requests.rows(GROUP);
            let [without, with] = &mut ledgers;
            let [of_without, of_with] = &mut taken;
            let mut plain = || measure(Some(of_without), || without.append_rows(&rows, false));
            let mut by_column = || measure(Some(of_with), || with.append(&rows, false));
            // Whoever comes second finds the rows in the core's cache.
            if group % 2 == 0 {
                plain()?;
                by_column()?;
            } else {
                by_column()?;
                plain()?;
            }
        }
        for ledger in ledgers {
            ledger.close()?;
        }
        for (costs, taken) in costs.iter_mut().zip(taken) {
            costs.push(taken.thread.as_secs_f64() * 1e6 / WRITTEN as f64);
        }
    }
    let [without, with] = costs;
    let ratios: Vec<f64> = with
        .iter()
        .zip(&without)
        .map(|(with, without)| with / without)
        .collect();
    let note = "processor time of the appending thread a row";
    figure("questions", "append_us", "us", &without, note);
    figure("questions", "append_by_column_us", "us", &with, note);
    figure(
        "questions",
        "columns_cost_ratio",
        "ratio",
        &ratios,
        "the second against the first",
    );
    Ok(())
}

fn grow(path: &Path, mut requests: Requests, rows: usize) -> Result<(), Failure> {
    let mut ledger = Ledger::open(path)?;
    for _ in 0..rows / GROUP {
        ledger.append(&requests.rows(GROUP), false)?;
    }
    Ok(ledger.close()?)
}

/// Runs `work` while another thread appends.
fn while_written(path: &Path, work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writes = scope.spawn(|| -> Result<Vec<f64>, audithog::Error> {
            let mut ledger = Ledger::open(path)?;
            let now = micros(SystemTime::now()).unwrap_or(0);
            let mut requests = Requests::since(now, 200);
            let mut waits = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let rows = requests.rows(100);
                let since = Instant::now();
                ledger.append(&rows, false)?;
                waits.push(since.elapsed().as_secs_f64() * 1e3);
                #[expect(
                    clippy::disallowed_methods,
                    reason = "a pace, as of a service with 5,000 requests a second"
                )]
                std::thread::sleep(Duration::from_millis(20));
            }
            ledger.close()?;
            Ok(waits)
        });
        let worked = work();
        done.store(true, Ordering::Relaxed);
        match writes.join() {
            Ok(Ok(waits)) => {
                let note =
                    "a commit of a hundred rows while questions are asked; the largest counts";
                figure("questions", "append_wait_ms", "ms", &waits, note);
            }
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err("the writing thread panicked".into()),
        }
        worked
    })
}

fn ask(path: &Path, end: SystemTime) -> Result<(), Failure> {
    let mut log = Log::open(path)?;
    let last = log.latest_rows(&Filter::all(), 0, u64::MAX)?.nth(50_000);
    let example = last.ok_or("the ledger is too small")??;
    for named in Named::ALL {
        let subject = match named {
            Named::User => Some("u_00017".to_owned()),
            Named::Request => example.row().request_id(),
            Named::Endpoint => Some("GET /api/r07/{id}".to_owned()),
            Named::Address => example.row().ip().map(|ip| ip.to_string()),
            _ => None,
        };
        let mut filter = Filter::all();
        if named != Named::Request {
            filter = filter.since(end - DAY);
        }
        let question = named.question(subject.as_deref(), filter)?;
        let mut times = Vec::new();
        let mut rows = 0;
        for _ in 0..=TIMES {
            let since = Instant::now();
            let answer = log.ask(&question)?;
            times.push(since.elapsed().as_secs_f64() * 1e3);
            rows = answer.scope.rows.unwrap_or(0);
        }
        let cold = times.remove(0);
        let note = format!("{rows} rows; the first time {cold:.1} ms");
        figure(
            "questions",
            &format!("ask_ms_named_{}", named.name()),
            "ms",
            &times,
            &note,
        );
    }
    // What no column has: every row of the range is read.
    let filter = Filter::all()
        .since(end - DAY)
        .begins(Field::Path, "/api/r07/9")?;
    let question = Named::Users.question(None, filter)?;
    let since = Instant::now();
    log.ask(&question)?;
    let took = since.elapsed().as_secs_f64() * 1e3;
    figure(
        "questions",
        "ask_ms_users_of_a_path",
        "ms",
        &[took],
        "read row by row",
    );
    Ok(())
}

fn micros(time: SystemTime) -> Result<i64, Failure> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_micros())?)
}
