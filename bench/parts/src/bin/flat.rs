//! What the size of a ledger changes: the cost of a row, the start, and the look-ups that have a name.
//!
//! `flat [--quick] [--full] [--dir DIR]`: 1,000, 100,000 and 10 million rows; `--quick` ends at a million, `--full` at
//! 100 million, which takes about 13 GB. One ledger grows through the store itself; at each size it and one that begins
//! with a thousand rows take the same number of rows in turns, so that the machine's mood is in both.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use audithog::Logger;
use audithog::bench::ledger::Ledger;
use audithog::inspect::LedgerFile;
use bench_parts::Failure;
use bench_parts::arguments::Arguments;
use bench_parts::cpu::{Taken, measure};
use bench_parts::report::{figure, median};
use bench_parts::requests::Requests;

const GROUP: usize = 1_000;
/// Rows of the ledger that the others are compared with.
const SMALL: i64 = 1_000;
/// Rows that are measured at each size: sixty groups for each of five values. With twenty, a few that were interrupted
/// moved a value by a tenth.
const MEASURED: usize = 300_000;
const LOOKUPS: i64 = 200;
const STARTS: usize = 5;
const SIZES: [(i64, &str); 5] = [
    (1_000, "1k"),
    (100_000, "100k"),
    (1_000_000, "1m"),
    (10_000_000, "10m"),
    (100_000_000, "100m"),
];

fn main() -> Result<(), Failure> {
    let arguments = Arguments::of_program(&["--quick", "--full", "--dir"])?;
    let largest = if arguments.has("--full") {
        100_000_000
    } else if arguments.has("--quick") {
        1_000_000
    } else {
        10_000_000
    };
    let dir = tempfile::tempdir_in(arguments.directory())?;
    let path = dir.path().join("audit.db");
    let mut requests = Requests::default();
    let mut times = Vec::new();
    let mut first = None;
    for (rows, name) in SIZES {
        if rows > largest || (rows == 1_000_000 && largest > rows) {
            continue;
        }
        eprintln!("flat: {name} rows");
        grow(&path, &mut requests, rows, &mut times)?;
        let mut medians = vec![("start", start(&path, name)?)];
        medians.extend(look_up(&path, &times, rows, name)?);
        compare(&medians, first.get_or_insert_with(|| medians.clone()), name);
        let small = dir.path().join(format!("beside-{name}.db"));
        grow(&small, &mut requests, SMALL, &mut Vec::new())?;
        let Costs { each, ratios } = costs(&path, &small, &mut requests, &mut times)?;
        figure(
            "ledger",
            &format!("flat_append_us_{name}"),
            "us",
            &each,
            "processor time of the appending thread a row",
        );
        figure(
            "ledger",
            &format!("flat_cost_ratio_{name}"),
            "ratio",
            &ratios,
            "cost of a row against that in a ledger that begins with 1,000 rows, in turns",
        );
    }
    Ok(())
}

/// By what was measured: the median, in its own unit.
type Medians = Vec<(&'static str, f64)>;

/// What takes longer than in the first ledger.
fn compare(medians: &Medians, first: &Medians, name: &str) {
    for ((what, here), (_, there)) in medians.iter().zip(first) {
        figure(
            "ledger",
            &format!("flat_time_ratio_{what}_{name}"),
            "ratio",
            &[here / there],
            "median against that in a ledger of 1,000 rows",
        );
    }
}

/// `times` gets one before each group.
fn grow(
    path: &Path,
    requests: &mut Requests,
    upto: i64,
    times: &mut Vec<Duration>,
) -> Result<(), Failure> {
    let mut ledger = Ledger::open(path)?;
    while ledger.head() < upto {
        times.push(now());
        ledger.append(&requests.rows(GROUP), false)?;
    }
    Ok(ledger.close()?)
}

/// Of each fifth of the rows.
#[derive(Default)]
struct Costs {
    /// Microseconds a row.
    each: Vec<f64>,
    /// By that of a row in the small ledger.
    ratios: Vec<f64>,
}

fn costs(
    path: &Path,
    small: &Path,
    requests: &mut Requests,
    times: &mut Vec<Duration>,
) -> Result<Costs, Failure> {
    let mut ledgers = [Ledger::open(path)?, Ledger::open(small)?];
    let mut costs = Costs::default();
    for _ in 0..5 {
        let mut taken = [Taken::default(), Taken::default()];
        for _ in 0..MEASURED / GROUP / 5 {
            times.push(now());
            for (ledger, taken) in ledgers.iter_mut().zip(&mut taken) {
                let rows = requests.rows(GROUP);
                measure(Some(taken), || ledger.append(&rows, false))?;
            }
        }
        let [large, small] =
            taken.map(|taken| taken.thread.as_secs_f64() * 1e6 / (MEASURED / 5) as f64);
        costs.each.push(large);
        costs.ratios.push(large / small);
    }
    for ledger in ledgers {
        ledger.close()?;
    }
    Ok(costs)
}

/// From the builder to the first row that is accepted.
fn start(path: &Path, name: &str) -> Result<f64, Failure> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let since = Instant::now();
        let logger = Logger::builder()
            .environment::<&str, &str>([])
            .database(path)
            .start()?;
        logger.event("bench_started").log();
        times.push(since.elapsed().as_secs_f64() * 1e3);
        if !logger
            .shutdown_blocking(Some(Duration::from_secs(30)))
            .closed
        {
            return Err("the shutdown was not complete".into());
        }
    }
    figure(
        "ledger",
        &format!("start_ms_{name}"),
        "ms",
        &times,
        "Logger::start until a row is accepted",
    );
    median(&times).ok_or_else(|| "no start was timed".into())
}

/// Each look-up has a connection that was used before.
fn look_up(path: &Path, written: &[Duration], rows: i64, name: &str) -> Result<Medians, Failure> {
    let ledger = Ledger::open(path)?;
    let mut reader = ledger.reader()?;
    let times =
        |mut lookup: Box<dyn FnMut(i64) -> Result<(), Failure> + '_>| -> Result<Vec<f64>, Failure> {
            (0..LOOKUPS)
                .map(|at| {
                    // Spread over the log by a number that shares no factor with its length.
                    let seq = 1 + (at * 7_919 * (rows / 10_007 + 1)) % rows;
                    let since = Instant::now();
                    lookup(seq)?;
                    Ok(since.elapsed().as_secs_f64() * 1e6)
                })
                .collect()
        };
    let mut medians = Medians::new();
    let mut tell = |what: &'static str, times: &[f64], note: &str| {
        medians.extend(median(times).map(|median| (what, median)));
        figure(
            "ledger",
            &format!("lookup_us_{what}_{name}"),
            "us",
            times,
            note,
        );
    };
    let by_seq = times(Box::new(|seq| expect(reader.rows(seq - 1, seq, 1)?, 1)))?;
    tell("seq", &by_seq, "one row by its number");
    // A group was written after each of these times, so that there are rows to find.
    let by_time = times(Box::new(|seq| {
        let at = written[seq as usize % written.len()].as_micros() as i64;
        let after = reader.last_before(at)?;
        expect(reader.rows(after, i64::MAX, 100)?, 100)
    }))?;
    tell(
        "time",
        &by_time,
        "a hundred rows from a time on, through blocks",
    );
    let head = ledger.head();
    let last = times(Box::new(|_| {
        expect(reader.rows(head - 100, head, 100)?, 100)
    }))?;
    tell("last_100", &last, "the last hundred rows");
    let status = times(Box::new(|_| {
        LedgerFile::open(path)?.status()?;
        Ok(())
    }))?;
    tell(
        "status",
        &status,
        "what `audithog status` reads, with opening the file",
    );
    ledger.close()?;
    Ok(medians)
}

fn expect(found: usize, rows: usize) -> Result<(), Failure> {
    if found == rows {
        return Ok(());
    }
    Err(format!("{found} rows in the place of {rows}").into())
}

/// Since 1970.
fn now() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default()
}
