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

use super::{Dismissed, Which, letters_text};
use crate::{
    access,
    failure::Failure,
    files, ledger,
    output::{Output, failed, written},
};

/// Write dead letters with their rows to a file
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    dismissed: Dismissed,

    /// The file; it appears once it is complete, with mode 0600. `-` is standard output
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,

    /// What to write [default: by the ending of FILE, else ndjson]
    #[arg(long, value_enum)]
    format: Option<Form>,

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

impl Form {
    /// By the file's name, unless it is said.
    fn of(args: &Args) -> Result<Self, Failure> {
        match (args.format, files::ending(&args.output).as_deref()) {
            (Some(form), _) => Ok(form),
            (None, Some("csv")) => Ok(Self::Csv),
            (None, Some("parquet")) => {
                let text =
                    "dead letters are written as ndjson or csv: name the file so, or give --format";
                Err(Failure::new(2, text))
            }
            (None, _) => Ok(Self::Ndjson),
        }
    }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let form = Form::of(args)?;
    let to_output = args.output == Path::new("-");
    let ledger = ledger::find(args.which.db.as_deref())?;
    if !to_output {
        files::must_be_free(&args.output, args.force, &ledger)?;
    }
    let mut file = ledger::open(Some(&ledger), Some(access::export("dead-letters export")))?;
    let letters = if to_output {
        let mut to = BufWriter::new(io::stdout());
        let letters = write(&mut file, args, form, &mut to, &written)?;
        to.flush().map_err(written)?;
        letters
    } else {
        let letters = to_file(&mut file, args, form)?;
        let mut output = Output::standard();
        let text = format!("{} in {}", letters_text(letters), args.output.display());
        output.line(&text).map_err(written)?;
        output.end()?;
        letters
    };
    if letters == 0 {
        args.which.hint(&mut file)?;
    }
    Ok(())
}

fn to_file(file: &mut LedgerFile, args: &Args, form: Form) -> Result<u64, Failure> {
    let part = files::beside(&args.output, &format!(".{}.part", std::process::id()));
    let cannot = files::cannot_write(&args.output);
    let mut made = || {
        let mut to = BufWriter::new(files::create(&part).map_err(&cannot)?);
        let letters = write(file, args, form, &mut to, &cannot)?;
        let written = to.into_inner().map_err(io::IntoInnerError::into_error);
        let written = written.map_err(&cannot)?;
        files::put_in_place(&written, &part, &args.output).map_err(&cannot)?;
        Ok(letters)
    };
    made().inspect_err(|_| {
        // Half an export is none.
        let _ = fs::remove_file(&part);
    })
}

fn write(
    file: &mut LedgerFile,
    args: &Args,
    form: Form,
    to: &mut impl Write,
    cannot: &dyn Fn(io::Error) -> Failure,
) -> Result<u64, Failure> {
    let mut letters = 0;
    for letter in file.dead_letters(args.dismissed.of(args.which.letters())) {
        let letter = letter.map_err(failed)?;
        match form {
            Form::Ndjson => ndjson(to, &letter),
            Form::Csv => csv(to, &letter, letters == 0),
        }
        .map_err(cannot)?;
        letters += 1;
    }
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
