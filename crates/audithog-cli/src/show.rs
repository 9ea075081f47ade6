//! `audithog show`.

use audithog::query::{Field, Filter, Log, LogRow};
use serde_json::Value;

use crate::{
    access,
    failure::Failure,
    ledger::{self, Which},
    output::{Output, Style, counted, failed, number, plain, unanswered, written},
    sheet::milliseconds,
    when::Clock,
};

const LONG_ABOUT: &str = "\
Show one request with all its rows, and all that they say

Finds the request by its id, the one that the client got as `x-request-id`: its api_request row, the business events logged inside of it, and \
the close of an upgraded connection, in the order in which they were written. A row's own `id`, or `seq:N` for the row with that number, shows \
the request that the row is part of, or the row alone if it is part of none.";

const AFTER_LONG_HELP: &str = "\
Examples:
  audithog show 019ab3c4-5d6e-7f80-9a0b-1c2d3e4f5061
  audithog show seq:4711
  audithog show 019ab3c4-5d6e-7f80-9a0b-1c2d3e4f5061 --format json | jq '.[].event'

Exit codes:
  0  Shown
  1  Not found, or the ledger cannot be read
  2  A wrong argument";

/// The column of names.
const LABEL: usize = 24;

/// More rows of one request are left out.
const MOST: usize = 10_000;

/// Show one request with all its rows
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT, after_long_help = AFTER_LONG_HELP, after_help = "See --help for examples and exit codes.")]
pub(crate) struct Args {
    /// The request's id, a row's id, or seq:N
    #[arg(value_name = "REQUEST_ID")]
    id: String,

    /// How to show it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    #[command(flatten)]
    which: Which,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// An array of rows
    Json,
    /// One row a line
    Ndjson,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut log = ledger::log(
        args.which.db.as_deref(),
        access::read("show").asked(format!("id = {}", args.id)),
    )?;
    let rows = args.find(&mut log)?;
    if rows.is_empty() {
        return Err(args.not_found(&mut log)?);
    }
    let mut output = Output::standard();
    match args.format {
        Format::Json => output.json(&rows)?,
        Format::Ndjson => rows
            .iter()
            .try_for_each(|row| output.ndjson(row))
            .map_err(written)?,
        Format::Text => {
            let clock = args.which.clock();
            text(&mut output, &rows, &clock).map_err(written)?;
        }
    }
    output.end()
}

impl Args {
    fn find(&self, log: &mut Log) -> Result<Vec<LogRow>, Failure> {
        let row = match self.id.strip_prefix("seq:") {
            Some(seq) => {
                let seq = seq.parse().map_err(|_| {
                    let text = format!("{:?} has no number behind `seq:`", self.id);
                    Failure::new(2, text)
                })?;
                log.row(seq).map_err(failed)?
            }
            None => {
                let rows = request(log, &self.id)?;
                if !rows.is_empty() {
                    return Ok(rows);
                }
                log.row_by_id(&self.id).map_err(failed)?
            }
        };
        let Some(row) = row else {
            return Ok(Vec::new());
        };
        match row.row().request_id() {
            Some(id) => {
                let rows = request(log, &id)?;
                // Retention may just have removed it.
                Ok(if rows.is_empty() { vec![row] } else { rows })
            }
            None => Ok(vec![row]),
        }
    }

    /// What was looked for, and where.
    fn not_found(&self, log: &mut Log) -> Result<Failure, Failure> {
        let head = log.head().map_err(failed)?;
        let pruned = log.pruned().map_err(failed)?;
        let what = match self.id.strip_prefix("seq:") {
            Some(seq) => format!("no row {}", plain(seq)),
            None => format!("no request and no row with the id {:?}", self.id),
        };
        let gone = match pruned {
            0 => String::new(),
            pruned => format!("; retention removed those up to {}", number(pruned)),
        };
        let text = format!(
            "{what} in {}, which has the rows {} to {}{gone}",
            log.path().display(),
            number(pruned + 1),
            number(head),
        );
        Ok(Failure::new(1, text))
    }
}

/// All rows of the request, in order.
fn request(log: &mut Log, id: &str) -> Result<Vec<LogRow>, Failure> {
    let filter = Filter::all()
        .is(Field::RequestId, [id])
        .map_err(unanswered)?;
    let head = log.head().map_err(failed)?;
    let rows = log.rows(&filter, 0, head).map_err(failed)?;
    rows.take(MOST).collect::<Result<_, _>>().map_err(failed)
}

fn text(output: &mut Output, rows: &[LogRow], clock: &Clock) -> std::io::Result<()> {
    if let Some(sentence) = summary(rows) {
        let sentence = output.paint(&sentence, Style::Bold);
        output.line(&sentence)?;
    }
    for row in rows {
        output.line("")?;
        let title = output.paint(&plain(row.row().event_name()), Style::Bold);
        output.line(&title)?;
        for (name, value) in row.fields() {
            match (name, value) {
                ("event", _) | (_, Value::Null) => {}
                ("properties", Value::Object(properties)) => {
                    for (name, value) in properties {
                        field(output, &format!("  {name}"), &value.to_string())?;
                    }
                }
                ("ts", Value::String(time)) => {
                    field(output, name, &format!("{} ({time})", clock.local(&time)))?;
                }
                (name, Value::String(text)) => field(output, name, &text)?,
                (name, value) => field(output, name, &value.to_string())?,
            }
        }
    }
    Ok(())
}

fn field(output: &mut Output, name: &str, value: &str) -> std::io::Result<()> {
    // A name that fills the column does not run into its value.
    let width = LABEL - 1;
    output.line(&format!("{:<width$} {}", plain(name), plain(value)))
}

/// `GET /agents/7: 409 AGENT_LIMIT in 12.3 ms; 3 rows`
fn summary(rows: &[LogRow]) -> Option<String> {
    let request = rows
        .iter()
        .map(LogRow::row)
        .find(|row| row.event_name() == "api_request")?;
    let mut text = format!(
        "{} {}: {}",
        request.method().unwrap_or("-"),
        request.path().unwrap_or("-"),
        request
            .status_code()
            .map_or_else(|| "no status".to_owned(), |status| status.to_string()),
    );
    if let Some(code) = request.error_code() {
        text += &format!(" {code}");
    }
    if let Some(took) = request.duration() {
        text += &format!(" in {} ms", milliseconds(took.as_secs_f64() * 1_000.0));
    }
    text += &format!("; {}", counted(rows.len() as u64, "row"));
    Some(plain(&text))
}
