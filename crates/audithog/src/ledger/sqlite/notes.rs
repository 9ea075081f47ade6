//! What the process says of itself and of the sinks it drives, for other processes to read. No
//! counter of the books depends on it.

use rusqlite::{Connection, params};

use crate::ledger::{Notes, SinkState};
use crate::record::Micros;

/// Writes them; part of whatever transaction this is.
pub(super) fn save(
    connection: &Connection,
    run: i64,
    notes: &Notes<'_>,
    now: Micros,
) -> rusqlite::Result<()> {
    for state in notes.states {
        save_state(connection, state)?;
    }
    if let Some(books) = notes.books {
        connection
            .prepare_cached("UPDATE audit_runs SET books_ts = ?2, books_json = ?3 WHERE run = ?1")?
            .execute(params![run, now.0, books])?;
    }
    if let Some(trouble) = notes.trouble {
        connection
            .prepare_cached("UPDATE audit_runs SET trouble_ts = ?2, trouble = ?3 WHERE run = ?1")?
            .execute(params![run, now.0, trouble])?;
    }
    Ok(())
}

/// The last success and the last error of earlier drivers stay until this one has its own.
fn save_state(connection: &Connection, state: &SinkState) -> rusqlite::Result<()> {
    let hold = state.hold.as_ref();
    let error = state.last_error.as_ref();
    connection
        .prepare_cached(
            "UPDATE audit_sinks SET state_ts = ?2, last_success_ts = coalesce(?3, last_success_ts),
             breaker = ?4, breaker_since_ts = ?5, hold = ?6, hold_since_ts = ?7, hold_detail = ?8,
             hold_remedy = ?9, last_error = coalesce(?10, last_error),
             last_error_ts = coalesce(?11, last_error_ts) WHERE sink = ?1",
        )?
        .execute(params![
            state.sink,
            state.at.0,
            state.last_success.map(|at| at.0),
            state.breaker,
            state.breaker_since.map(|at| at.0),
            hold.map(|hold| hold.reason),
            hold.map(|hold| hold.since.0),
            hold.map(|hold| &hold.detail),
            hold.map(|hold| hold.remedy),
            error.map(|(_, text)| text),
            error.map(|(at, _)| at.0),
        ])?;
    Ok(())
}
