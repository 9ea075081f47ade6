//! `audithog dead-letters replay`.

use super::{Which, letters_text};
use crate::{
    access,
    failure::Failure,
    ledger,
    output::{Output, failed, wait, written},
    user,
};

const LONG_ABOUT: &str = "\
Send dead letters again

They wait as rows that need another try on their own: a running service sends them within about ten seconds, otherwise its \
next start does. Their bytes, ids and sampling decisions stay; attempts and age begin anew. The log gets a row that says who \
asked (audit_dead_letters_replayed).";

/// Send dead letters again
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT)]
#[command(group = clap::ArgGroup::new("some").args(["seqs", "all", "reason"]).required(true).multiple(true))]
pub(super) struct Args {
    /// The rows' numbers
    #[arg(value_name = "SEQ", conflicts_with = "all")]
    seqs: Vec<u64>,

    /// All that nobody has dismissed
    #[arg(long, conflicts_with = "reason")]
    all: bool,

    #[command(flatten)]
    which: Which,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let mut file = ledger::open(
        args.which.db.as_deref(),
        Some(access::operate("dead-letters replay")),
    )?;
    let mut letters = args.which.letters();
    let mut asked = args.seqs;
    asked.sort_unstable();
    asked.dedup();
    if asked.is_empty() {
        letters = letters.not_dismissed();
    } else {
        letters = letters.with_seqs(asked.iter().copied());
    }
    let done = file.replay(letters, &user::name()).map_err(failed)?;
    let mut output = Output::standard();
    let when = file
        .status()
        .map_err(failed)?
        .sinks
        .iter()
        .any(|sink| sink.driven);
    let when = if when {
        "the service sends them within about ten seconds"
    } else {
        "no service sends now: its next start does"
    };
    let text = match done.replayed {
        0 => "No dead letter was sent again.".to_owned(),
        n => format!("{} to be sent again; {when}.", wait(n, "dead letter")),
    };
    output.entry("", 0, &text).map_err(written)?;
    output.end()?;
    if done.replayed + done.gone == 0 {
        args.which.must_have_matched(&mut file)?;
    }
    if done.gone > 0 {
        return Err(Failure::new(
            1,
            format!(
                "{} cannot be sent again: retention has removed their rows; \
                 `audithog dead-letters dismiss --pruned` takes them off the list",
                letters_text(done.gone)
            ),
        ));
    }
    if done.replayed < asked.len() as u64 {
        let text = "not all of these rows are dead letters; see `audithog dead-letters list`";
        return Err(Failure::new(1, text));
    }
    Ok(())
}
