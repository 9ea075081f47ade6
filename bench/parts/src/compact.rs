//! The same as `plain`, with audithog's own encodings (those of a row that is not packed), and each value ready before
//! the clock runs: what is left is SQLite's work on rows as small as audithog's, with nothing but the rows.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{Connection, params};

use crate::requests::Sample;

const TABLE: &str = "CREATE TABLE audit_rows(
    seq INTEGER PRIMARY KEY, run INTEGER NOT NULL, flags INTEGER NOT NULL, id BLOB NOT NULL, ts INTEGER NOT NULL,
    event ANY NOT NULL, request_id ANY, user_id ANY, user_role ANY, org_id ANY, actor_type INTEGER, method ANY,
    path TEXT, route ANY, status_code INTEGER, error_code ANY, duration_us INTEGER, user_agent ANY, ip ANY,
    trace_id BLOB, upstream_request_id ANY, on_behalf_of ANY, distinct_id ANY, properties TEXT) STRICT";
const INSERT: &str = "INSERT INTO audit_rows (seq, run, flags, id, ts, event, user_id, user_role, org_id, actor_type,
    method, path, route, status_code, error_code, duration_us, user_agent, ip)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// A table with nothing beside it.
#[derive(Debug)]
pub struct Compact {
    connection: Connection,
    head: i64,
}

/// A request with every column as it is bound.
#[derive(Debug)]
pub struct CompactRow {
    flags: i64,
    id: [u8; 16],
    ts: i64,
    user: String,
    role: i64,
    org: i64,
    path: String,
    route: Option<i64>,
    status: u16,
    error_code: Option<i64>,
    duration_us: i64,
    agent: i64,
    ip: i32,
}

impl Compact {
    /// A new file at `path`.
    ///
    /// # Errors
    ///
    /// SQLite's.
    pub fn create(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        connection.execute_batch("PRAGMA synchronous = NORMAL")?;
        connection.execute_batch(TABLE)?;
        Ok(Self {
            connection,
            head: 0,
        })
    }

    /// One transaction.
    ///
    /// # Errors
    ///
    /// SQLite's.
    pub fn append(&mut self, rows: &[CompactRow]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        let mut insert = transaction.prepare_cached(INSERT)?;
        for row in rows {
            self.head += 1;
            insert.execute(params![
                self.head,
                1,
                row.flags,
                row.id,
                row.ts,
                1,
                row.user,
                row.role,
                row.org,
                0,
                2,
                row.path,
                row.route,
                row.status,
                row.error_code,
                row.duration_us,
                row.agent,
                row.ip,
            ])?;
        }
        drop(insert);
        transaction.commit()
    }

    /// Moves the log into the file.
    ///
    /// # Errors
    ///
    /// SQLite's.
    pub fn close(self) -> rusqlite::Result<()> {
        self.connection.close().map_err(|(_, error)| error)
    }
}

/// Numbers texts, as `audit_names` does.
#[derive(Debug, Default)]
pub struct Numbers(HashMap<String, i64>);

impl Numbers {
    fn of(&mut self, text: String) -> i64 {
        let next = i64::try_from(self.0.len()).unwrap_or(i64::MAX);
        *self.0.entry(text).or_insert(next)
    }

    /// The row with numbers in the place of texts that repeat.
    pub fn row(&mut self, sample: Sample) -> CompactRow {
        let error = match sample.status {
            404 => Some("NOT_FOUND"),
            500 => Some("INTERNAL_SERVER_ERROR"),
            _ => None,
        };
        CompactRow {
            flags: if sample.status < 400 { 5 } else { 7 },
            id: sample.id.to_be_bytes(),
            ts: sample.ts,
            user: sample.user,
            role: self.of(sample.role.to_owned()),
            org: self.of(sample.org),
            path: sample.path,
            route: sample.route.map(|route| self.of(route)),
            status: sample.status,
            error_code: error.map(|code| self.of(code.to_owned())),
            duration_us: i64::try_from(sample.duration_us).unwrap_or(i64::MAX),
            agent: self.of(sample.agent.to_owned()),
            ip: i32::from_be_bytes(sample.ip),
        }
    }
}
