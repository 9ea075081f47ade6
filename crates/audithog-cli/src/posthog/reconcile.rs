//! `audithog posthog reconcile`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use audithog::{
    Logger,
    posthog::{Reconcile, Reconciliation},
};

use super::failed;
use crate::{
    failure::Failure,
    filters::not_empty,
    ledger,
    output::{self, Format, Output, number, plain, written},
    when,
};

const LONG_ABOUT: &str = "\
Compare a ledger with PostHog: what is missing there, late, or there twice

Both sides count the events of each hour and add up their times; an hour that does not agree is compared id by id. Rows that PostHog is \
not to have (sampled out, held back as too old, dead letters) or not yet (pending) are counted apart and are not missing. Works beside \
a live service.

With --resend the missing rows are sent again, with the bytes and ids of the first time, so that nothing becomes double: set the \
environment as the service has it. If PostHog has any row of the range, the ledger notes that it is verified.";

const AFTER_LONG_HELP: &str = "\
Examples:
  audithog posthog reconcile --since 24h
  audithog posthog reconcile --since yesterday --until today --db /var/lib/shop/audit.db --format json
  POSTHOG_API_KEY=phc_… audithog posthog reconcile --since 24h --resend

The personal key needs the scope query:read. PostHog allows 240 queries a minute and 2,400 an hour: a day on which both sides agree takes
one, an hour that differs one for each 50,000 of its events.

Exit codes:
  0  PostHog has every row that it is to have, or all that was missing was sent again
  1  Something went wrong while it ran, or there is no ledger
  2  It cannot start like this: an argument, a variable
  3  Rows are missing";

/// Compare a ledger with PostHog: what is missing there, late, or there twice
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT, after_long_help = AFTER_LONG_HELP, after_help = "See --help for examples and exit codes.")]
pub(super) struct Args {
    /// The ledger's file [default: AUDITHOG_DB, else audit.db in $STATE_DIRECTORY or here]
    #[arg(long, value_name = "PATH")]
    db: Option<PathBuf>,

    /// Rows from this time on: 15m, 24h, yesterday, monday 09:30, 2026-11-25, RFC 3339, Unix time
    #[arg(long, value_name = "TIME", default_value = "24h")]
    since: String,

    /// Only rows before this time; the same forms
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// A younger row is on its way and not missing
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = when::span)]
    grace: Duration,

    /// A row that PostHog took later than this after its time is late
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = when::span)]
    late: Duration,

    /// Compare every hour id by id, also where counts and times agree
    #[arg(long)]
    each: bool,

    /// Send the missing rows again; needs POSTHOG_API_KEY and the service's settings for PostHog
    #[arg(long)]
    resend: bool,

    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// Missing rows that the text names.
const NAMED: usize = 20;

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let clock = when::Clock::system(false);
    let wrong = |option: &str, error: String| Failure::new(2, format!("--{option}: {error}"));
    let since = clock
        .past(&args.since)
        .map_err(|error| wrong("since", error))?;
    let mut asked = Reconcile::since(since).grace(args.grace).late(args.late);
    if let Some(until) = &args.until {
        let until = clock.moment(until).map_err(|error| wrong("until", error))?;
        not_empty(&clock, since, until)?;
        asked = asked.until(until);
    }
    let file = ledger::open(args.db.as_deref(), None)?;
    if args.each {
        asked = asked.each();
    }
    if args.resend {
        asked = asked.resend();
    }
    let found = Logger::builder()
        .reconcile(file.path(), &asked)
        .map_err(failed)?;
    let mut output = Output::standard();
    match args.format {
        Format::Json => output.json(&found)?,
        Format::Text => text(&found, &mut output).map_err(written)?,
    }
    output.end()?;
    Ok(ExitCode::from(if found.is_complete() { 0 } else { 3 }))
}

fn text(found: &Reconciliation, output: &mut Output) -> std::io::Result<()> {
    const INDENT: usize = 14;
    let since = output::time(&found.since);
    let until = output::time(&found.until);
    output.entry(
        "range",
        INDENT,
        &format!("{since} to {until}, project {}", found.project),
    )?;
    let apart = found.not_delivered;
    let mut rows = format!(
        "{}, {} of them delivered",
        number(found.rows),
        number(found.delivered)
    );
    for (count, what) in [
        (apart.pending, "pending"),
        (apart.sampled_out, "sampled out"),
        (apart.held_back, "held back as too old"),
        (apart.dead, "dead letters"),
    ] {
        if count > 0 {
            rows += &format!(", {} {what}", number(count));
        }
    }
    output.entry("rows", INDENT, &rows)?;
    let mut there = format!("{} are in PostHog", number(found.found));
    if found.verified {
        there += "; the ledger notes it as verified";
    }
    output.entry("found", INDENT, &there)?;
    output.entry("missing", INDENT, &number(found.missing.len() as u64))?;
    for row in found.missing.iter().take(NAMED) {
        output.line(&format!("{:INDENT$}row {}, event {}", "", row.seq, row.id))?;
    }
    let unnamed = found.missing.len().saturating_sub(NAMED);
    if unnamed > 0 {
        let text = format!("and {} more: --format json has all", number(unnamed as u64));
        output.entry("", INDENT, &text)?;
    }
    for (label, count, what) in [
        (
            "on the way",
            found.on_the_way,
            "young rows are not there yet",
        ),
        (
            "duplicated",
            found.duplicated,
            "rows are there more than once: count(DISTINCT uuid) counts them once",
        ),
        (
            "late",
            found.late,
            "rows came later than --late after their time",
        ),
        (
            "displaced",
            found.displaced,
            "rows are there under another time",
        ),
        (
            "others",
            found.others.unwrap_or(0),
            "events of the same services and instances are not in this ledger",
        ),
    ] {
        if count > 0 {
            output.entry(label, INDENT, &format!("{} {what}", number(count)))?;
        }
    }
    let Some(resent) = &found.resent else {
        return Ok(());
    };
    output.entry("sent again", INDENT, &number(resent.accepted))?;
    for (seq, why) in resent.refused.iter().take(NAMED) {
        output.entry("refused", INDENT, &format!("row {seq}: {}", plain(why)))?;
    }
    Ok(())
}
