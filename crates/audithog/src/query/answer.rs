//! What comes back.

use serde::Serialize;
use serde_json::Value;

use super::question::Question;

/// The answer to a [`Question`]: lines of cells, and what they are about.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Answer {
    /// The names of the cells and how to read them.
    pub columns: Vec<AnswerColumn>,
    /// The lines, each with a cell for each column. Null where there is no value.
    pub lines: Vec<Vec<Value>>,
    /// What it is about.
    pub scope: Scope,
}

/// A column of an [`Answer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AnswerColumn {
    /// Its name.
    pub name: String,
    /// How to read its cells.
    pub kind: CellKind,
}

/// How to read a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CellKind {
    /// A text.
    Text,
    /// An RFC 3339 time in UTC.
    Time,
    /// A whole number; an estimate with a fraction where the scope says sampled.
    Count,
    /// A share, 0 to 1.
    Rate,
    /// A number of milliseconds.
    Milliseconds,
    /// A JSON object.
    Json,
}

/// What an answer is about, and how sure it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Scope {
    /// The first time that was asked for, RFC 3339; none: from the beginning.
    pub since: Option<String>,
    /// The end of the time that was asked for, RFC 3339, not included; none: up to the end of the log, which clocks that were set
    /// may have put into the future.
    pub until: Option<String>,
    /// The conditions besides the time.
    pub conditions: Vec<String>,
    /// Rows that the answer is made of, or that it shows. None: the place does not say.
    pub rows: Option<u64>,
    /// Every row of the range was counted; percentiles are not exact, and `notes` says so. False: some events stand for others (they were
    /// sampled), and counts are estimates.
    pub exact: bool,
    /// There are more lines than these.
    pub more: bool,
    /// What limits the answer, in sentences: how close percentiles are, rows that retention removed, losses.
    pub notes: Vec<String>,
}

impl Scope {
    pub(super) fn of(question: &Question) -> Self {
        Self {
            since: question.filter.since_text(),
            until: question.filter.until_text(),
            conditions: question.filter.conditions(),
            exact: true,
            ..Self::default()
        }
    }
}

impl AnswerColumn {
    pub(super) fn new(name: &str, kind: CellKind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
        }
    }
}
