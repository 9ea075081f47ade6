//! Dead letters become stragglers again, because somebody asked for it.

use rusqlite::{Connection, OptionalExtension, params};

use super::store::SqliteStore;
use super::{append, settle};
use crate::ledger::{StoreError, Totals};
use crate::record::{Micros, Row};

/// What became of some letters of one sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// Stragglers again.
    pub(crate) letters: u64,
    /// The first and the last of them.
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// Retention has removed the row: there is nothing to send.
    pub(crate) gone: u64,
    /// No dead letters of this sink, or not any more.
    pub(crate) unknown: u64,
}

impl SqliteStore {
    /// Makes dead letters of `sink` stragglers again. If there is any, the row that `record` makes of
    /// it is appended in the same transaction, which is synced.
    pub(crate) fn replay(
        &mut self,
        sink: &str,
        seqs: &[i64],
        record: impl FnOnce(&Replayed) -> Row,
    ) -> Result<Replayed, StoreError> {
        let (run, now) = (self.run, self.clock.wall());
        self.transact(
            "send dead letters again",
            true,
            |connection, names, totals| {
                let done = replay(connection, totals, sink, seqs, now)?;
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
            },
        )
    }
}

/// Moves letters of `sink` from the dead to the stragglers: due now, never tried, young. The sink's
/// equation holds before and after.
fn replay(
    connection: &Connection,
    totals: &mut Totals,
    name: &str,
    seqs: &[i64],
    now: Micros,
) -> rusqlite::Result<Replayed> {
    let mut done = Replayed::default();
    let Some(sink) = totals.sinks.get_mut(name) else {
        done.unknown = seqs.len() as u64;
        return Ok(done);
    };
    for seq in seqs {
        let letter: Option<(String, bool)> = connection
            .prepare_cached(
                "SELECT reason, dismissed_ts IS NOT NULL FROM audit_dead_letters
                 WHERE sink = ?1 AND seq = ?2",
            )?
            .query_row(params![name, seq], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((reason, dismissed)) = letter else {
            done.unknown += 1;
            continue;
        };
        let there: bool = connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM audit_rows WHERE seq = ?1)")?
            .query_row([seq], |row| row.get(0))?;
        if !there {
            done.gone += 1;
            continue;
        }
        connection
            .prepare_cached("DELETE FROM audit_dead_letters WHERE sink = ?1 AND seq = ?2")?
            .execute(params![name, seq])?;
        connection
            .prepare_cached(
                "INSERT INTO audit_stragglers (sink, seq, attempts, since_ts, next_ts, reason)
                 VALUES (?1, ?2, 0, ?3, ?3, ?4)",
            )?
            .execute(params![
                name,
                seq,
                now.0,
                format!("sent again; before: {reason}")
            ])?;
        if dismissed {
            connection
                .prepare_cached("UPDATE audit_sinks SET dismissed = dismissed - 1 WHERE sink = ?1")?
                .execute([name])?;
        }
        sink.dead = sink.dead.saturating_sub(1);
        sink.stragglers += 1;
        if done.letters == 0 {
            done.first = *seq;
        }
        done.letters += 1;
        done.last = *seq;
    }
    settle::save_sink(connection, name, sink, None)?;
    Ok(done)
}
