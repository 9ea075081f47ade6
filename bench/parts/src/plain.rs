//! What a careful engineer would write without audithog: the columns of the view `audit_logs` that a request fills, as
//! plain text, one prepared statement, one transaction a group, write-ahead log, `synchronous = NORMAL`. Its texts are
//! ready before the clock runs, so that SQLite's work alone is measured.

use std::fmt::Write as _;
use std::path::Path;

use rusqlite::{Connection, params};

use crate::requests::Sample;

/// All twenty columns, or the thirteen fields with event and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    All,
    Fields,
}

/// A table of its own, as in `SCHEMA`.
#[derive(Debug)]
pub struct Plain {
    connection: Connection,
    columns: Columns,
}

/// A request with every column as it is bound.
#[derive(Debug)]
pub struct PlainRow {
    ts: i64,
    request_id: String,
    user: String,
    role: &'static str,
    org: String,
    path: String,
    route: Option<String>,
    status: u16,
    result: &'static str,
    error_code: Option<&'static str>,
    duration_ms: f64,
    agent: &'static str,
    ip: String,
}

const ALL: &str = "CREATE TABLE audit_logs(
    seq INTEGER PRIMARY KEY, ts INTEGER NOT NULL, event TEXT NOT NULL, request_id TEXT NOT NULL, user_id TEXT,
    user_role TEXT, org_id TEXT, method TEXT, path TEXT, route TEXT, status_code INTEGER, result TEXT, error_code TEXT,
    duration_ms REAL, user_agent TEXT, ip TEXT, trace_id TEXT, service TEXT, environment TEXT, version TEXT,
    instance TEXT)";
const INSERT_ALL: &str = "INSERT INTO audit_logs (ts, event, request_id, user_id, user_role, org_id, method, path,
    route, status_code, result, error_code, duration_ms, user_agent, ip, trace_id, service, environment, version,
    instance) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
const FIELDS: &str = "CREATE TABLE audit_logs(
    seq INTEGER PRIMARY KEY, ts INTEGER NOT NULL, event TEXT NOT NULL, request_id TEXT NOT NULL, user_id TEXT,
    user_role TEXT, org_id TEXT, method TEXT, path TEXT, route TEXT, status_code INTEGER, result TEXT, error_code TEXT,
    duration_ms REAL, user_agent TEXT, ip TEXT)";
const INSERT_FIELDS: &str =
    "INSERT INTO audit_logs (ts, event, request_id, user_id, user_role, org_id, method, path,
    route, status_code, result, error_code, duration_ms, user_agent, ip)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

impl Plain {
    /// A new file at `path`.
    ///
    /// # Errors
    ///
    /// SQLite's.
    pub fn create(path: &Path, columns: Columns) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        connection.execute_batch("PRAGMA synchronous = NORMAL")?;
        connection.execute_batch(match columns {
            Columns::All => ALL,
            Columns::Fields => FIELDS,
        })?;
        Ok(Self {
            connection,
            columns,
        })
    }

    /// One transaction.
    ///
    /// # Errors
    ///
    /// SQLite's.
    pub fn append(&mut self, rows: &[PlainRow]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        match self.columns {
            Columns::All => all(&transaction, rows)?,
            Columns::Fields => fields(&transaction, rows)?,
        }
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

fn all(connection: &Connection, rows: &[PlainRow]) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(INSERT_ALL)?;
    for row in rows {
        insert.execute(params![
            row.ts,
            "api_request",
            row.request_id,
            row.user,
            row.role,
            row.org,
            "GET",
            row.path,
            row.route,
            row.status,
            row.result,
            row.error_code,
            row.duration_ms,
            row.agent,
            row.ip,
            None::<&str>,
            "bench",
            "production",
            "1.0.0",
            "bench-1",
        ])?;
    }
    Ok(())
}

fn fields(connection: &Connection, rows: &[PlainRow]) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(INSERT_FIELDS)?;
    for row in rows {
        insert.execute(params![
            row.ts,
            "api_request",
            row.request_id,
            row.user,
            row.role,
            row.org,
            "GET",
            row.path,
            row.route,
            row.status,
            row.result,
            row.error_code,
            row.duration_ms,
            row.agent,
            row.ip,
        ])?;
    }
    Ok(())
}

impl From<Sample> for PlainRow {
    fn from(sample: Sample) -> Self {
        let [a, b, c, d] = sample.ip;
        Self {
            ts: sample.ts,
            request_id: hyphenated(sample.id),
            user: sample.user,
            role: sample.role,
            org: sample.org,
            path: sample.path,
            route: sample.route,
            status: sample.status,
            result: if sample.status < 400 {
                "success"
            } else {
                "failure"
            },
            error_code: match sample.status {
                404 => Some("NOT_FOUND"),
                500 => Some("INTERNAL_SERVER_ERROR"),
                _ => None,
            },
            duration_ms: f64::from(u32::try_from(sample.duration_us).unwrap_or(u32::MAX)) / 1_000.0,
            agent: sample.agent,
            ip: format!("{a}.{b}.{c}.{d}"),
        }
    }
}

fn hyphenated(id: u128) -> String {
    let digits = format!("{id:032x}");
    let mut text = String::with_capacity(36);
    for (at, part) in [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)]
        .iter()
        .enumerate()
    {
        let sep = if at == 0 { "" } else { "-" };
        // Into a text it cannot fail.
        let _ = write!(text, "{sep}{}", &digits[part.0..part.1]);
    }
    text
}
