//! Losses: what the log says it could not keep.

use std::collections::BTreeMap;

use super::ledger::{Row, Run};
use super::{Books, Findings};

/// One `audit_loss` row.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    pub(super) reason: String,
    pub(super) count: i64,
    /// Microseconds since 1970.
    pub(super) from: i64,
    pub(super) until: i64,
    pub(super) exact: bool,
    /// The run that tells of it.
    pub(super) run: i64,
}

pub(super) fn told(rows: &[Row]) -> Vec<Loss> {
    rows.iter()
        .filter(|row| row.event == "audit_loss")
        .map(|row| Loss {
            reason: text(row, "reason").to_owned(),
            count: row.properties["count"].as_i64().unwrap_or(0),
            from: micros(text(row, "from")),
            until: micros(text(row, "until")),
            exact: row.properties["exact"] == true,
            run: row.run,
        })
        .collect()
}

fn text<'a>(row: &'a Row, name: &str) -> &'a str {
    row.properties[name].as_str().unwrap_or_default()
}

fn micros(time: &str) -> i64 {
    // SQLite knows how to read it, and the library has no part in it.
    let seconds = rusqlite::Connection::open_in_memory().and_then(|memory| {
        memory.query_row(
            "SELECT CAST(unixepoch(?1) AS INTEGER), CAST(substr(?1, 21, 6) AS INTEGER)",
            [time],
            |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, i64>(1)?)),
        )
    });
    match seconds {
        Ok((Some(seconds), micros)) => seconds * 1_000_000 + micros,
        _ => i64::MIN,
    }
}

pub(super) fn judge(books: &Books, findings: &mut Findings) {
    let told = told(&books.ledger.rows);
    let mut by_reason: BTreeMap<&str, i64> = BTreeMap::new();
    for loss in &told {
        *by_reason.entry(&loss.reason).or_default() += loss.count;
        findings.expect("losses", loss.count > 0 && loss.from <= loss.until, || {
            format!("{loss:?} makes no sense")
        });
    }
    // The row follows its count by up to a second; a process that is killed in between leaves the count alone.
    let killed = books.ledger.runs.iter().any(|run| run.unclean);
    for (reason, total) in &books.ledger.losses {
        let rows = by_reason.get(reason.as_str()).copied().unwrap_or(0);
        findings.expect(
            "losses are rows",
            rows == *total
                || (killed && rows < *total && reason != "unclean_stop")
                || reason == "duplicate_id",
            || format!("{reason}: the totals say {total}, the rows {rows}"),
        );
    }
    for reason in by_reason.keys() {
        findings.expect(
            "losses are rows",
            books.ledger.losses.contains_key(*reason),
            || format!("{reason} is in a row and not in the totals"),
        );
    }
    let unclean: Vec<&Run> = books.ledger.runs.iter().filter(|run| run.unclean).collect();
    let stops: Vec<&Loss> = told
        .iter()
        .filter(|loss| loss.reason == "unclean_stop")
        .collect();
    findings.expect(
        "unclean stops are rows",
        unclean.len() == stops.len(),
        || format!("{unclean:?} and {stops:?}"),
    );
}
