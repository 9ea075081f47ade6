//! `audithog sql`.

use std::{io::Read as _, process::ExitCode, time::Duration};

use audithog::query::{Cut, SqlLimits};

use crate::{
    access,
    failure::Failure,
    ledger::{self, Which},
    output::{Output, Style, counted, remark, unanswered, written},
    sheet::{Format, Sheet},
    when,
};

const LONG_ABOUT: &str = "\
Ask the log in SQL, read-only

Runs one SELECT, WITH, VALUES or EXPLAIN in SQLite's SQL. The view `audit_logs` has a column for each field of a row, times as RFC 3339 \
text in UTC and ids as text; the tables below it may change with any version. Nothing can be written, attached or loaded, and the \
statement is stopped at the time limit. It works beside a running service, which is never kept from writing; but while a \
statement runs, the service's write-ahead log cannot be tidied and grows, so keep the limit short there.

A search by time finds its rows faster through `seq`: rows lie in the order in which they were written.";

const AFTER_LONG_HELP: &str = "\
Examples:
  audithog sql 'SELECT event, count(*) AS n FROM audit_logs GROUP BY event'
  audithog sql \"SELECT ts, path, properties ->> 'plan' AS plan FROM audit_logs WHERE event = 'agent_published'\"
  audithog sql --timeout 1m --limit 50000 --format csv - < report.sql > report.csv
  audithog sql \"SELECT name, type FROM pragma_table_info('audit_logs')\"

Exit codes:
  0  Done; there may be more lines than --limit, and then it says so
  1  The ledger cannot be read
  2  A wrong argument, or a statement that cannot be run
  3  Stopped at the time limit, or at 64 MiB: the lines so far are printed";

/// Ask the log in SQL, read-only
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT, after_long_help = AFTER_LONG_HELP, after_help = "See --help for examples and exit codes.")]
pub(crate) struct Args {
    /// The statement; `-` reads it from standard input
    statement: String,

    /// Stop after this time, at most an hour
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = when::span)]
    timeout: Duration,

    /// At most this many lines, up to 50,000
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    limit: usize,

    /// How to print them
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    #[command(flatten)]
    which: Which,
}

/// A statement has less.
const LONGEST: u64 = 1 << 20;

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let statement = args.statement()?;
    let limits = SqlLimits::default().time(args.timeout).rows(args.limit);
    let mut log = ledger::log(
        args.which.db.as_deref(),
        access::read("sql").asked(&*statement),
    )?;
    let table = log.sql(&statement, limits).map_err(unanswered)?;
    let end = table.cut;
    let sheet = Sheet::of_table(table);
    let said = end.map(|end| args.sentence(end, sheet.lines()));
    let mut output = Output::standard();
    match args.format {
        Format::Table => {
            let cut = sheet.table(&mut output, &args.which.clock());
            let cut = cut.map_err(written)?.then(|| crate::query::CUT.to_owned());
            for sentence in said.iter().chain(&cut) {
                let sentence = output.paint(sentence, Style::Dim);
                output.line(&format!("\n{sentence}")).map_err(written)?;
            }
        }
        Format::Json => output.json(&serde_json::json!({
            "lines": sheet.objects().collect::<Vec<_>>(),
            "cut": end,
        }))?,
        Format::Ndjson => sheet.ndjson(&mut output).map_err(written)?,
        Format::Csv => sheet.csv(&mut output).map_err(written)?,
    }
    output.end()?;
    if let Some(said) = said.filter(|_| args.format != Format::Table) {
        remark(&said);
    }
    Ok(ExitCode::from(match end {
        Some(Cut::Time | Cut::Bytes) => 3,
        _ => 0,
    }))
}

impl Args {
    fn statement(&self) -> Result<String, Failure> {
        if self.statement != "-" {
            return Ok(self.statement.clone());
        }
        let mut text = String::new();
        let read = std::io::stdin()
            .lock()
            .take(LONGEST)
            .read_to_string(&mut text);
        match read {
            Ok(_) => Ok(text),
            Err(error) => {
                let text = format!("the statement cannot be read from standard input: {error}");
                Err(Failure::new(2, text))
            }
        }
    }

    fn sentence(&self, end: Cut, lines: usize) -> String {
        let these = match lines {
            1 => "this line".to_owned(),
            lines => format!("these {}", counted(lines as u64, "line")),
        };
        match end {
            Cut::Rows => {
                let are = if lines == 1 { "is" } else { "are" };
                format!("There {are} more than {these}: --limit shows more.")
            }
            Cut::Time => format!(
                "Cut: the time limit of {} s passed, and there may be more than {these}; --timeout allows more, a range of `seq` needs less.",
                self.timeout.as_secs_f64()
            ),
            _ => format!("Cut at 64 MiB: there may be more than {these}."),
        }
    }
}
