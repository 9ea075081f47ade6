//! `audithog dead-letters show`.

use super::Which;
use crate::{
    access,
    failure::Failure,
    ledger,
    output::{Format, Output, failed, plain, written},
};

/// The column of names.
const LABEL: usize = 21;

/// Show a dead letter with its whole row
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The row's number
    seq: u64,

    #[command(flatten)]
    which: Which,

    /// How to show it; JSON is one object a line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut file = ledger::open(
        args.which.db.as_deref(),
        Some(access::read("dead-letters show")),
    )?;
    let mut output = Output::standard();
    let mut found = false;
    for letter in file.dead_letters(args.which.letters().with_seqs([args.seq])) {
        let letter = letter.map_err(failed)?;
        found = true;
        if args.format == Format::Json {
            output.ndjson(&letter).map_err(written)?;
            continue;
        }
        for (name, value) in letter.fields() {
            let text = match value {
                serde_json::Value::Null => continue,
                serde_json::Value::String(text) => text,
                other => other.to_string(),
            };
            output
                .copyable(name, LABEL, &plain(&text))
                .map_err(written)?;
        }
        if letter.row().is_none() {
            let gone = "removed by retention: the letter cannot be sent again";
            output.entry("row", LABEL, gone).map_err(written)?;
        }
    }
    output.end()?;
    if !found {
        let text = format!("row {} is no dead letter", args.seq);
        return Err(Failure::new(1, text));
    }
    Ok(())
}
