//! Rows in the words of other places: what reads OCSF, ECS or OpenTelemetry understands them without a mapping of its own.

mod dictionary;
mod ecs;
mod kind;
mod ocsf;
mod otel;
#[cfg(test)]
mod tests;

use serde::Serialize;
use serde_json::{Map, Value};

use super::LogRow;

/// The names and the structure in which a row is written.
///
/// ```no_run
/// use audithog::query::{Filter, Log, Schema};
///
/// # fn main() -> Result<(), audithog::Error> {
/// let mut log = Log::open("audit.db")?;
/// let head = log.head()?;
/// for row in log.rows(&Filter::all(), 0, head)? {
///     println!("{}", Schema::Ecs.row(&row?));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Schema {
    /// The columns of the view `audit_logs`.
    Audithog,
    /// Open Cybersecurity Schema Framework: API Activity (class 6003); audithog's own rows are Base Events (class 0).
    Ocsf,
    /// Elastic Common Schema.
    Ecs,
    /// OpenTelemetry: a log record as OTLP has it in JSON, with the names of the semantic conventions for HTTP servers.
    Otel,
}

/// What one name in a [`Schema`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SchemaColumn {
    /// The name; the names of nested objects are joined by dots.
    pub name: &'static str,
    /// `text`, `integer`, `number`, `boolean`, `time`, `array` or `object`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What it says. A name in backticks is a column of the view `audit_logs`.
    pub meaning: &'static str,
    /// The unit of a number or a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<&'static str>,
}

impl Schema {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Audithog, Self::Ocsf, Self::Ecs, Self::Otel];

    /// One word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Audithog => "audithog",
            Self::Ocsf => "ocsf",
            Self::Ecs => "ecs",
            Self::Otel => "otel",
        }
    }

    /// The version of the schema that rows follow; of audithog's own, a number that grows when a column changes its meaning.
    #[must_use]
    pub fn version(self) -> &'static str {
        match self {
            Self::Audithog => "1",
            Self::Ocsf => ocsf::VERSION,
            Self::Ecs => ecs::VERSION,
            Self::Otel => otel::VERSION,
        }
    }

    /// The row as one JSON object. What the row does not say is absent; in audithog's own schema it is null.
    #[must_use]
    pub fn row(self, row: &LogRow) -> Value {
        match self {
            Self::Audithog => {
                let fields = row.fields().into_iter();
                Value::Object(
                    fields
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect(),
                )
            }
            Self::Ocsf => ocsf::row(row),
            Self::Ecs => ecs::row(row),
            Self::Otel => otel::row(row),
        }
    }

    /// Every name that a row can have.
    #[must_use]
    pub fn columns(self) -> &'static [SchemaColumn] {
        match self {
            Self::Audithog => dictionary::AUDITHOG,
            Self::Ocsf => dictionary::OCSF,
            Self::Ecs => dictionary::ECS,
            Self::Otel => dictionary::OTEL,
        }
    }
}

/// Without members that are null, and without objects and arrays that have nothing else.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (name, without_nulls(value)))
            .filter(|(_, value)| !is_nothing(value))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(all) => all
            .into_iter()
            .map(without_nulls)
            .filter(|value| !is_nothing(value))
            .collect(),
        other => other,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.is_empty(),
        Value::Array(all) => all.is_empty(),
        _ => false,
    }
}

/// What the application passed: kept as it is, also with nulls.
fn properties(row: &LogRow) -> Option<Value> {
    let json = row.row().properties_json()?;
    serde_json::from_str(json).ok()
}
