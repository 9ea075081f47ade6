//! A question in the SQL of a place where the log is kept. Every value is bound; nothing that was given becomes part of the text.

mod hogql;
mod sqlite;

use serde_json::Value;

#[cfg(feature = "posthog")]
pub(crate) use hogql::property;

use super::answer::{Answer, AnswerColumn, Scope};
use super::ask::{columns_of, shown};
use super::question::{Grouping, Key, Kind, Measure, Order, Question, Shown};
use crate::ledger::{Condition, REFUSED_CODES, REFUSED_STATUS, RowFilter};
use crate::record::{API_REQUEST, Field};

/// Squared normal quantile of a two-sided 95 % interval, and its root.
const Z2: &str = "3.841458820694124";
const Z: &str = "1.959963984540054";

/// A statement and the values it is to be given.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Statement {
    /// The text.
    pub sql: String,
    /// The values by the name that the text has for them: `1` for `?1`, `v1` for `{v1}`.
    pub values: Vec<(String, Value)>,
}

impl Question {
    /// The question to the view `audit_logs` of a ledger, in SQLite's SQL. It reads every row of the range: [`Log::ask`](super::Log::ask)
    /// gives the same answer sooner. Percentiles are exact here. Needs SQLite's mathematical functions where it orders by the rate of 5xx; its
    /// command line has them.
    #[must_use]
    pub fn sql(&self) -> Statement {
        Writer::new(&sqlite::Sqlite).question(self)
    }

    /// The question to PostHog, in HogQL. An event that arrived twice counts once; one that stands for others counts for them.
    ///
    /// The last column of groups, `sampled`, says whether some do: [`Question::answer_of`] takes it off.
    #[must_use]
    pub fn hogql(&self) -> Statement {
        Writer::new(&hogql::HogQl).question(self)
    }

    /// The same for an insight of PostHog, whose time range comes from outside: in place of the question's own `{filters}` stands, which a
    /// dashboard fills.
    #[must_use]
    pub fn insight_hogql(&self) -> Statement {
        let mut writer = Writer::new(&hogql::HogQl);
        writer.range = Some("{filters}");
        writer.question(self)
    }

    /// The answer in the lines that PostHog's query API gives for [`Question::hogql`].
    #[must_use]
    pub fn answer_of(&self, mut lines: Vec<Vec<Value>>) -> Answer {
        let mut scope = Scope::of(self);
        let columns: Vec<AnswerColumn> = match &self.kind {
            Kind::Rows { columns, .. } => columns.iter().map(|column| shown(*column)).collect(),
            Kind::Groups(grouping) => {
                for line in &mut lines {
                    if line.len() > grouping.by.len() + grouping.measures.len() {
                        let sampled = line.pop().unwrap_or_default();
                        scope.exact &= !matches!(&sampled, Value::Bool(true))
                            && sampled.as_f64().unwrap_or(0.0) == 0.0;
                    }
                }
                if grouping.has_percentiles() {
                    let note = "percentiles are estimates of PostHog's";
                    scope.notes.push(note.to_owned());
                }
                columns_of(grouping)
            }
        };
        scope.more = lines.len() > self.limit;
        lines.truncate(self.limit);
        for line in &mut lines {
            for (cell, column) in line.iter_mut().zip(&columns) {
                hogql::read(cell, column.kind);
            }
        }
        Answer {
            columns,
            lines,
            scope,
        }
    }
}

/// How one engine says it.
trait Dialect {
    /// A parameter, by its number from 1, and the name under which its value is handed over.
    fn parameter(&self, number: usize) -> (String, String);
    /// The text of a field.
    fn field(&self, field: Field) -> String;
    /// A time as the engine's column has it.
    fn ts(&self) -> &'static str;
    fn time(&self, parameter: &str) -> String;
    fn status(&self) -> &'static str;
    fn duration(&self) -> &'static str;
    fn properties(&self) -> &'static str;
    fn begins(&self, text: &str, parameter: &str) -> String;
    fn contains(&self, text: &str, parameter: &str) -> String;
    /// The start of the time's step.
    fn step(&self, column: &str, micros: i64) -> String;
    /// Rows, each once, with these expressions under these names: what is counted.
    fn source(&self, columns: &str, keys: &str, condition: &str) -> String;
    /// Rows for which the condition holds, each with its weight.
    fn count(&self, condition: Option<&str>) -> String;
    fn percentile(&self, share: &str) -> String;
    fn latest(&self) -> &'static str;
    /// What was there first, for a stable order.
    fn first_met(&self) -> &'static str;
    /// A last column that says whether some rows stand for others.
    fn sampled(&self) -> Option<&'static str>;
    fn rows_from(&self) -> &'static str;
    fn order(&self, latest_first: bool) -> &'static str;
}

struct Writer<'d> {
    dialect: &'d dyn Dialect,
    /// In place of the filter's time range.
    range: Option<&'static str>,
    values: Vec<(String, Value)>,
}

impl<'d> Writer<'d> {
    fn new(dialect: &'d dyn Dialect) -> Self {
        Self {
            dialect,
            range: None,
            values: Vec::new(),
        }
    }

    fn question(mut self, question: &Question) -> Statement {
        let condition = self.condition(&question.filter.0);
        let sql = match &question.kind {
            Kind::Rows {
                columns,
                latest_first,
            } => self.rows(columns, &condition, *latest_first),
            Kind::Groups(grouping) => self.groups(grouping, &condition),
        };
        // One more than is shown tells whether there are more.
        Statement {
            sql: format!("{sql}\nLIMIT {}", question.limit + 1),
            values: self.values,
        }
    }

    fn rows(&self, columns: &[Shown], condition: &str, latest_first: bool) -> String {
        let dialect = self.dialect;
        let columns: Vec<String> = columns
            .iter()
            .map(|column| {
                let sql = match column {
                    Shown::Ts => dialect.ts().to_owned(),
                    Shown::StatusCode => dialect.status().to_owned(),
                    Shown::DurationMs => dialect.duration().to_owned(),
                    Shown::Properties => dialect.properties().to_owned(),
                    Shown::Field(field) => dialect.field(*field),
                };
                format!("{sql} AS {}", column.name())
            })
            .collect();
        format!(
            "SELECT {}\nFROM {}\nWHERE {condition}\nORDER BY {}",
            columns.join(", "),
            dialect.rows_from(),
            dialect.order(latest_first),
        )
    }

    fn groups(&self, grouping: &Grouping, condition: &str) -> String {
        let dialect = self.dialect;
        let keys: Vec<&'static str> = grouping.by.iter().map(|key| key.name()).collect();
        let keys = keys.join(", ");
        let mut columns = Vec::new();
        for key in &grouping.by {
            let sql = match key {
                Key::Field(field) => dialect.field(*field),
                Key::Status => dialect.status().to_owned(),
                Key::Time(micros) => dialect.step(dialect.ts(), *micros),
            };
            columns.push(format!("{sql} AS {}", key.name()));
        }
        columns.push(format!("{} AS at", dialect.ts()));
        columns.push(format!("{} AS status", dialect.status()));
        columns.push(format!("{} AS outcome", dialect.field(Field::Result)));
        columns.push(format!("{} AS took", dialect.duration()));
        let source = dialect.source(&columns.join(", "), &keys, condition);
        let mut selected: Vec<String> = grouping
            .by
            .iter()
            .map(|key| key.name().to_owned())
            .collect();
        for measure in &grouping.measures {
            selected.push(format!("{} AS {}", self.measure(*measure), measure.name()));
        }
        selected.extend(dialect.sampled().map(str::to_owned));
        let selected = selected.join(", ");
        if grouping.by.is_empty() {
            return format!("SELECT {selected}\nFROM ({source})");
        }
        let (having, order) = self.order(grouping);
        format!("SELECT {selected}\nFROM ({source})\nGROUP BY {keys}{having}\nORDER BY {order}")
    }

    fn measure(&self, measure: Measure) -> String {
        let dialect = self.dialect;
        let count = |condition: &str| dialect.count(Some(condition));
        let all = dialect.count(None);
        match measure {
            Measure::Count => all,
            Measure::Successes => count("outcome = 'success'"),
            Measure::Failures => count("outcome = 'failure'"),
            Measure::FailureRate => format!(
                "{} * 1.0 / nullif({}, 0)",
                count("outcome = 'failure'"),
                count("outcome IN ('success', 'failure')")
            ),
            Measure::ClientErrors => count(CLIENT_ERROR),
            Measure::ServerErrors => count(SERVER_ERROR),
            Measure::ServerErrorRate => format!("{} * 1.0 / {all}", count(SERVER_ERROR)),
            Measure::OtherFailures => {
                count("outcome = 'failure' AND (status IS NULL OR status < 400 OR status > 599)")
            }
            Measure::P50 => dialect.percentile("0.5"),
            Measure::P95 => dialect.percentile("0.95"),
            Measure::P99 => dialect.percentile("0.99"),
            Measure::Last => dialect.latest().to_owned(),
        }
    }

    /// `HAVING` and `ORDER BY`.
    fn order(&self, grouping: &Grouping) -> (String, String) {
        let first_met = self.dialect.first_met();
        match grouping.order {
            Order::Key => (String::new(), grouping.by[0].name().to_owned()),
            Order::Largest(measure) => (
                String::new(),
                format!("{} DESC, {first_met}", measure.name()),
            ),
            Order::SurestServerErrors => {
                let n = self.dialect.count(None);
                let k = self.dialect.count(Some(SERVER_ERROR));
                // Wilson's lower bound, with the fraction by n*n.
                let surest = format!(
                    "(({k} + {Z2} / 2) - {Z} * sqrt({k} * ({n} - {k}) * 1.0 / {n} + {Z2} / 4)) / ({n} + {Z2})"
                );
                (
                    format!("\nHAVING {k} > 0"),
                    format!("{surest} DESC, {first_met}"),
                )
            }
        }
    }

    fn condition(&mut self, filter: &RowFilter) -> String {
        let mut all = match self.range {
            Some(range) => vec![range.to_owned()],
            None => self.range(filter),
        };
        for condition in &filter.conditions {
            all.push(format!("({})", self.one(condition)));
        }
        if all.is_empty() {
            all.push("1 = 1".to_owned());
        }
        all.join(" AND ")
    }

    fn range(&mut self, filter: &RowFilter) -> Vec<String> {
        let mut range = Vec::new();
        for (time, operator) in [(filter.since, ">="), (filter.until, "<")] {
            if let Some(time) = time {
                let time = self.bind(&time.to_string());
                let time = self.dialect.time(&time);
                range.push(format!("{} {operator} {time}", self.dialect.ts()));
            }
        }
        range
    }

    fn one(&mut self, condition: &Condition) -> String {
        let dialect = self.dialect;
        match condition {
            Condition::Is(field, texts) => {
                let texts: Vec<String> = texts.iter().map(|text| self.bind(text)).collect();
                format!("{} IN ({})", dialect.field(*field), texts.join(", "))
            }
            Condition::Has(field) => format!("{} IS NOT NULL", dialect.field(*field)),
            Condition::Lacks(field) => format!("{} IS NULL", dialect.field(*field)),
            Condition::Begins(field, text) => {
                let text = self.bind(text);
                dialect.begins(&dialect.field(*field), &text)
            }
            Condition::Status(ranges) if ranges.is_empty() => "1 = 0".to_owned(),
            Condition::Status(ranges) => {
                let status = dialect.status();
                let ranges: Vec<String> = ranges
                    .iter()
                    .map(|(first, last)| format!("{status} BETWEEN {first} AND {last}"))
                    .collect();
                ranges.join(" OR ")
            }
            Condition::NoStatus(ranges) => {
                let status = dialect.status();
                let none = ranges.iter().map(|(first, last)| {
                    format!("({status} IS NULL OR NOT ({status} BETWEEN {first} AND {last}))")
                });
                let none: Vec<String> = std::iter::once("1 = 1".to_owned()).chain(none).collect();
                none.join(" AND ")
            }
            Condition::Refused => {
                let [payment, many] = REFUSED_STATUS;
                let mut any = vec![format!("{} IN ({payment}, {many})", dialect.status())];
                for part in REFUSED_CODES {
                    let part = self.bind(part);
                    any.push(dialect.contains(&dialect.field(Field::ErrorCode), &part));
                }
                any.join(" OR ")
            }
            Condition::Request => format!(
                "{} = '{API_REQUEST}' AND {} IN ('success', 'failure')",
                dialect.field(Field::Event),
                dialect.field(Field::Result)
            ),
        }
    }

    fn bind(&mut self, text: &str) -> String {
        let (shown, name) = self.dialect.parameter(self.values.len() + 1);
        self.values.push((name, Value::String(text.to_owned())));
        shown
    }
}

const CLIENT_ERROR: &str = "status BETWEEN 400 AND 499";
const SERVER_ERROR: &str = "status BETWEEN 500 AND 599";
