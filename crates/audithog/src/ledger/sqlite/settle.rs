//! The persisted counters: loaded whole, and moved inside a group's transaction.

use rusqlite::{Connection, params};

use crate::books::{LossReason, Losses};
use crate::ledger::{Settlement, SinkTotals, Totals};
use crate::record::Micros;

/// Everything in [`Totals`]; a handful of rows, whatever the size of the file.
pub(super) fn load(connection: &Connection) -> rusqlite::Result<Totals> {
    let mut totals = connection
        .prepare_cached("SELECT head, pruned, requests FROM audit_head")?
        .query_row([], |row| {
            Ok(Totals {
                head: row.get(0)?,
                pruned: row.get(1)?,
                requests: count(row.get(2)?),
                ..Totals::default()
            })
        })?;
    let mut losses = connection.prepare_cached("SELECT reason, rows FROM audit_losses")?;
    let mut found = losses.query([])?;
    while let Some(row) = found.next()? {
        let reason: String = row.get(0)?;
        if let Some(reason) = LossReason::parse(&reason) {
            totals.losses.add(reason, count(row.get(1)?));
        }
    }
    let mut sinks = connection.prepare_cached(
        "SELECT sink, began, cursor, delivered, sampled_out, held_back, dead, stragglers,
         verified_ts IS NOT NULL FROM audit_sinks",
    )?;
    let mut found = sinks.query([])?;
    while let Some(row) = found.next()? {
        let sink = SinkTotals {
            began: row.get(1)?,
            cursor: row.get(2)?,
            delivered: count(row.get(3)?),
            sampled_out: count(row.get(4)?),
            held_back: count(row.get(5)?),
            dead: count(row.get(6)?),
            stragglers: count(row.get(7)?),
            verified: row.get(8)?,
        };
        totals.sinks.insert(row.get(0)?, sink);
    }
    Ok(totals)
}

/// Writes the head and the request count.
pub(super) fn save_head(connection: &Connection, totals: &Totals) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE audit_head SET head = ?1, pruned = ?2, requests = ?3")?
        .execute(params![totals.head, totals.pruned, int(totals.requests)])?;
    Ok(())
}

/// Writes the loss counts that differ from `before`, as of `now`.
pub(super) fn save_losses(
    connection: &Connection,
    before: &Losses,
    after: &Losses,
    now: Micros,
) -> rusqlite::Result<()> {
    for (reason, rows) in after.iter() {
        if rows != before.get(reason) {
            connection
                .prepare_cached(
                    "INSERT INTO audit_losses (reason, rows, last_ts) VALUES (?1, ?2, ?3)
                     ON CONFLICT (reason) DO UPDATE SET rows = ?2, last_ts = ?3",
                )?
                .execute(params![reason.as_str(), int(rows), now.0])?;
        }
    }
    Ok(())
}

/// Applies one settlement to the tables and to `totals`.
pub(super) fn settle(
    connection: &Connection,
    totals: &mut Totals,
    settlement: &Settlement,
    now: Micros,
) -> rusqlite::Result<()> {
    let name = settlement.sink;
    let sink = totals.sinks.entry(name.to_owned()).or_default();
    sink.cursor = sink.cursor.max(settlement.cursor);
    sink.delivered += settlement.delivered;
    sink.sampled_out += settlement.sampled_out;
    sink.held_back += settlement.held_back;
    for seq in &settlement.resolved {
        let removed = connection
            .prepare_cached("DELETE FROM audit_stragglers WHERE sink = ?1 AND seq = ?2")?
            .execute(params![name, seq])?;
        sink.stragglers -= removed as u64;
    }
    for straggler in &settlement.stragglers {
        let values = params![
            name,
            straggler.seq,
            straggler.attempts,
            straggler.since.0,
            straggler.next.0,
            straggler.reason
        ];
        let known = connection
            .prepare_cached(
                "UPDATE audit_stragglers SET attempts = ?3, since_ts = ?4, next_ts = ?5, reason = ?6
                 WHERE sink = ?1 AND seq = ?2",
            )?
            .execute(values)?;
        if known == 0 {
            connection
                .prepare_cached(
                    "INSERT INTO audit_stragglers (sink, seq, attempts, since_ts, next_ts, reason)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(values)?;
            sink.stragglers += 1;
        }
    }
    for dead in &settlement.dead {
        let added = connection
            .prepare_cached(
                "INSERT OR IGNORE INTO audit_dead_letters (sink, seq, ts, reason, refused_ts)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![name, dead.seq, dead.ts.0, dead.reason, now.0])?;
        sink.dead += added as u64;
    }
    sink.verified |= settlement.verified;
    save_sink(connection, name, sink, settlement.verified.then_some(now))
}

/// Writes one sink's counters; inserts the sink if it is new. `verified` is when it was verified,
/// if that was now.
pub(super) fn save_sink(
    connection: &Connection,
    name: &str,
    sink: &SinkTotals,
    verified: Option<Micros>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO audit_sinks (sink, began, cursor, delivered, sampled_out, held_back, dead,
             stragglers, verified_ts) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (sink) DO UPDATE SET cursor = ?3, delivered = ?4, sampled_out = ?5,
             held_back = ?6, dead = ?7, stragglers = ?8, verified_ts = coalesce(?9, verified_ts)",
        )?
        .execute(params![
            name,
            sink.began,
            sink.cursor,
            int(sink.delivered),
            int(sink.sampled_out),
            int(sink.held_back),
            int(sink.dead),
            int(sink.stragglers),
            verified.map(|at| at.0)
        ])?;
    Ok(())
}

/// SQLite has no unsigned numbers, and newer rusqlite does not convert them by itself.
pub(super) fn int(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn count(int: i64) -> u64 {
    u64::try_from(int).unwrap_or(0)
}
