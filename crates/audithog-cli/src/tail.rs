//! `audithog tail`.

use std::io;

use audithog::query::{Filter, Log, LogRow, csv};

use crate::{
    access,
    failure::Failure,
    filters::Filters,
    ledger::{self, Which},
    output::{Output, failed, written},
    when::Clock,
};

mod follow;
mod line;
mod stop;

const LONG_ABOUT: &str = "\
Show the rows that were written last, and with -f new ones as they come

One line a row, in the order in which they were written: time, status, method and path, what went wrong, how many milliseconds it took, who, \
and the request id. In colours on a terminal, unless NO_COLOR is set.

With -f it goes on until Ctrl-C, or until nobody reads its output. It waits for a ledger that is not there yet, stays while the service is \
stopped, and goes on with the file that takes the ledger's place.";

const AFTER_LONG_HELP: &str = "\
Examples:
  audithog tail                              The last ten rows
  audithog tail -f                           And new ones
  audithog tail -f --status 5xx --path '/api/*'
  audithog tail -n 1000 --user u_17 --format ndjson | jq .path

Exit codes:
  0    Done; with -f: Ctrl-C, SIGTERM, or the reader of its output is gone
  1    The ledger cannot be read
  2    A wrong argument
  130  Stopped at once by a second Ctrl-C";

/// Show the rows that were written last, and with -f new ones as they come
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT, after_long_help = AFTER_LONG_HELP, after_help = "See --help for examples and exit codes.")]
pub(crate) struct Args {
    /// Go on with new rows as they come
    #[arg(long, short)]
    follow: bool,

    /// How many of the rows that were written last to begin with
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10)]
    lines: usize,

    /// How to print rows
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    filters: Filters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One line a row, for people
    #[value(alias = "table")]
    Text,
    /// One JSON object a line, with all fields
    #[value(alias = "json")]
    Ndjson,
    /// RFC 4180 with all fields and a line of names; what a spreadsheet would run gets an apostrophe in front
    Csv,
}

/// Most rows that are kept to be turned around.
const MOST: usize = 100_000;

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let clock = args.which.clock();
    let filter = args.filters.filter(&clock, None)?;
    if args.lines > MOST {
        let text = format!("--lines: at most {MOST}; `audithog export` has all rows");
        return Err(Failure::new(2, text));
    }
    let mut printer = Printer {
        output: Output::standard(),
        format: args.format,
        clock,
        width: Output::width(),
        header: args.format == Format::Csv,
    };
    if args.follow {
        return follow::run(args, &filter, &mut printer);
    }
    let (mut log, head) = ledger::log_and_head(
        args.which.db.as_deref(),
        access::of(access::read("tail"), &filter),
    )?;
    printer.latest(&mut log, &filter, args.lines, head)?;
    printer.output.end()
}

/// Prints rows one by one.
struct Printer {
    output: Output,
    format: Format,
    clock: Clock,
    width: Option<usize>,
    /// The line of names is still to come.
    header: bool,
}

impl Printer {
    /// The latest rows up to `head`, the oldest of them first.
    fn latest(
        &mut self,
        log: &mut Log,
        filter: &Filter,
        lines: usize,
        head: u64,
    ) -> Result<(), Failure> {
        let rows = log.latest_rows(filter, 0, head).map_err(failed)?;
        let rows = rows.take(lines).collect::<Result<Vec<_>, _>>();
        for row in rows.map_err(failed)?.iter().rev() {
            self.row(row).map_err(written)?;
        }
        self.output.flush().map_err(written)
    }

    fn row(&mut self, row: &LogRow) -> io::Result<()> {
        match self.format {
            Format::Text => {
                let line = line::of(row, &self.clock);
                let text = line::painted(&line, &self.output, self.width);
                self.output.line(&text)
            }
            Format::Ndjson => self.output.ndjson(row),
            Format::Csv => {
                if std::mem::take(&mut self.header) {
                    self.output.csv(LogRow::NAMES)?;
                }
                let fields = row.fields();
                self.output
                    .csv(fields.iter().map(|(_, value)| csv::cell(value)))
            }
        }
    }
}
