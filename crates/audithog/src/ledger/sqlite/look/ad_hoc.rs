//! A statement from outside, read-only and bounded.
//!
//! | it must not | because |
//! |---|---|
//! | write | the connection is opened for reading, and `query_only` is on; SQLite must call the statement read-only |
//! | reach another file | only statements that select are let through, and no file can be attached |
//! | run other code | `load_extension` is off, as SQLite comes |
//! | take long | it is interrupted |
//! | take much memory | lines are counted, and no value is longer than 16 MiB |

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, InterruptHandle, Statement};
use serde_json::{Value, json};

use super::super::error::failed;
use super::Looker;
use crate::ledger::StoreError;

/// Far more than a row has.
const LONGEST_VALUE: i32 = 16 << 20;
/// An interrupt between two steps is forgotten, so it is repeated.
const AGAIN: Duration = Duration::from_millis(20);

/// How far a statement may go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdHocLimits {
    pub(crate) until: Instant,
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

/// What became of a statement.
#[derive(Debug)]
pub(crate) enum AdHoc {
    Found(AdHocLines),
    /// The statement is wrong: SQLite's words.
    Refused(String),
}

#[derive(Debug, Default)]
pub(crate) struct AdHocLines {
    pub(crate) columns: Vec<String>,
    pub(crate) lines: Vec<Vec<Value>>,
    /// The limit at which it was stopped.
    pub(crate) end: Option<AdHocEnd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdHocEnd {
    Rows,
    Time,
    Bytes,
}

impl Looker {
    /// Runs one statement that selects, in one read transaction.
    pub(crate) fn ad_hoc(&mut self, sql: &str, limits: &AdHocLimits) -> Result<AdHoc, StoreError> {
        if let Some(why) = refusal(sql) {
            return Ok(AdHoc::Refused(why));
        }
        self.read(|connection, _| {
            guard(connection).map_err(failed("be protected"))?;
            let (running, over) = mpsc::channel();
            let handle = connection.get_interrupt_handle();
            thread::scope(|scope| {
                scope.spawn(move || interrupt_at(limits.until, &over, &handle));
                let found = run(connection, sql, limits);
                drop(running);
                found
            })
        })
    }
}

/// Why a statement is none that selects, by its first word.
fn refusal(sql: &str) -> Option<String> {
    let word = first_word(sql).to_ascii_uppercase();
    match &*word {
        "SELECT" | "WITH" | "VALUES" | "EXPLAIN" => None,
        "" => Some("it is empty".to_owned()),
        "PRAGMA" => Some(
            "only SELECT, WITH, VALUES and EXPLAIN are let through; columns are in pragma_table_info('audit_logs')"
                .to_owned(),
        ),
        _ => Some(format!(
            "it begins with {:?}; only SELECT, WITH, VALUES and EXPLAIN are let through",
            first_word(sql).chars().take(20).collect::<String>()
        )),
    }
}

/// What comes first besides white space and comments (sqlite.org/lang_comment.html).
fn first_word(sql: &str) -> &str {
    let mut rest = sql.trim_start();
    loop {
        rest = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, rest)| rest)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, rest)| rest)
        } else {
            let end = rest.find(|c: char| !c.is_ascii_alphabetic());
            let word = &rest[..end.unwrap_or(rest.len())];
            // Something is there, and it is no word.
            return if word.is_empty() { rest } else { word };
        }
        .trim_start();
    }
}

/// Belt and braces: the connection is opened for reading.
fn guard(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "query_only", true)?;
    // What comes back is another type in each version of rusqlite; the statement's own check stays in any case.
    let _ = connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0);
    let _ = connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LONGEST_VALUE);
    Ok(())
}

fn interrupt_at(until: Instant, over: &Receiver<()>, handle: &InterruptHandle) {
    let mut wait = until.saturating_duration_since(Instant::now());
    while over.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
        handle.interrupt();
        wait = AGAIN;
    }
}

fn run(connection: &Connection, sql: &str, limits: &AdHocLimits) -> Result<AdHoc, StoreError> {
    let mut found = AdHocLines::default();
    let outcome = connection.prepare(sql).and_then(|mut statement| {
        if !statement.readonly() {
            return Ok(Some("it would write".to_owned()));
        }
        if statement.parameter_count() > 0 {
            return Ok(Some("it has parameters, and no values".to_owned()));
        }
        fill(&mut found, &mut statement, limits).map(|()| None)
    });
    match outcome {
        Ok(Some(why)) => Ok(AdHoc::Refused(why)),
        Ok(None) => Ok(AdHoc::Found(found)),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            found.end = Some(AdHocEnd::Time);
            Ok(AdHoc::Found(found))
        }
        Err(error) => match words(&error) {
            Some(why) => Ok(AdHoc::Refused(why)),
            None => Err(failed("be asked")(error)),
        },
    }
}

fn fill(
    found: &mut AdHocLines,
    statement: &mut Statement<'_>,
    limits: &AdHocLimits,
) -> rusqlite::Result<()> {
    let names = statement.column_names();
    found.columns = names.into_iter().map(str::to_owned).collect();
    let columns = found.columns.len();
    let mut bytes = 0;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        found.end = if found.lines.len() >= limits.rows {
            Some(AdHocEnd::Rows)
        } else if bytes > limits.bytes {
            Some(AdHocEnd::Bytes)
        } else if Instant::now() >= limits.until {
            Some(AdHocEnd::Time)
        } else {
            None
        };
        if found.end.is_some() {
            break;
        }
        let mut line = Vec::with_capacity(columns);
        for at in 0..columns {
            let value = value(row.get_ref(at)?);
            bytes += size_of::<Value>() + value.as_str().map_or(0, str::len);
            line.push(value);
        }
        found.lines.push(line);
    }
    Ok(())
}

fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => json!(number),
        // Infinity becomes null.
        ValueRef::Real(number) => json!(number),
        ValueRef::Text(text) => json!(String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => {
            let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
            json!(digits.collect::<String>())
        }
    }
}

/// What SQLite says of a statement that is wrong. None: the statement is not what went wrong.
fn words(error: &rusqlite::Error) -> Option<String> {
    match error {
        #[cfg(feature = "bundled-sqlite")]
        rusqlite::Error::SqlInputError {
            msg, sql, offset, ..
        } => Some(format!("{msg}{}", place(sql, *offset))),
        rusqlite::Error::MultipleStatement => {
            Some("there are several; one at a time is run".to_owned())
        }
        rusqlite::Error::SqliteFailure(failure, message) => {
            let is_its_own = matches!(
                failure.code,
                ErrorCode::Unknown
                    | ErrorCode::TooBig
                    | ErrorCode::TypeMismatch
                    | ErrorCode::ParameterOutOfRange
                    | ErrorCode::AuthorizationForStatementDenied
                    | ErrorCode::ReadOnly
                    | ErrorCode::OutOfMemory
            );
            let message = message.clone().unwrap_or_else(|| failure.to_string());
            is_its_own.then_some(message)
        }
        // Another version's way to say the first.
        other if other.sqlite_error_code() == Some(ErrorCode::Unknown) => Some(other.to_string()),
        _ => None,
    }
}

/// `, in line 2 at character 7`
#[cfg(feature = "bundled-sqlite")]
fn place(sql: &str, offset: i32) -> String {
    let before = usize::try_from(offset).ok().and_then(|at| sql.get(..at));
    let Some(before) = before else {
        return String::new();
    };
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let character = before[start..].chars().count() + 1;
    match sql.trim_end().contains('\n') {
        true => format!(", in line {line} at character {character}"),
        false => format!(", at character {character}"),
    }
}
