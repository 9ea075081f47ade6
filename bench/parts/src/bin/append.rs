//! What a row costs in audithog's ledger and in tables that somebody wrote by hand, in alternating rounds.
//!
//! `append [--quick] [--dir DIR] [--only ours|plain|fields|compact --rows N --group N]`; the second form appends once
//! and prints nothing, for a profiler.

use std::path::Path;
use std::time::Duration;

use audithog::bench::ledger::Ledger;
use bench_parts::Failure;
use bench_parts::arguments::Arguments;
use bench_parts::compact::{Compact, Numbers};
use bench_parts::cpu::{self, Taken, measure};
use bench_parts::plain::{Columns, Plain, PlainRow};
use bench_parts::report::{figure, thousands};
use bench_parts::requests::Requests;

const GROUP: usize = 1_000;
const OTHER_GROUPS: [usize; 3] = [32, 100, 1_024];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contender {
    Ours,
    Plain(Columns),
    Compact,
}

/// One round of one contender.
#[derive(Clone, Copy, Debug)]
struct Round {
    rows: usize,
    taken: Taken,
    bytes: u64,
}

impl Round {
    fn nanos(&self, of: Duration) -> f64 {
        of.as_secs_f64() * 1e9 / self.rows as f64
    }
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::of_program(&["--quick", "--dir", "--only", "--rows", "--group"])?;
    let dir = arguments.directory();
    let quick = arguments.has("--quick");
    if let Some(only) = arguments.text("--only") {
        let contender = contender(only).ok_or("--only: ours, plain, fields or compact")?;
        let rows = arguments.number("--rows", 100_000)?;
        let group = arguments.number("--group", GROUP)?;
        return append(contender, &dir, rows, group, &mut None).map(drop);
    }
    let (rounds, rows) = if quick { (3, 50_000) } else { (9, 200_000) };
    against(&dir, rounds, rows)?;
    for group in OTHER_GROUPS {
        group_size(&dir, rounds, rows, group)?;
    }
    Ok(())
}

fn contender(name: &str) -> Option<Contender> {
    Some(match name {
        "ours" => Contender::Ours,
        "plain" => Contender::Plain(Columns::All),
        "fields" => Contender::Plain(Columns::Fields),
        "compact" => Contender::Compact,
        _ => return None,
    })
}

/// The headline: groups of a thousand rows, against each of the others.
fn against(dir: &Path, rounds: usize, rows: usize) -> Result<(), Failure> {
    const PEERS: [(&str, Contender, &str); 3] = [
        (
            "",
            Contender::Plain(Columns::All),
            "the same columns as plain text",
        ),
        (
            "_13_fields",
            Contender::Plain(Columns::Fields),
            "event, time and the thirteen fields alone, as plain text",
        ),
        (
            "_same_encodings",
            Contender::Compact,
            "audithog's encodings, ready before the clock runs, and no counters",
        ),
    ];
    let mut ours = Vec::new();
    let mut peers = PEERS.map(|_| Vec::new());
    for at in 0..rounds {
        eprintln!("append: round {} of {rounds}", at + 1);
        ours.push(round(Contender::Ours, dir, rows, GROUP)?);
        for (found, (_, contender, _)) in peers.iter_mut().zip(PEERS) {
            found.push(round(contender, dir, rows, GROUP)?);
        }
    }
    tell("append", &ours, "us");
    figure(
        "ledger",
        "bytes_per_row",
        "bytes",
        &each(&ours, |round| round.bytes as f64 / round.rows as f64),
        "the file after it was closed",
    );
    for (found, (suffix, _, note)) in peers.iter().zip(PEERS) {
        tell(&format!("append_plain{suffix}"), found, "us");
        let bytes = each(found, |round| round.bytes as f64 / round.rows as f64);
        figure(
            "ledger",
            &format!("bytes_per_row_plain{suffix}"),
            "bytes",
            &bytes,
            note,
        );
        for (of, what) in [
            ("", "processor time of all threads"),
            ("_thread", "processor time of the appending thread"),
            ("_wall", "clock on the wall"),
        ] {
            let ratios: Vec<f64> = found
                .iter()
                .zip(&ours)
                .map(|(peer, ours)| {
                    let time = |round: &Round| match of {
                        "" => round.taken.process,
                        "_thread" => round.taken.thread,
                        _ => round.taken.wall,
                    };
                    time(peer).as_secs_f64() / time(ours).as_secs_f64()
                })
                .collect();
            figure(
                "ledger",
                &format!("append_ratio{suffix}{of}"),
                "ratio",
                &ratios,
                &format!("{note}; groups of {}; {what}", thousands(GROUP)),
            );
        }
    }
    Ok(())
}

/// What the size of a group changes.
fn group_size(dir: &Path, rounds: usize, rows: usize, group: usize) -> Result<(), Failure> {
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(round(Contender::Ours, dir, rows, group)?);
        plain.push(round(Contender::Plain(Columns::All), dir, rows, group)?);
    }
    tell(&format!("append_{group}"), &ours, "us");
    let ratios: Vec<f64> = plain
        .iter()
        .zip(&ours)
        .map(|(peer, ours)| peer.taken.process.as_secs_f64() / ours.taken.process.as_secs_f64())
        .collect();
    figure(
        "ledger",
        &format!("append_ratio_{group}"),
        "ratio",
        &ratios,
        &format!(
            "the same columns as plain text; groups of {}; processor time of all threads",
            thousands(group)
        ),
    );
    Ok(())
}

fn tell(name: &str, rounds: &[Round], unit: &str) {
    let values = each(rounds, |round| round.nanos(round.taken.process) / 1e3);
    figure(
        "ledger",
        &format!("{name}_us_per_row"),
        unit,
        &values,
        "processor time of all threads",
    );
    let values = each(rounds, |round| round.nanos(round.taken.thread) / 1e3);
    figure(
        "ledger",
        &format!("{name}_thread_us_per_row"),
        unit,
        &values,
        "processor time of the appending thread",
    );
}

fn each(rounds: &[Round], of: impl Fn(&Round) -> f64) -> Vec<f64> {
    rounds.iter().map(of).collect()
}

/// A new file, so that no round has a larger one than the other.
fn round(contender: Contender, dir: &Path, rows: usize, group: usize) -> Result<Round, Failure> {
    let (process, thread) = (cpu::of_process(), cpu::of_thread());
    let mut taken = Some(Taken::default());
    let (rows, bytes) = append(contender, dir, rows, group, &mut taken)?;
    let mut taken = taken.unwrap_or_default();
    // Other threads work while this one makes rows, too.
    let others = (cpu::of_process() - process).saturating_sub(cpu::of_thread() - thread);
    taken.process = taken.thread + others;
    Ok(Round { rows, taken, bytes })
}

/// How many rows were appended, and how large the file is.
fn append(
    contender: Contender,
    dir: &Path,
    rows: usize,
    group: usize,
    taken: &mut Option<Taken>,
) -> Result<(usize, u64), Failure> {
    let dir = tempfile::tempdir_in(dir)?;
    let path = dir.path().join("audit.db");
    let mut requests = Requests::default();
    let groups = rows.div_ceil(group);
    match contender {
        Contender::Ours => {
            let mut ledger = Ledger::open(&path)?;
            for _ in 0..groups {
                let rows = requests.rows(group);
                measure(taken.as_mut(), || ledger.append(&rows, false))?;
            }
            measure(taken.as_mut(), || ledger.close())?;
        }
        Contender::Plain(columns) => {
            let mut plain = Plain::create(&path, columns)?;
            for _ in 0..groups {
                let rows: Vec<PlainRow> =
                    requests.by_ref().take(group).map(PlainRow::from).collect();
                measure(taken.as_mut(), || plain.append(&rows))?;
            }
            measure(taken.as_mut(), || plain.close())?;
        }
        Contender::Compact => {
            let mut compact = Compact::create(&path)?;
            let mut numbers = Numbers::default();
            for _ in 0..groups {
                let rows: Vec<_> = requests
                    .by_ref()
                    .take(group)
                    .map(|sample| numbers.row(sample))
                    .collect();
                measure(taken.as_mut(), || compact.append(&rows))?;
            }
            measure(taken.as_mut(), || compact.close())?;
        }
    }
    Ok((groups * group, std::fs::metadata(&path)?.len()))
}
