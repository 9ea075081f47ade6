//! What can be asked.

use std::time::Duration;

use super::Filter;
use super::filter::wrong;
use crate::error::Error;
use crate::record::Field;

/// Most lines of an answer.
pub(super) const MOST_LINES: usize = 50_000;

/// A question about the log, the same for every place where the log is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    pub(super) kind: Kind,
    pub(super) filter: Filter,
    pub(super) limit: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// The rows themselves, with these columns.
    Rows {
        columns: Vec<Shown>,
        latest_first: bool,
    },
    /// Requests or other rows, counted by groups.
    Groups(Grouping),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Grouping {
    pub(super) by: Vec<Key>,
    pub(super) measures: Vec<Measure>,
    pub(super) order: Order,
}

impl Grouping {
    pub(super) fn has_percentiles(&self) -> bool {
        let percentiles = [Measure::P50, Measure::P95, Measure::P99];
        percentiles
            .iter()
            .any(|measure| self.measures.contains(measure))
    }
}

/// What rows are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Key {
    /// A field that has it; rows without it are a group of their own.
    Field(Field),
    /// The status code; rows without one are a group of their own.
    Status,
    /// The time, in steps of so many microseconds since 1970-01-01T00:00:00Z: see [`Key::time`].
    Time(i64),
}

/// A number that an answer has for each group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Measure {
    /// Rows.
    Count,
    /// Rows whose result is `success`.
    Successes,
    /// Rows whose result is `failure`.
    Failures,
    /// `Failures` of the rows that have a result, 0 to 1.
    FailureRate,
    /// Rows with a 4xx status.
    ClientErrors,
    /// Rows with a 5xx status.
    ServerErrors,
    /// `ServerErrors` of all rows, 0 to 1.
    ServerErrorRate,
    /// Failures with neither a 4xx nor a 5xx status: clients that left, panics, gRPC errors.
    OtherFailures,
    /// Half of the rows took at most so long: milliseconds.
    P50,
    /// 95 % of the rows took at most so long: milliseconds.
    P95,
    /// 99 % of the rows took at most so long: milliseconds.
    P99,
    /// The latest time of a row.
    Last,
}

/// Which groups come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The largest first.
    Largest(Measure),
    /// By the lower bound of the 95 % confidence interval of the rate of server errors (Wilson 1927): one failure of one request
    /// says less than fifty of a thousand.
    SurestServerErrors,
    /// The first key's own order.
    Key,
}

/// A column that an answer of rows has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Ts,
    StatusCode,
    DurationMs,
    Properties,
    Field(Field),
}

impl Key {
    /// The time in steps of `step`, at least a second.
    #[must_use]
    pub fn time(step: Duration) -> Self {
        let micros = i64::try_from(step.as_micros()).unwrap_or(i64::MAX);
        Self::Time(micros.max(1_000_000))
    }

    /// The answer's column.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Field(field) => field.name(),
            Self::Status => "status_code",
            Self::Time(_) => "time",
        }
    }
}

impl Measure {
    /// All there are.
    pub const ALL: [Self; 12] = [
        Self::Count,
        Self::Successes,
        Self::Failures,
        Self::FailureRate,
        Self::ClientErrors,
        Self::ServerErrors,
        Self::ServerErrorRate,
        Self::OtherFailures,
        Self::P50,
        Self::P95,
        Self::P99,
        Self::Last,
    ];

    /// The answer's column.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Successes => "success",
            Self::Failures => "failures",
            Self::FailureRate => "failure_rate",
            Self::ClientErrors => "errors_4xx",
            Self::ServerErrors => "errors_5xx",
            Self::ServerErrorRate => "rate_5xx",
            Self::OtherFailures => "other_failures",
            Self::P50 => "p50_ms",
            Self::P95 => "p95_ms",
            Self::P99 => "p99_ms",
            Self::Last => "last",
        }
    }
}

/// The count goes first.
fn with_count(measures: impl IntoIterator<Item = Measure>) -> Vec<Measure> {
    let mut all = vec![Measure::Count];
    for measure in measures {
        if !all.contains(&measure) {
            all.push(measure);
        }
    }
    all
}

impl Shown {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ts => "ts",
            Self::StatusCode => "status_code",
            Self::DurationMs => "duration_ms",
            Self::Properties => "properties",
            Self::Field(field) => field.name(),
        }
    }
}

impl Question {
    /// How many rows there are for each combination of keys, with other measures, the largest groups first. At most a hundred.
    ///
    /// # Errors
    ///
    /// [`Error::is_question`]: no key, more than four, one twice, or one that is the row's own (`request_id`,
    /// `upstream_request_id`, `trace_id`).
    pub fn count(
        by: impl IntoIterator<Item = Key>,
        measures: impl IntoIterator<Item = Measure>,
        filter: Filter,
    ) -> Result<Self, Error> {
        let by: Vec<Key> = by.into_iter().collect();
        if by.is_empty() || by.len() > 4 {
            return Err(wrong(format!(
                "rows are grouped by one to four fields, not by {}",
                by.len()
            )));
        }
        for (at, key) in by.iter().enumerate() {
            let own = matches!(
                key,
                Key::Field(Field::RequestId | Field::UpstreamRequestId | Field::TraceId)
            );
            if own {
                return Err(wrong(format!(
                    "{} is nearly every row's own: filter by it instead of grouping",
                    key.name()
                )));
            }
            if by[..at].iter().any(|other| other.name() == key.name()) {
                return Err(wrong(format!("{} is given twice", key.name())));
            }
        }
        let order = match by[0] {
            Key::Time(_) => Order::Key,
            Key::Field(_) | Key::Status => Order::Largest(Measure::Count),
        };
        Ok(Self {
            kind: Kind::Groups(Grouping {
                by,
                measures: with_count(measures),
                order,
            }),
            filter,
            limit: 100,
        })
    }

    /// How many rows there are together, with other measures: one line, also if there is no row.
    #[must_use]
    pub fn totals(measures: impl IntoIterator<Item = Measure>, filter: Filter) -> Self {
        Self {
            kind: Kind::Groups(Grouping {
                by: Vec::new(),
                measures: with_count(measures),
                order: Order::Largest(Measure::Count),
            }),
            filter,
            limit: 1,
        }
    }

    /// At most so many lines, from 1 to 50,000.
    ///
    /// # Errors
    ///
    /// [`Error::is_question`]: another number.
    pub fn limit(mut self, limit: usize) -> Result<Self, Error> {
        if !(1..=MOST_LINES).contains(&limit) {
            return Err(wrong(format!(
                "an answer has 1 to {MOST_LINES} lines, not {limit}: an export has all rows"
            )));
        }
        self.limit = limit;
        Ok(self)
    }

    /// What it is about.
    #[must_use]
    pub fn filter(&self) -> &Filter {
        &self.filter
    }
}
