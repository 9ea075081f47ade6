//! Noting what a comparison found.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::super::{error, open};
use crate::ledger::StoreError;
use crate::record::Micros;

/// What a comparison found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Compared<'a> {
    /// Rows were read back from it.
    pub(crate) seen: bool,
    /// Stretches, both ends included: of these the sink has every row that it is to have.
    pub(crate) there: &'a [(i64, i64)],
    /// Rows that it has not, whatever was found before.
    pub(crate) missing: &'a [i64],
}

/// Notes it in the ledger at `path`, which other processes may write meanwhile. False if the ledger does not know the sink.
pub(crate) fn verify(
    path: &Path,
    name: &str,
    now: Micros,
    compared: Compared<'_>,
) -> Result<bool, StoreError> {
    let noting = error::failed("note what is verified");
    let mut connection = open::checkpointer(path)?;
    let version = open::version(&connection, path)?;
    let mut note = || {
        let transaction = Transaction::new(&mut connection, TransactionBehavior::Immediate)?;
        let changed = transaction.execute(
            "UPDATE audit_sinks SET verified_ts = coalesce(?2, verified_ts) WHERE sink = ?1",
            params![name, compared.seen.then_some(now.0)],
        )?;
        if changed == 1 && version >= 3 {
            for seq in compared.missing {
                cut(&transaction, name, *seq)?;
            }
            for stretch in compared.there {
                add(&transaction, name, *stretch, now)?;
            }
        }
        transaction.commit()?;
        Ok(changed == 1)
    };
    note().map_err(noting)
}

/// Adds a stretch; those that it touches become one with it.
fn add(
    connection: &Connection,
    name: &str,
    (first, last): (i64, i64),
    now: Micros,
) -> rusqlite::Result<()> {
    const TOUCHED: &str = "sink = ?1 AND first_seq <= ?3 + 1 AND last_seq >= ?2 - 1";
    let (from, to): (Option<i64>, Option<i64>) = connection
        .prepare_cached(&format!(
            "SELECT min(first_seq), max(last_seq) FROM audit_verified WHERE {TOUCHED}"
        ))?
        .query_row(params![name, first, last], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    connection
        .prepare_cached(&format!("DELETE FROM audit_verified WHERE {TOUCHED}"))?
        .execute(params![name, first, last])?;
    let first = from.map_or(first, |from| from.min(first));
    let last = to.map_or(last, |to| to.max(last));
    insert(connection, name, (first, last), now.0)
}

/// Takes one row out of the stretch that has it.
fn cut(connection: &Connection, name: &str, seq: i64) -> rusqlite::Result<()> {
    let found: Option<(i64, i64, i64)> = connection
        .prepare_cached(
            "SELECT first_seq, last_seq, verified_ts FROM audit_verified
             WHERE sink = ?1 AND first_seq <= ?2 AND last_seq >= ?2",
        )?
        .query_row(params![name, seq], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((first, last, at)) = found else {
        return Ok(());
    };
    connection
        .prepare_cached("DELETE FROM audit_verified WHERE sink = ?1 AND first_seq = ?2")?
        .execute(params![name, first])?;
    for part in [(first, seq - 1), (seq + 1, last)] {
        if part.0 <= part.1 {
            insert(connection, name, part, at)?;
        }
    }
    Ok(())
}

fn insert(
    connection: &Connection,
    name: &str,
    (first, last): (i64, i64),
    at: i64,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO audit_verified (sink, first_seq, last_seq, verified_ts) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![name, first, last, at])?;
    Ok(())
}
