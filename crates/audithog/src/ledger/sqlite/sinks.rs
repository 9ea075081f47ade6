//! Sinks: made known, and driven by one process at a time.

use rusqlite::{Connection, OptionalExtension, params};

use super::settle;
use crate::ledger::{SinkTotals, Totals};
use crate::record::Micros;

/// A new sink begins at the pruning mark. A known one that was not configured for a while may lie
/// before it: what retention removed meanwhile is held back, and will not be sent.
pub(super) fn register(
    connection: &Connection,
    totals: &mut Totals,
    name: &'static str,
) -> rusqlite::Result<SinkTotals> {
    let pruned = totals.pruned;
    let sink = totals
        .sinks
        .entry(name.to_owned())
        .or_insert_with(|| SinkTotals {
            began: pruned,
            cursor: pruned,
            ..SinkTotals::default()
        });
    let gone = connection
        .prepare_cached("DELETE FROM audit_stragglers WHERE sink = ?1 AND seq <= ?2")?
        .execute(params![name, pruned])? as u64;
    sink.stragglers -= gone;
    let passed = (pruned - sink.cursor).max(0);
    sink.cursor += passed;
    sink.held_back += gone + passed.unsigned_abs();
    settle::save_sink(connection, name, sink, None)?;
    Ok(sink.clone())
}

/// A holder as the file names it: with its run, so that whoever finds the run dead can free its
/// leases.
pub(super) fn holder(run: i64, holder: &str) -> String {
    format!("{run}/{holder}")
}

/// Frees what a dead run held: nobody waits for the term of a lease that nobody uses.
pub(super) fn free_leases(connection: &Connection, run: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE audit_sinks SET lease_until = NULL WHERE lease_holder LIKE ?1 || '/%'",
        )?
        .execute([run])
        .map(drop)
}

/// Whether `run` may settle rows of a sink: not after another run has had its lease. A process that was
/// stopped in the midst of a request learns of the reply when another has sent the same rows
/// again, and counted them; it may have given the lease back by then. So who gives it back stays
/// written, without a term, until somebody else takes it.
pub(super) fn may_settle(connection: &Connection, name: &str, run: i64) -> rusqlite::Result<bool> {
    let leased: Option<Option<String>> = connection
        .prepare_cached("SELECT lease_holder FROM audit_sinks WHERE sink = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(leased
        .flatten()
        .is_none_or(|holder| holder.starts_with(&self::holder(run, ""))))
}

/// See `Store::lease`.
pub(super) fn lease(
    connection: &Connection,
    name: &str,
    holder: &str,
    now: Micros,
    until: Micros,
) -> rusqlite::Result<bool> {
    let changed = if until <= now {
        connection
            .prepare_cached(
                "UPDATE audit_sinks SET lease_until = NULL WHERE sink = ?1 AND lease_holder = ?2",
            )?
            .execute(params![name, holder])?
    } else {
        connection
            .prepare_cached(
                "UPDATE audit_sinks SET lease_holder = ?2, lease_until = ?4 WHERE sink = ?1
                 AND (lease_until IS NULL OR lease_holder = ?2 OR lease_until <= ?3)",
            )?
            .execute(params![name, holder, now.0, until.0])?
    };
    Ok(changed == 1)
}
