//! Rows of somebody who only looks at the log, or does something with it from outside: a program that is there for a moment has no store, and no run
//! of its own each time.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::append::{self, Rows};
use super::error::failed;
use super::names::Names;
use super::runs::{self, Process};
use super::{open, settle};
use crate::ledger::StoreError;
use crate::record::{Micros, Row, Run};

/// Appends rows to the ledger at `path`, which other processes write meanwhile, and returns after their fsync. They belong to a run that never went
/// on: there is one for each `run`.
pub(crate) fn append_beside(
    path: &Path,
    run: &Run,
    settings_json: &str,
    rows: &[Row],
    now: Micros,
) -> Result<(), StoreError> {
    let mut connection = open::checkpointer(path)?;
    let mut append = || {
        connection.execute_batch("PRAGMA synchronous = FULL")?;
        // As the writer appends.
        open::triggers(&connection, false)?;
        let transaction = Transaction::new(&mut connection, TransactionBehavior::Immediate)?;
        let number = match known(&transaction, run, settings_json)? {
            Some(number) => number,
            None => {
                let process = Process::current();
                let number = runs::begin(&transaction, &process, run, settings_json, 0, now)?;
                runs::end(&transaction, number, now)?;
                number
            }
        };
        let mut totals = settle::load(&transaction)?;
        let rows = Rows::own(number, rows, now);
        let (mut names, mut lines) = (Names::new(), Vec::new());
        append::append(&transaction, &mut names, &mut totals, rows, &mut lines)?;
        settle::save_head(&transaction, &totals)?;
        transaction.commit()
    };
    append().map_err(failed("be written to from outside"))
}

/// The run that such rows belong to, if there is one.
fn known(connection: &Connection, run: &Run, settings_json: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .query_row(
            "SELECT run FROM audit_runs WHERE service = ?1 AND environment IS ?2 AND version IS ?3 AND instance IS ?4
             AND settings_json = ?5 AND ended_ts IS NOT NULL ORDER BY run DESC LIMIT 1",
            params![run.service, run.environment, run.version, run.instance, settings_json],
            |row| row.get(0),
        )
        .optional()
}
