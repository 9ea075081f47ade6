//! `audithog dead-letters list`.

use std::io;

use audithog::inspect::DeadLetter;

use super::{Dismissed, Which};
use crate::{
    access,
    failure::Failure,
    ledger,
    output::{Format, Output, failed, number, plain, time, written},
};

/// List dead letters: number, time of the row, destination, what it was; when it was refused, and why
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    dismissed: Dismissed,

    /// At most this many; 0 lists all
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,

    /// How to show them; JSON is one object a line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut file = ledger::open(
        args.which.db.as_deref(),
        Some(access::read("dead-letters list")),
    )?;
    let mut output = Output::standard();
    let mut listed = 0;
    for letter in file.dead_letters(args.dismissed.of(args.which.letters())) {
        let letter = letter.map_err(failed)?;
        if args.limit > 0 && listed >= args.limit {
            if args.format == Format::Text {
                let text = format!(
                    "There are more than {}: --limit 0 lists all.",
                    number(listed)
                );
                output.line(&text).map_err(written)?;
            }
            return output.end();
        }
        listed += 1;
        match args.format {
            Format::Json => output.ndjson(&letter),
            Format::Text => line(&mut output, &letter),
        }
        .map_err(written)?;
    }
    if listed == 0 && args.format == Format::Text {
        output.line("No dead letters.").map_err(written)?;
    }
    output.end()?;
    if listed == 0 {
        args.which.hint(&mut file)?;
    }
    Ok(())
}

fn line(output: &mut Output, letter: &DeadLetter) -> io::Result<()> {
    let what = match letter.row() {
        None => "row removed by retention: it cannot be sent again".to_owned(),
        Some(row) => {
            let words = [Some(row.event_name()), row.method(), row.route()];
            let words: Vec<&str> = words.into_iter().flatten().collect();
            words.join(" ")
        }
    };
    output.line(&format!(
        "{:>10}  {}  {}  {}",
        letter.seq(),
        time(&letter.time_text()),
        plain(letter.sink()),
        plain(&what)
    ))?;
    let mut why = plain(letter.reason());
    if let Some(at) = letter.refused_text() {
        why = format!("{} refused: {why}", time(&at));
    }
    output.copyable("", 12, &why)?;
    let dismissed = letter.dismissed_text().zip(letter.dismissed_by());
    let Some((at, by)) = dismissed else {
        return Ok(());
    };
    output.entry("", 12, &format!("{} dismissed by {}", time(&at), plain(by)))
}
