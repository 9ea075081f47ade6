//! `audithog dead-letters dismiss`.

use super::{Which, letters_text};
use crate::{
    access,
    failure::Failure,
    ledger,
    output::{Output, failed, written},
    user,
};

const LONG_ABOUT: &str = "\
Say that nothing more has to be done about dead letters

They stay counted: the destination has not got these rows. But `audithog status --check` finds no problem in them any more, \
and `list` leaves them out. A letter goes with its row: at once if retention has removed the row already, otherwise when it does. Until \
then `show` and `replay` still take its number. The log gets a row that says who asked (audit_dead_letters_dismissed).";

/// Say that nothing more has to be done about dead letters
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT)]
#[command(group = clap::ArgGroup::new("some").args(["seqs", "all", "pruned", "reason"]).required(true).multiple(true))]
pub(super) struct Args {
    /// The rows' numbers
    #[arg(value_name = "SEQ", conflicts_with_all = ["all", "pruned"])]
    seqs: Vec<u64>,

    /// All there are
    #[arg(long, conflicts_with_all = ["pruned", "reason"])]
    all: bool,

    /// Only those that cannot be sent again: retention has removed their rows
    #[arg(long)]
    pruned: bool,

    #[command(flatten)]
    which: Which,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let mut file = ledger::open(
        args.which.db.as_deref(),
        Some(access::operate("dead-letters dismiss")),
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
    if args.pruned {
        letters = letters.without_row();
    }
    let done = file.dismiss(letters, &user::name()).map_err(failed)?;
    let text = match done.dismissed {
        0 => "No dead letter was dismissed.".to_owned(),
        1 => "1 dead letter is dismissed.".to_owned(),
        n => format!("{} are dismissed.", letters_text(n)),
    };
    let mut output = Output::standard();
    output.entry("", 0, &text).map_err(written)?;
    output.end()?;
    if done.dismissed + done.already == 0 {
        args.which.must_have_matched(&mut file)?;
    }
    if done.dismissed + done.already < asked.len() as u64 {
        let text = "not all of these rows are dead letters; see `audithog dead-letters list`";
        return Err(Failure::new(1, text));
    }
    Ok(())
}
