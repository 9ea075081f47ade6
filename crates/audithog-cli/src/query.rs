//! `audithog query`.

use audithog::{
    Logger,
    query::{Answer, Named, Question},
};
use clap::builder::{PossibleValue, PossibleValuesParser};

use crate::{
    access,
    failure::Failure,
    filters::Filters,
    ledger::{self, Which},
    output::{Output, Style, remark, unanswered, written},
    sheet::{Format, Sheet},
    when::Clock,
};

mod count;
mod list;
mod scope;
pub(crate) use scope::CUT;
mod statement;

/// The question without a name.
const COUNT: &str = "count";

const LONG_ABOUT: &str = "\
Ask the log: what failed, who did what, which endpoints are slow

Answers one of twelve questions that have a name, or counts rows by fields of your choice. Without a NAME it lists the questions. \
Reads the ledger's file in short steps: beside a running service, on what a dead one left, on a copy, also on a read-only disk. \
Changes nothing, but that a look at a ledger which a service writes now becomes a row of it (audit_access), unless AUDITHOG_ACCESS says \
otherwise. Every answer says whether it is exact or sampled, over which range, and what the log no longer has.

Unless --since says otherwise, `failures` looks back an hour and the others a day; `request` looks through the whole log. \
Rows are shown in the order in which they were written, the last first, which is not that of their times after an import or where a clock was set; \
PostHog has them by their times.";

const AFTER_LONG_HELP: &str = "\
Examples:
  audithog query                                 The questions
  audithog query failures                        What failed in the last hour
  audithog query paths --since 7d                Endpoints with the highest rate of 5xx
  audithog query user u_17 --since yesterday     What one user did
  audithog query endpoint 'GET /agents/{id}'     Who used it
  audithog query slowest --path '/api/*' --env production
  audithog query count --by route,error_code --measure p95_ms --status 5xx
  audithog query traffic --format json | jq '.lines[].errors_5xx'
  audithog query codes --sql                     The SQL, instead of an answer

Times: 90s, 15m, 1h, 7d, 2w; now, today, yesterday, monday, each also with a time of day; 09:30; 2026-11-25; 2026-11-25 09:30; RFC 3339
with its zone; Unix time in seconds or milliseconds. In the local zone (TZ), unless they name one.

--on posthog asks the project of POSTHOG_PROJECT_ID with the personal key of POSTHOG_PERSONAL_API_KEY, as `audithog doctor` does.

Exit codes:
  0  Answered, also if nothing was found
  1  The ledger cannot be read, or PostHog did not answer
  2  A wrong argument, or a wrong or missing variable for PostHog";

/// Ask the log: failures, slow endpoints, who did what
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT, after_long_help = AFTER_LONG_HELP, after_help = "See --help for examples and exit codes.")]
pub(crate) struct Args {
    /// The question; none lists them
    #[arg(value_parser = names())]
    name: Option<String>,

    /// Whom or what it is about: a user id, a request id, a route or an address
    subject: Option<String>,

    /// Where to ask
    #[arg(long, value_enum, default_value_t = On::Ledger, value_name = "PLACE")]
    on: On,

    /// How to print the answer
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    /// At most this many lines, up to 50,000 [default: what the question needs, 20 to 1,000]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,

    /// Print the statement and its values for the place, and do not ask
    #[arg(long)]
    sql: bool,

    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    count: count::Count,

    #[command(flatten)]
    filters: Filters,
}

/// Where the log is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum On {
    /// The ledger's file: every row that it has
    Ledger,
    /// PostHog: what has arrived there
    Posthog,
}

/// The questions by name, with what they ask.
pub(crate) fn questions() -> impl Iterator<Item = (&'static str, &'static str)> {
    let named = Named::ALL.map(|named| (named.name(), named.about()));
    named.into_iter().chain([(COUNT, count::ABOUT)])
}

/// The names, so that they are completed and a wrong one is answered with them.
fn names() -> PossibleValuesParser {
    let values = questions().map(|(name, about)| PossibleValue::new(name).help(about));
    values.collect::<Vec<_>>().into()
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let Some(name) = &args.name else {
        return list::print(args.format);
    };
    let clock = args.which.clock();
    let question = args.question(name, &clock)?;
    if args.sql {
        return statement::print(args, &question);
    }
    let answer = args.answer(name, &question)?;
    print(args, name, &answer, &clock)
}

impl Args {
    fn question(&self, name: &str, clock: &Clock) -> Result<Question, Failure> {
        let named = Named::ALL.into_iter().find(|named| named.name() == name);
        let question = match named {
            Some(named) => {
                self.count.refuse(name)?;
                let filter = self.filters.filter(clock, named.looks_back())?;
                named.question(self.subject.as_deref(), filter)
            }
            None => {
                if let Some(subject) = &self.subject {
                    let text = format!("`{COUNT}` is about all: {subject:?} belongs into a filter");
                    return Err(Failure::new(2, text));
                }
                let filter = self.filters.filter(clock, Some(count::LOOKS_BACK))?;
                self.count.question(filter)
            }
        };
        let limited = question.and_then(|question| match self.limit {
            Some(limit) => question.limit(limit),
            None => Ok(question),
        });
        limited.map_err(unanswered)
    }

    fn answer(&self, name: &str, question: &Question) -> Result<Answer, Failure> {
        match self.on {
            On::Ledger => {
                let note = access::read(&format!("query {name}"));
                let note = access::of(note, question.filter());
                let mut log = ledger::log(self.which.db.as_deref(), note)?;
                log.ask(question).map_err(unanswered)
            }
            On::Posthog => {
                let mut api = Logger::builder().posthog_api().map_err(unanswered)?;
                let mut answer = api.ask(question).map_err(unanswered)?;
                answer.scope.notes.push(format!(
                    "this is what has arrived in PostHog's project {} on {}",
                    api.project(),
                    api.host()
                ));
                Ok(answer)
            }
        }
    }
}

fn print(args: &Args, name: &str, answer: &Answer, clock: &Clock) -> Result<(), Failure> {
    let sheet = Sheet::of_answer(answer);
    let mut output = Output::standard();
    match args.format {
        Format::Table => {
            let cut = match sheet.lines() {
                0 => output.line("Nothing was found.").map(|()| false),
                _ => sheet.table(&mut output, clock),
            };
            let cut = cut.map_err(written)?;
            output.line("").map_err(written)?;
            let mut sentences = scope::sentences(&answer.scope, sheet.lines(), clock);
            if cut {
                sentences.push(CUT.to_owned());
            }
            for sentence in sentences {
                let sentence = output.paint(&sentence, Style::Dim);
                output.line(&sentence).map_err(written)?;
            }
        }
        Format::Json => output.json(&scope::report(args.on, name, answer, &sheet))?,
        Format::Ndjson => sheet.ndjson(&mut output).map_err(written)?,
        Format::Csv => sheet.csv(&mut output).map_err(written)?,
    }
    output.end()?;
    if matches!(args.format, Format::Ndjson | Format::Csv) {
        for sentence in scope::sentences(&answer.scope, sheet.lines(), clock) {
            remark(&sentence);
        }
    }
    Ok(())
}
