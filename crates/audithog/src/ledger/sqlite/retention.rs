//! Retention: the oldest rows go, in small transactions, once every configured sink is done with
//! them. It alone moves the pruning mark, in the transaction that removes the rows.

use rusqlite::{Connection, OptionalExtension, params};

use super::read::last_before;
use super::schema::flag;
use super::settle::count;
use super::{append, digest, dismiss, verified};
use crate::ledger::{Removal, Totals};
use crate::record::Micros;

/// Free pages below this are not worth moving others for: appends use them.
const KEEP_FREE_PAGES: i64 = 256;
/// Pages given back at a time, each of which moves a page within the file: 1 MiB.
const VACUUM_PAGES: i64 = 256;

/// Whose rows are waited for.
#[derive(Clone, Copy)]
pub(super) struct Needs<'a> {
    /// The sinks of this process.
    pub(super) configured: &'a [&'static str],
    pub(super) now: Micros,
}

/// The last row that may be removed: committed before `before`, and settled by every sink of this process, and by
/// every one that another process drives at this time.
fn last_removable(
    connection: &Connection,
    totals: &Totals,
    needs: Needs<'_>,
    before: Micros,
) -> rusqlite::Result<i64> {
    let mut last = last_before(connection, before)?.min(totals.head);
    for (name, sink) in &totals.sinks {
        if needs.configured.contains(&name.as_str()) || is_driven(connection, name, needs.now)? {
            last = last.min(sink.cursor);
            if let Some(straggler) = first_straggler(connection, name)? {
                last = last.min(straggler - 1);
            }
        }
    }
    Ok(last)
}

/// See `Store::plan_removal`.
pub(super) fn plan(
    connection: &Connection,
    totals: &Totals,
    needs: Needs<'_>,
    before: Micros,
    most: i64,
) -> rusqlite::Result<Option<Removal>> {
    let after = totals.pruned;
    let mut upto =
        last_removable(connection, totals, needs, before)?.min(after.saturating_add(most));
    // The row that tells of the removal may become one of the last block, which then is as young as that row.
    if before <= needs.now
        && let Some(block) = append::last_block(connection)?
        && totals.head + 1 - block.first < append::BLOCK_ROWS
    {
        upto = upto.min(block.first - 1);
    }
    if upto <= after {
        return Ok(None);
    }
    let dead_letters = connection
        .prepare_cached(
            "SELECT count(DISTINCT seq) FROM audit_dead_letters WHERE seq > ?1 AND seq <= ?2",
        )?
        .query_row([after, upto], |row| row.get(0))
        .map(count)?;
    Ok(Some(Removal {
        after,
        upto,
        dead_letters,
    }))
}

/// Removes up to `limit` rows from the start of the log. See `Store::prune`.
pub(super) fn prune(
    connection: &Connection,
    totals: &mut Totals,
    needs: Needs<'_>,
    before: Micros,
    limit: usize,
) -> rusqlite::Result<u64> {
    let last = last_removable(connection, totals, needs, before)?;
    let from = totals.pruned;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let upto = last.min(from.saturating_add(limit));
    if upto <= from {
        return Ok(0);
    }
    connection
        .prepare_cached("UPDATE audit_head SET pruned = ?1")?
        .execute([upto])?;
    connection
        .prepare_cached(&format!(
            "DELETE FROM audit_ids WHERE id IN
             (SELECT id FROM audit_rows WHERE seq > ?1 AND seq <= ?2 AND flags & {})",
            flag::CALLER_ID
        ))?
        .execute(params![from, upto])?;
    connection
        .prepare_cached("DELETE FROM audit_rows WHERE seq > ?1 AND seq <= ?2")?
        .execute(params![from, upto])?;
    for sink in totals.sinks.keys() {
        dismiss::prune(connection, sink, from, upto)?;
    }
    connection
        .prepare_cached("DELETE FROM audit_blocks WHERE last_seq <= ?1")?
        .execute([upto])?;
    digest::prune(connection, upto)?;
    verified::prune(connection, upto)?;
    totals.pruned = upto;
    Ok((upto - from).unsigned_abs())
}

/// Gives free pages at the end of the file back, a bounded number, when a quarter of it is free.
pub(super) fn shrink(connection: &Connection) -> rusqlite::Result<()> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let free = number("PRAGMA freelist_count")?;
    if free <= KEEP_FREE_PAGES || free < number("PRAGMA page_count")? / 4 {
        return Ok(());
    }
    // One step a page: a single step would give back a single page.
    let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
    let mut pages = vacuum.query([])?;
    while pages.next()?.is_some() {}
    Ok(())
}

/// Another process, or this one, has the sink's lease.
fn is_driven(connection: &Connection, sink: &str, now: Micros) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM audit_sinks WHERE sink = ?1 AND lease_until > ?2)",
        )?
        .query_row(params![sink, now.0], |row| row.get(0))
}

fn first_straggler(connection: &Connection, sink: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT seq FROM audit_stragglers WHERE sink = ?1 ORDER BY seq LIMIT 1")?
        .query_row([sink], |row| row.get(0))
        .optional()
}
