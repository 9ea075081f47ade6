//! The ledger's book, read from the file with SQLite alone.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

/// Everything the oracle wants to know of a ledger.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// By `seq`.
    pub(crate) rows: Vec<Row>,
    pub(crate) runs: Vec<Run>,
    pub(crate) head: i64,
    pub(crate) pruned: i64,
    pub(crate) requests: i64,
    /// The persisted totals of losses.
    pub(crate) losses: BTreeMap<String, i64>,
    pub(crate) sinks: BTreeMap<String, Sink>,
    pub(crate) blocks: Vec<Block>,
    /// What `PRAGMA integrity_check` says; `ok` when all is well.
    pub(crate) integrity: String,
}

/// One row of `audit_logs`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) seq: i64,
    pub(crate) run: i64,
    pub(crate) id: String,
    /// Microseconds since 1970.
    pub(crate) ts: i64,
    pub(crate) event: String,
    pub(crate) request_id: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) status: Option<i64>,
    pub(crate) result: Option<String>,
    pub(crate) error_code: Option<String>,
    pub(crate) properties: Value,
}

/// One process that wrote.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    pub(crate) run: i64,
    pub(crate) pid: u32,
    pub(crate) queue_capacity: i64,
    pub(crate) ended: bool,
    pub(crate) unclean: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Sink {
    pub(crate) began: i64,
    pub(crate) cursor: i64,
    pub(crate) delivered: i64,
    pub(crate) sampled_out: i64,
    pub(crate) held_back: i64,
    pub(crate) dead: i64,
    pub(crate) stragglers: i64,
    /// The tables behind two of the counts.
    pub(crate) straggler_rows: Vec<i64>,
    pub(crate) dead_rows: Vec<i64>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Block {
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) min_ts: i64,
    pub(crate) max_ts: i64,
}

impl Ledger {
    /// Of a ledger that is too long to read: its head, and PostHog's counts.
    pub(crate) fn sinks_alone(path: &Path) -> Result<(i64, Sink)> {
        let file = Connection::open(path)?;
        let head = file.query_row("SELECT head FROM audit_head", [], |row| row.get(0))?;
        let sink = sinks(&file)?.remove("posthog");
        Ok((head, sink.context("the ledger knows no sink")?))
    }

    /// Reads the file at `path`, which nobody writes now.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let file = Connection::open_with_flags(path, flags)
            .with_context(|| format!("the ledger {} cannot be opened", path.display()))?;
        let number = |sql: &str| file.query_row(sql, [], |row| row.get::<_, i64>(0));
        Ok(Self {
            rows: rows(&file).context("the rows cannot be read")?,
            runs: runs(&file)?,
            head: number("SELECT head FROM audit_head")?,
            pruned: number("SELECT pruned FROM audit_head")?,
            requests: number("SELECT requests FROM audit_head")?,
            losses: all(&file, "SELECT reason, rows FROM audit_losses", |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .into_iter()
            .collect(),
            sinks: sinks(&file)?,
            blocks: all(
                &file,
                "SELECT first_seq, last_seq, min_ts, max_ts FROM audit_blocks ORDER BY 1",
                |row| {
                    Ok(Block {
                        first: row.get(0)?,
                        last: row.get(1)?,
                        min_ts: row.get(2)?,
                        max_ts: row.get(3)?,
                    })
                },
            )?,
            integrity: all(&file, "PRAGMA integrity_check", |row| {
                row.get::<_, String>(0)
            })?
            .join("; "),
        })
    }
}

fn all<T>(
    file: &Connection,
    sql: &str,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    file.prepare(sql)?.query_map([], read)?.collect()
}

fn rows(file: &Connection) -> rusqlite::Result<Vec<Row>> {
    all(
        file,
        "SELECT l.seq, r.run, l.id, r.ts, l.event, l.request_id, l.path, l.status_code, l.result, \
         l.error_code, l.properties \
         FROM audit_logs AS l JOIN audit_rows AS r ON r.seq = l.seq ORDER BY l.seq",
        |row| {
            let properties: Option<String> = row.get(10)?;
            let properties = properties.map(|text| serde_json::from_str(&text));
            Ok(Row {
                seq: row.get(0)?,
                run: row.get(1)?,
                id: row.get(2)?,
                ts: row.get(3)?,
                event: row.get(4)?,
                request_id: row.get(5)?,
                path: row.get(6)?,
                status: row.get(7)?,
                result: row.get(8)?,
                error_code: row.get(9)?,
                properties: properties.and_then(Result::ok).unwrap_or_default(),
            })
        },
    )
}

fn runs(file: &Connection) -> rusqlite::Result<Vec<Run>> {
    all(
        file,
        "SELECT run, pid, queue_capacity, ended_ts IS NOT NULL, unclean FROM audit_runs ORDER BY run",
        |row| {
            Ok(Run {
                run: row.get(0)?,
                pid: row.get(1)?,
                queue_capacity: row.get(2)?,
                ended: row.get(3)?,
                unclean: row.get(4)?,
            })
        },
    )
}

fn sinks(file: &Connection) -> rusqlite::Result<BTreeMap<String, Sink>> {
    let named = all(
        file,
        "SELECT sink, began, cursor, delivered, sampled_out, held_back, dead, stragglers FROM audit_sinks",
        |row| {
            let sink = Sink {
                began: row.get(1)?,
                cursor: row.get(2)?,
                delivered: row.get(3)?,
                sampled_out: row.get(4)?,
                held_back: row.get(5)?,
                dead: row.get(6)?,
                stragglers: row.get(7)?,
                straggler_rows: Vec::new(),
                dead_rows: Vec::new(),
            };
            Ok((row.get::<_, String>(0)?, sink))
        },
    )?;
    let mut sinks: BTreeMap<String, Sink> = named.into_iter().collect();
    for (sink, seq) in pairs(file, "SELECT sink, seq FROM audit_stragglers")? {
        sinks.entry(sink).or_default().straggler_rows.push(seq);
    }
    for (sink, seq) in pairs(file, "SELECT sink, seq FROM audit_dead_letters")? {
        sinks.entry(sink).or_default().dead_rows.push(seq);
    }
    Ok(sinks)
}

fn pairs(file: &Connection, sql: &str) -> rusqlite::Result<Vec<(String, i64)>> {
    all(file, sql, |row| Ok((row.get(0)?, row.get(1)?)))
}
