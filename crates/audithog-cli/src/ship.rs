//! `audithog ship`.

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use audithog::{
    Logger,
    ship::{self, ShipReport, Waiting},
};
use serde_json::{Value, json};

use crate::{
    failure::{Failure, sentence},
    output::{Format, counted},
    when,
};

const LONG_ABOUT: &str = "\
Ship what waits in ledgers whose processes are gone

Finds the ledgers at each PATH (a file, or a directory with everything below it), and ships what PostHog has not got of them, one \
after the other, with the settings for PostHog of the environment: give it the same as the services had. Every row keeps the service, \
version and instance of the process that wrote it. A ledger that a process has open is left to that process. What cannot be shipped \
now stays where it is; run it again.

It writes into the ledgers: the cursor, an audit_loss row for a process that was killed, and an audit_shipped row. Nothing is removed.";

const AFTER_LONG_HELP: &str = "\
Examples:
  POSTHOG_API_KEY=phc_… audithog ship /volumes         All ledgers below /volumes
  audithog ship --dry-run /volumes                     What waits there; needs no key, sends and writes nothing
  POSTHOG_API_KEY=phc_… audithog ship --all audit.db   Also rows older than AUDITHOG_POSTHOG_BACKFILL (7 days)

A read-only volume must be copied first, each ledger with its -wal file: shipping writes the cursor. What was shipped before and
is sent again de-duplicates by uuid in PostHog.

What may have been a ledger and cannot be recognised as one (damaged or emptied, or its -wal file alone) and symbolic links to other
places, which are not followed, are skipped with a line that says so. `no ledger found` means that there is nothing of one.

Exit codes:
  0  PostHog has everything that it was to get, or there was nothing of a ledger
  1  Something went wrong while it ran
  2  It cannot start like this: an argument, a variable, no key, no such path
  3  Something is left: rows still wait, PostHog refused some for good, or something was skipped";

/// Ship what waits in ledgers whose processes are gone
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT, after_long_help = AFTER_LONG_HELP, after_help = "See --help for examples and exit codes.")]
pub(crate) struct Args {
    /// Ledgers, or directories with ledgers anywhere below
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Only say what waits
    #[arg(long)]
    dry_run: bool,

    /// Ship all that a ledger holds, however old, if it never had a key
    #[arg(long)]
    all: bool,

    /// How long without progress until it gives up: an outage of PostHog, or a process elsewhere that may have the ledger
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = when::span)]
    timeout: Duration,

    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// What became of one ledger.
enum Outcome {
    Shipped(ShipReport),
    Waits(Waiting),
    Skipped(String),
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut ledgers = BTreeSet::new();
    let mut ends = Vec::new();
    for path in &args.paths {
        let found = ship::find(path).map_err(|error| Failure::new(2, error))?;
        ledgers.extend(found.ledgers);
        for (path, error) in found.unreadable {
            if args.has_where_it_leads(&path) {
                continue;
            }
            ends.push((path, Outcome::Skipped(sentence(&error))));
        }
    }
    for (path, outcome) in &ends {
        args.print(path, outcome);
    }
    let limit = args.timeout;
    let mut patience = limit;
    for path in ledgers {
        let started = Instant::now();
        let outcome = args.one(&path, patience)?;
        if let Outcome::Shipped(report) = &outcome {
            // An outage is waited out once, and not anew at each ledger.
            patience = match report.delivered {
                0 if report.blocked.is_some() => patience.saturating_sub(started.elapsed()),
                0 => patience,
                _ => limit,
            };
        }
        args.print(&path, &outcome);
        ends.push((path, outcome));
    }
    let total = Total::of(&ends);
    match args.format {
        Format::Text => say(&total.sentence(args.dry_run)),
        Format::Json => say(&total.json(&ends).to_string()),
    }
    Ok(ExitCode::from(if total.is_complete() { 0 } else { 3 }))
}

impl Args {
    /// What concerns one ledger alone never stops the others.
    fn one(&self, path: &Path, patience: Duration) -> Result<Outcome, Failure> {
        let result = if self.dry_run {
            ship::look(path).map(Outcome::Waits)
        } else {
            let mut settings = Logger::builder();
            if self.all {
                settings = settings.pin("AUDITHOG_POSTHOG_BACKFILL", "36500d");
            }
            settings.ship(path, patience).map(Outcome::Shipped)
        };
        match result {
            Ok(outcome) => Ok(outcome),
            Err(error) if error.is_config() => Err(Failure::new(2, error)),
            Err(error) if error.is_ledger() || error.is_in_use() => {
                Ok(Outcome::Skipped(sentence(&error)))
            }
            Err(error) => Err(Failure::new(1, error)),
        }
    }

    /// A link's target may be among the paths: that is what its line asks for.
    fn has_where_it_leads(&self, link: &Path) -> bool {
        let real = |path: &Path| path.canonicalize().ok();
        let mut given = self.paths.iter().filter_map(|path| real(path));
        link.is_symlink()
            && real(link).is_some_and(|target| given.any(|path| target.starts_with(path)))
    }

    fn print(&self, path: &Path, outcome: &Outcome) {
        if self.format == Format::Text {
            say(&format!("{}: {}", path.display(), outcome.sentence()));
        }
    }
}

impl Outcome {
    fn sentence(&self) -> String {
        match self {
            Self::Skipped(why) => format!("skipped: {why}"),
            Self::Waits(waiting) => {
                let letters = counted(waiting.dead, "dead letter");
                let mut text = format!("{} pending, {letters}", waiting.pending);
                if waiting.unclean_stops > 0 {
                    let stops = counted(waiting.unclean_stops, "unclean stop");
                    text += &format!(", {stops} to tell");
                }
                if !waiting.known_to_posthog && waiting.pending > 0 {
                    text += "; never had a key: without --all AUDITHOG_POSTHOG_BACKFILL applies";
                }
                if let Some(by) = &waiting.in_use_by {
                    text += &format!("; in use by {by}");
                }
                text
            }
            Self::Shipped(report) => {
                let mut text = format!(
                    "{} shipped, {} dead, {} pending",
                    report.delivered, report.dead, report.pending
                );
                if report.sampled_out > 0 {
                    text += &format!(", {} sampled out", report.sampled_out);
                }
                if report.held_back > 0 {
                    let rows = report.held_back;
                    text += &format!(
                        ", {rows} held back as too old (--all ships such rows of a ledger that never had a key)"
                    );
                }
                if let Some(blocked) = &report.blocked {
                    text += &format!(": {blocked}");
                }
                text
            }
        }
    }

    fn json(&self, path: &Path) -> Value {
        match self {
            Self::Skipped(why) => json!({"path": path, "skipped": why}),
            Self::Waits(waiting) => json!(waiting),
            Self::Shipped(report) => json!(report),
        }
    }
}

/// All ledgers together.
#[derive(Default)]
struct Total {
    ledgers: u64,
    shipped: u64,
    dead: u64,
    pending: u64,
    skipped: u64,
    incomplete: u64,
}

impl Total {
    fn of(ends: &[(PathBuf, Outcome)]) -> Self {
        let mut total = Self::default();
        for (_, outcome) in ends {
            total.ledgers += 1;
            match outcome {
                Outcome::Skipped(_) => total.skipped += 1,
                Outcome::Waits(waiting) => {
                    total.pending += waiting.pending;
                    total.incomplete += u64::from(waiting.pending > 0);
                }
                Outcome::Shipped(report) => {
                    total.shipped += report.delivered;
                    total.dead += report.dead;
                    total.pending += report.pending;
                    total.incomplete += u64::from(!report.is_complete());
                }
            }
        }
        total
    }

    fn is_complete(&self) -> bool {
        self.incomplete == 0 && self.skipped == 0
    }

    fn sentence(&self, dry_run: bool) -> String {
        let Self {
            ledgers,
            shipped,
            dead,
            pending,
            skipped,
            ..
        } = self;
        let found = counted(*ledgers, "ledger");
        match (ledgers, dry_run) {
            (0, _) => "no ledger found".to_owned(),
            (_, true) => format!("total: {found}, {pending} pending, {skipped} skipped"),
            (_, false) => format!(
                "total: {found}, {shipped} shipped, {dead} dead, {pending} pending, {skipped} skipped"
            ),
        }
    }

    fn json(&self, ends: &[(PathBuf, Outcome)]) -> Value {
        json!({
            "ledgers": ends.iter().map(|(path, outcome)| outcome.json(path)).collect::<Vec<_>>(),
            "total": {
                "shipped": self.shipped,
                "dead": self.dead,
                "pending": self.pending,
                "skipped": self.skipped,
            },
        })
    }
}

/// Nobody may be reading; the exit code says it too.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
