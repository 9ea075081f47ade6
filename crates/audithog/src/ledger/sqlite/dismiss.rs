//! Dead letters that need nothing more, because somebody said so.

use rusqlite::{Connection, OptionalExtension, params};

use super::store::SqliteStore;
use super::{append, settle};
use crate::ledger::StoreError;
use crate::record::{Micros, Row};

/// What became of some letters of one sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dismissed {
    pub(crate) letters: u64,
    /// The first and the last of them.
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// Of these: retention had removed the row, and the letter is removed too.
    pub(crate) gone: u64,
    /// Somebody did it before.
    pub(crate) already: u64,
}

impl SqliteStore {
    /// Marks dead letters of `sink` as dismissed by `by`. If there is any, the row that `record` makes of
    /// it is appended in the same transaction, which is synced.
    pub(crate) fn dismiss(
        &mut self,
        sink: &str,
        seqs: &[i64],
        by: &str,
        record: impl FnOnce(&Dismissed) -> Row,
    ) -> Result<Dismissed, StoreError> {
        let (run, now) = (self.run, self.clock.wall());
        self.transact("dismiss dead letters", true, |connection, names, totals| {
            let done = dismiss(connection, sink, seqs, by, now)?;
            if done.letters > 0 {
                append::append(
                    connection,
                    names,
                    totals,
                    append::Rows::own(run, &[record(&done)], now),
                    &mut Vec::new(),
                )?;
                settle::save_head(connection, totals)?;
            }
            Ok(done)
        })
    }
}

/// Marks letters of `sink` as dismissed. Their rows stay counted as dead: the sink has not got them. A letter goes
/// with its row, so one without a row goes now.
fn dismiss(
    connection: &Connection,
    sink: &str,
    seqs: &[i64],
    by: &str,
    now: Micros,
) -> rusqlite::Result<Dismissed> {
    let mut done = Dismissed::default();
    for seq in seqs {
        let found: Option<bool> = connection
            .prepare_cached(
                "SELECT dismissed_ts IS NOT NULL FROM audit_dead_letters
                 WHERE sink = ?1 AND seq = ?2",
            )?
            .query_row(params![sink, seq], |row| row.get(0))
            .optional()?;
        match found {
            None => continue,
            Some(true) => {
                done.already += 1;
                continue;
            }
            Some(false) => {}
        }
        let marked = connection
            .prepare_cached(
                "UPDATE audit_dead_letters SET dismissed_ts = ?3, dismissed_by = ?4
                 WHERE sink = ?1 AND seq = ?2
                 AND EXISTS (SELECT 1 FROM audit_rows WHERE seq = ?2)",
            )?
            .execute(params![sink, seq, now.0, by])?;
        if marked == 0 {
            connection
                .prepare_cached("DELETE FROM audit_dead_letters WHERE sink = ?1 AND seq = ?2")?
                .execute(params![sink, seq])?;
            done.gone += 1;
        }
        if done.letters == 0 {
            done.first = *seq;
        }
        done.letters += 1;
        done.last = *seq;
    }
    count(connection, sink, done.letters)?;
    Ok(done)
}

fn count(connection: &Connection, sink: &str, letters: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE audit_sinks SET dismissed = dismissed + ?2 WHERE sink = ?1")?
        .execute(params![sink, settle::int(letters)])?;
    Ok(())
}

/// Removes the dismissed letters of rows with `from < seq <= upto`: their rows go.
pub(super) fn prune(
    connection: &Connection,
    sink: &str,
    from: i64,
    upto: i64,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM audit_dead_letters
             WHERE sink = ?1 AND seq > ?2 AND seq <= ?3 AND dismissed_ts IS NOT NULL",
        )?
        .execute(params![sink, from, upto])?;
    Ok(())
}
