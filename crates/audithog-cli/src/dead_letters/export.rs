//! `audithog dead-letters export`.

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use audithog::{
    inspect::{DeadLetter, LedgerFile},
    query::csv,
};

use super::{Dismissed, Which};
use crate::{
    access,
    failure::Failure,
    files, ledger,
    output::{Output, failed, number, written},
};

/// Write dead letters with their rows to a file
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    dismissed: Dismissed,

    /// The file; it appears once it is complete, with mode 0600
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,

    /// What to write
    #[arg(long, value_enum, default_value_t = Form::Ndjson)]
    format: Form,

    /// Replace FILE if there is one
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// One JSON object a line
    Ndjson,
    /// RFC 4180, with a line of names; what a spreadsheet would run gets an apostrophe in front
    Csv,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let ledger = ledger::find(args.which.db.as_deref())?;
    files::must_be_free(&args.output, args.force, &ledger)?;
    let mut file = ledger::open(Some(&ledger), Some(access::export("dead-letters export")))?;
    let part = files::beside(&args.output, &format!(".{}.part", std::process::id()));
    let letters = write(&mut file, args, &part).inspect_err(|_| {
        // Half an export is none.
        let _ = fs::remove_file(&part);
    })?;
    let mut output = Output::standard();
    let text = format!(
        "{} dead letters in {}",
        number(letters),
        args.output.display()
    );
    output.line(&text).map_err(written)?;
    output.end()?;
    if letters == 0 {
        args.which.hint(&mut file)?;
    }
    Ok(())
}

fn write(file: &mut LedgerFile, args: &Args, part: &Path) -> Result<u64, Failure> {
    let cannot = files::cannot_write(&args.output);
    let mut to = BufWriter::new(files::create(part).map_err(&cannot)?);
    let mut letters = 0;
    for letter in file.dead_letters(args.dismissed.of(args.which.letters())) {
        let letter = letter.map_err(failed)?;
        match args.format {
            Form::Ndjson => ndjson(&mut to, &letter),
            Form::Csv => csv(&mut to, &letter, letters == 0),
        }
        .map_err(&cannot)?;
        letters += 1;
    }
    let written = to.into_inner().map_err(io::IntoInnerError::into_error);
    let written = written.map_err(&cannot)?;
    files::put_in_place(&written, part, &args.output).map_err(&cannot)?;
    Ok(letters)
}

fn ndjson(to: &mut impl Write, letter: &DeadLetter) -> io::Result<()> {
    serde_json::to_writer(&mut *to, letter)?;
    writeln!(to)
}

fn csv(to: &mut impl Write, letter: &DeadLetter, first: bool) -> io::Result<()> {
    let fields = letter.fields();
    if first {
        csv::line(to, fields.iter().map(|(name, _)| *name))?;
    }
    csv::line(to, fields.iter().map(|(_, value)| csv::cell(value)))
}
