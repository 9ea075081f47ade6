//! SQLite, over the view `audit_logs`.

use super::Dialect;
use crate::record::Field;

pub(super) struct Sqlite;

impl Dialect for Sqlite {
    fn parameter(&self, number: usize) -> (String, String) {
        (format!("?{number}"), number.to_string())
    }

    fn field(&self, field: Field) -> String {
        field.name().to_owned()
    }

    /// Text of a fixed form: its order is that of time.
    fn ts(&self) -> &'static str {
        "ts"
    }

    fn time(&self, parameter: &str) -> String {
        parameter.to_owned()
    }

    fn status(&self) -> &'static str {
        "status_code"
    }

    fn duration(&self) -> &'static str {
        "duration_ms"
    }

    fn properties(&self) -> &'static str {
        "properties"
    }

    fn begins(&self, text: &str, parameter: &str) -> String {
        format!("substr({text}, 1, length({parameter})) = {parameter}")
    }

    fn contains(&self, text: &str, parameter: &str) -> String {
        format!("instr(upper({text}), {parameter}) > 0")
    }

    fn step(&self, column: &str, micros: i64) -> String {
        let seconds = (micros / 1_000_000).max(1);
        format!(
            "strftime('%Y-%m-%dT%H:%M:%S.000000Z', unixepoch({column}) / {seconds} * {seconds}, 'unixepoch')"
        )
    }

    /// The rank of each row by duration within its group, for the percentiles.
    fn source(&self, columns: &str, keys: &str, condition: &str) -> String {
        let parts = match keys {
            "" => String::new(),
            keys => format!("PARTITION BY {keys} "),
        };
        format!(
            "SELECT *, row_number() OVER ({parts}ORDER BY took NULLS LAST) AS rank, \
             count(took) OVER ({parts}) AS timed\n\
             FROM (SELECT seq, {columns} FROM audit_logs WHERE {condition})"
        )
    }

    fn count(&self, condition: Option<&str>) -> String {
        match condition {
            Some(condition) => format!("count(CASE WHEN {condition} THEN 1 END)"),
            None => "count(*)".to_owned(),
        }
    }

    /// The nearest rank.
    fn percentile(&self, share: &str) -> String {
        format!("min(CASE WHEN rank >= timed * {share} THEN took END)")
    }

    fn latest(&self) -> &'static str {
        "max(at)"
    }

    fn first_met(&self) -> &'static str {
        "min(seq)"
    }

    fn sampled(&self) -> Option<&'static str> {
        None
    }

    fn rows_from(&self) -> &'static str {
        "audit_logs"
    }

    fn order(&self, latest_first: bool) -> &'static str {
        if latest_first { "seq DESC" } else { "seq" }
    }
}
