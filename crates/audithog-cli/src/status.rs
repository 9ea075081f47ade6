//! `audithog status`.

use std::{path::PathBuf, time::Duration};

use audithog::inspect::{Limits, Problem, ProblemKind, Projection, Status};
use serde::Serialize;

use crate::{
    failure::Failure,
    ledger,
    output::{Format, Output, failed, written},
    when,
};

mod text;

const LONG_ABOUT: &str = "\
Show what an audit log is like: the file, the service's runs, sinks and what waits for them, losses, the books

Reads the ledger's file and changes nothing, so it works beside a running service, on what a dead one left, and on a copy, \
also on a read-only disk. Run it as the user of the service: only that one may read the file.";

const AFTER_LONG_HELP: &str = "\
Examples:
  audithog status                          The ledger that AUDITHOG_DB names, else ./audit.db
  audithog status /var/lib/shop/audit.db   That file
  audithog status --format json | jq .sinks
  audithog status --check                  For alerts: prints problems only, and exits by the worst one

Exit codes:
  0  Shown; with --check: no problem
  1  It could not look: no file, no permission, no ledger, a damaged or newer one
  2  A wrong argument
With --check, the worst problem:
  3  The log stopped: no process writes it, or one that lives has written nothing for 60 s
  4  Ledger trouble: under 128 MiB free, a write-ahead log over 128 MiB, or writing failed within --window
  5  The books do not add up
  6  Rows were lost within --window
  7  A sink is on hold
  8  Rows wait for longer than --max-pending-age
  9  There are more than --max-dead-letters dead letters that nobody dismissed";

/// Show what an audit log is like, beside a running service or after its end
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT, after_long_help = AFTER_LONG_HELP, after_help = "See --help for examples and exit codes.")]
pub(crate) struct Args {
    /// The ledger's file [default: AUDITHOG_DB, else audit.db in $STATE_DIRECTORY or here]
    path: Option<PathBuf>,

    /// The same, as other commands have it
    #[arg(long, value_name = "PATH", conflicts_with = "path")]
    db: Option<PathBuf>,

    /// How to show it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Only look for problems, and exit with the worst one's code; for alerts. It is no liveness probe: a restart ends neither a hold nor a full disk
    #[arg(long)]
    check: bool,

    /// A pending row of this age is a problem
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = when::span)]
    max_pending_age: Duration,

    /// Losses and trouble of this age are history
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = when::span)]
    window: Duration,

    /// More dead letters of a sink are a problem
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_dead_letters: u64,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    status: &'a Status,
    projection: Option<&'a Projection>,
    problems: &'a [Problem],
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut file = ledger::open(args.path.as_deref().or(args.db.as_deref()), None)?;
    let status = file.status().map_err(failed)?;
    let limits = Limits::default()
        .max_pending_age(args.max_pending_age)
        .window(args.window)
        .max_dead_letters(args.max_dead_letters);
    let problems = status.problems(&limits);
    // Checks are often: they pay for nothing that they do not judge.
    let projection = if args.check {
        None
    } else {
        file.projection().map_err(failed)?
    };
    let mut output = Output::standard();
    match args.format {
        Format::Json => output.json(&Report {
            status: &status,
            projection: projection.as_ref(),
            problems: &problems,
        })?,
        Format::Text if args.check => text::problems(&mut output, &problems).map_err(written)?,
        Format::Text => {
            text::status(&mut output, &status, projection.as_ref(), &problems).map_err(written)?;
        }
    }
    let ended = output.end();
    match problems.first() {
        // Also when nobody reads the text: a check wants the code.
        Some(worst) if args.check => Err(Failure::quiet(exit_code(worst.kind))),
        _ => ended,
    }
}

fn exit_code(kind: ProblemKind) -> u8 {
    match kind {
        ProblemKind::LogStopped => 3,
        ProblemKind::LedgerTrouble => 4,
        ProblemKind::BrokenEquation => 5,
        ProblemKind::Losses => 6,
        ProblemKind::Hold => 7,
        ProblemKind::PendingTooOld => 8,
        ProblemKind::DeadLetters => 9,
        _ => 1,
    }
}
