//! `audithog dead-letters`.

use std::{collections::BTreeMap, path::PathBuf};

use audithog::inspect::{DeadLetters, LedgerFile};
use clap::Subcommand;

use crate::{
    failure::Failure,
    output::{counted, failed, number, plain, remark},
};

mod dismiss;
mod export;
mod list;
mod replay;
mod show;

const AFTER_LONG_HELP: &str = "\
A dead letter is a row that a destination refused for good, or that was tried 50 times or for seven days. The row itself stays \
in the ledger; the letter says why the destination has not got it.

Examples:
  audithog dead-letters list
  audithog dead-letters show 4711
  audithog dead-letters replay --reason 'drop: event_too_big'
  audithog dead-letters dismiss --pruned
  audithog dead-letters export -o letters.ndjson

Exit codes:
  0  Done
  1  It could not be done, or not all of it: also if `replay` or `dismiss` find no letter with the --reason
  2  A wrong argument";

/// See what a destination refused for good, send it again, or dismiss it
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_LONG_HELP, after_help = "See --help for examples and exit codes.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::Args),
    Show(show::Args),
    Replay(replay::Args),
    Dismiss(dismiss::Args),
    Export(export::Args),
}

/// Which ledger, and which of its letters.
#[derive(Debug, clap::Args)]
struct Which {
    /// The ledger's file [default: AUDITHOG_DB, else audit.db in $STATE_DIRECTORY or here]
    #[arg(long, value_name = "PATH")]
    db: Option<PathBuf>,

    /// Only of this destination
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,

    /// Only those with exactly this reason
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Which {
    fn letters(&self) -> DeadLetters {
        let mut letters = DeadLetters::all();
        if let Some(sink) = &self.sink {
            letters = letters.of_sink(sink);
        }
        if let Some(reason) = &self.reason {
            letters = letters.with_reason(reason);
        }
        letters
    }
}

/// As many as fit on a screen.
const MOST_REASONS: usize = 15;

impl Which {
    /// After nothing was found: if no letter has the reason that was asked for, says which reasons there are.
    fn hint(&self, file: &mut LedgerFile) -> Result<(), Failure> {
        if let Some((text, _)) = self.wrong_reason(file)?.filter(|(_, others)| *others) {
            text.lines().for_each(remark);
        }
        Ok(())
    }

    /// After nothing was done: the same is a failure.
    fn must_have_matched(&self, file: &mut LedgerFile) -> Result<(), Failure> {
        match self.wrong_reason(file)? {
            Some((text, _)) => Err(Failure::new(1, text)),
            None => Ok(()),
        }
    }

    /// If no letter has the reason that was asked for: says so, with those there are, and whether there are any.
    fn wrong_reason(&self, file: &mut LedgerFile) -> Result<Option<(String, bool)>, Failure> {
        let Some(asked) = &self.reason else {
            return Ok(None);
        };
        let mut letters = DeadLetters::all();
        if let Some(sink) = &self.sink {
            letters = letters.of_sink(sink);
        }
        let mut reasons = BTreeMap::<String, u64>::new();
        for letter in file.dead_letters(letters) {
            let reason = letter.map_err(failed)?.reason().to_owned();
            *reasons.entry(reason).or_default() += 1;
        }
        if reasons.contains_key(asked) {
            return Ok(None);
        }
        let mut text = format!("no dead letter has the reason '{}'", plain(asked));
        if reasons.is_empty() {
            text += ", or any other";
            return Ok(Some((text, false)));
        }
        text += "; there are:";
        for (reason, n) in reasons.iter().take(MOST_REASONS) {
            text += &format!("\n  {} ({})", plain(reason), number(*n));
        }
        if let more @ 1.. = reasons.len().saturating_sub(MOST_REASONS) {
            text += &format!("\n  and {} more", number(more as u64));
        }
        Ok(Some((text, true)))
    }
}

/// Whether letters that somebody dismissed are among them.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Dismissed {
    /// Also those that somebody dismissed
    #[arg(long)]
    dismissed: bool,
}

impl Dismissed {
    fn of(self, letters: DeadLetters) -> DeadLetters {
        if self.dismissed {
            letters
        } else {
            letters.not_dismissed()
        }
    }
}

fn letters_text(n: u64) -> String {
    counted(n, "dead letter")
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::List(args) => list::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Replay(args) => replay::run(args),
        Command::Dismiss(args) => dismiss::run(args),
        Command::Export(args) => export::run(&args),
    }
}
