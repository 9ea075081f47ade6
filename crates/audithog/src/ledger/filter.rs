//! Which rows a reader asks for. The store turns it into conditions on its own columns.

use crate::record::{Field, Micros};

/// Which rows: those for which all of it holds. All rows by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowFilter {
    /// Not before.
    pub(crate) since: Option<Micros>,
    /// Before, and not at.
    pub(crate) until: Option<Micros>,
    pub(crate) conditions: Vec<Condition>,
}

/// What must hold for a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// The field is one of these texts.
    Is(Field, Vec<String>),
    /// The row has the field.
    Has(Field),
    /// The row does not have the field.
    Lacks(Field),
    /// The field begins with the text.
    Begins(Field, String),
    /// The status code is in one of these ranges, both ends included.
    Status(Vec<(u16, u16)>),
    /// The row has no status code, or one in none of these ranges.
    NoStatus(Vec<(u16, u16)>),
    /// The service refused because somebody asked for too much.
    Refused,
    /// The row is about a whole request: it has an end.
    Request,
}

/// Status codes of a refusal for too much: 402 and 429.
pub(crate) const REFUSED_STATUS: [u16; 2] = [402, 429];
/// What an error code contains that tells of a refusal for too much, in upper case.
pub(crate) const REFUSED_CODES: [&str; 4] =
    ["QUOTA", "RATE_LIMIT", "TOO_MANY_REQUESTS", "LIMIT_EXCEEDED"];

impl RowFilter {
    pub(crate) fn with(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// No row has a time for which it holds.
    pub(crate) fn is_empty(&self) -> bool {
        matches!((self.since, self.until), (Some(since), Some(until)) if since >= until)
    }
}
