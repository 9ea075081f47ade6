//! Dead letters become stragglers again, because somebody asked for it.

use rusqlite::{Connection, OptionalExtension, params};

use super::settle;
use crate::ledger::Totals;
use crate::record::Micros;

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

/// Moves letters of `sink` from the dead to the stragglers: due now, never tried, young. The sink's
/// equation holds before and after.
pub(super) fn replay(
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
        let reason: Option<String> = connection
            .prepare_cached("SELECT reason FROM audit_dead_letters WHERE sink = ?1 AND seq = ?2")?
            .query_row(params![name, seq], |row| row.get(0))
            .optional()?;
        let Some(reason) = reason else {
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
