//! `audithog dead-letters export`.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use audithog::inspect::{DeadLetter, LedgerFile};

use super::{Dismissed, Which};
use crate::{
    csv,
    failure::Failure,
    ledger,
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
    let mut file = ledger::open(args.which.db.as_deref())?;
    if !args.force && args.output.symlink_metadata().is_ok() {
        let text = format!(
            "{} is there already; --force replaces it",
            args.output.display()
        );
        return Err(Failure::new(1, text));
    }
    let part = part_of(&args.output);
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
    output.end()
}

/// Beside the file, so that renaming it is one step.
fn part_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

fn write(file: &mut LedgerFile, args: &Args, part: &Path) -> Result<u64, Failure> {
    let cannot = |error: io::Error| {
        let text = format!("{} cannot be written: {error}", args.output.display());
        Failure::new(1, text)
    };
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(part);
    let mut to = BufWriter::new(created.map_err(cannot)?);
    let mut letters = 0;
    for letter in file.dead_letters(args.dismissed.of(args.which.letters())) {
        let letter = letter.map_err(failed)?;
        match args.format {
            Form::Ndjson => ndjson(&mut to, &letter),
            Form::Csv => csv(&mut to, &letter, letters == 0),
        }
        .map_err(cannot)?;
        letters += 1;
    }
    let complete = |to: BufWriter<File>| -> io::Result<()> {
        to.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        fs::rename(part, &args.output)
    };
    complete(to).map_err(cannot)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_lies_beside_the_file() {
        let part = part_of(Path::new("/tmp/x/letters.csv"));
        assert_eq!(part.parent(), Some(Path::new("/tmp/x")));
        assert_eq!(part_of(Path::new("l.csv")).parent(), Some(Path::new("")));
    }
}
