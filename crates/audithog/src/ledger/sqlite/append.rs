//! Rows into the table, inside a group's transaction.

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::digest::Line;
use super::encode::Inserter;
use super::names::Names;
use crate::books::LossReason;
use crate::ledger::Totals;
use crate::record::{Micros, Row};

/// Rows that share one line of `audit_blocks`.
pub(super) const BLOCK_ROWS: i64 = 1_000;

/// A line of `audit_blocks`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) first: i64,
    pub(super) last: i64,
    min: i64,
    max: i64,
    pub(super) high: i64,
}

/// Rows to append.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a> {
    pub(super) rows: &'a [Row],
    pub(super) run: i64,
    pub(super) now: Micros,
    /// See `Group::gives_way_every`.
    pub(super) gives_way_every: Option<usize>,
}

impl<'a> Rows<'a> {
    /// A few that the store makes itself.
    pub(super) fn own(run: i64, rows: &'a [Row], now: Micros) -> Self {
        Self {
            rows,
            run,
            now,
            gives_way_every: None,
        }
    }
}

/// Appends rows after `totals.head` and moves it. Returns the positions of refused duplicates; `lines` are then what is counted of the others.
pub(super) fn append(
    connection: &Connection,
    names: &mut Names,
    totals: &mut Totals,
    Rows {
        rows,
        run,
        now,
        gives_way_every,
    }: Rows<'_>,
    lines: &mut Vec<Line>,
) -> rusqlite::Result<Vec<usize>> {
    let mut duplicates = Vec::new();
    lines.clear();
    if rows.is_empty() {
        return Ok(duplicates);
    }
    let mut insert = Inserter::new(connection, names);
    let mut block = last_block(connection)?;
    let mut first = true;
    for (at, row) in rows.iter().enumerate() {
        if gives_way_every.is_some_and(|rows| (at + 1) % rows == 0) {
            std::thread::yield_now();
        }
        let seq = totals.head + 1;
        if row.caller_id && !claim(connection, row, seq)? {
            duplicates.push(at);
            continue;
        }
        // The log may be empty; after its first row the next number is the last one's successor.
        insert.row(first.then_some(seq), run, row)?;
        first = false;
        if connection.last_insert_rowid() != seq {
            return Err(out_of_sequence());
        }
        totals.head = seq;
        lines.push(insert.line);
        block = Some(extend(connection, block, seq, row.ts.0, now.0)?);
    }
    if let Some(block) = block {
        write_block(connection, block)?;
    }
    totals
        .losses
        .add(LossReason::DuplicateId, duplicates.len() as u64);
    Ok(duplicates)
}

/// The rows of one run after `after`: their numbers and ids.
pub(super) fn of_run(
    connection: &Connection,
    run: i64,
    after: i64,
) -> rusqlite::Result<Vec<(i64, Uuid)>> {
    connection
        .prepare_cached("SELECT seq, id FROM audit_rows WHERE seq > ?1 AND run = ?2 ORDER BY seq")?
        .query_map([after, run], |row| {
            Ok((row.get(0)?, Uuid::from_bytes(row.get(1)?)))
        })?
        .collect()
}

/// A row beyond the head was in the way.
fn out_of_sequence() -> rusqlite::Error {
    let code = rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY;
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(code),
        Some("audit_rows has rows after the head".to_owned()),
    )
}

/// False if the id was claimed before.
fn claim(connection: &Connection, row: &Row, seq: i64) -> rusqlite::Result<bool> {
    let changed = connection
        .prepare_cached("INSERT OR IGNORE INTO audit_ids (id, seq) VALUES (?1, ?2)")?
        .execute(params![row.id.as_bytes(), seq])?;
    Ok(changed == 1)
}

pub(super) fn last_block(connection: &Connection) -> rusqlite::Result<Option<Block>> {
    block_at(connection, i64::MAX)
}

/// The block that holds `seq`, or the last one before it.
pub(super) fn block_at(connection: &Connection, seq: i64) -> rusqlite::Result<Option<Block>> {
    connection
        .prepare_cached(
            "SELECT first_seq, last_seq, min_ts, max_ts, high_ts FROM audit_blocks
             WHERE first_seq <= ?1 ORDER BY first_seq DESC LIMIT 1",
        )?
        .query_row([seq], |row| {
            Ok(Block {
                first: row.get(0)?,
                last: row.get(1)?,
                min: row.get(2)?,
                max: row.get(3)?,
                high: row.get(4)?,
            })
        })
        .optional()
}

/// The block with the row added; a full one is written, and the next begun.
fn extend(
    connection: &Connection,
    block: Option<Block>,
    seq: i64,
    ts: i64,
    now: i64,
) -> rusqlite::Result<Block> {
    // By the commit and not by the row: retention must not follow a time that a caller gave.
    let high = block.map_or(now, |block| block.high.max(now));
    match block {
        Some(block) if seq - block.first < BLOCK_ROWS => Ok(Block {
            last: seq,
            min: block.min.min(ts),
            max: block.max.max(ts),
            high,
            ..block
        }),
        full => {
            if let Some(full) = full {
                write_block(connection, full)?;
            }
            Ok(Block {
                first: seq,
                last: seq,
                min: ts,
                max: ts,
                high,
            })
        }
    }
}

fn write_block(connection: &Connection, block: Block) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO audit_blocks (first_seq, last_seq, min_ts, max_ts, high_ts)
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (first_seq) DO UPDATE
             SET last_seq = ?2, min_ts = ?3, max_ts = ?4, high_ts = ?5",
        )?
        .execute(params![
            block.first,
            block.last,
            block.min,
            block.max,
            block.high
        ])?;
    Ok(())
}
