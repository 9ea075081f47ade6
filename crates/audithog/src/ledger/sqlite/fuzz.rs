//! Targets for fuzzers: columns of `audit_rows` as any file may hold them, and rows on their way there and back.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, params};

use super::decode::{Decoder, Gathered, Selected};
use super::encode::{COLUMN_COUNT, COLUMNS, Inserter, PACKED_COLUMNS};
use super::names::Names;
use super::schema::flag;
use super::{open, schema};
use crate::fuzz::{Input, is_clean, row};
use crate::ledger::{StoreError, StoreErrorKind};
use crate::record::{Outcome, Row, StoredRow};

/// The place of the flags among the columns.
const FLAGS: usize = 3;

thread_local! {
    /// Made once: it takes far longer than what is tested with it.
    static LEDGER: Connection = ledger().unwrap_or_else(|error| panic!("no ledger: {error}"));
}

fn ledger() -> rusqlite::Result<Connection> {
    let connection = Connection::open_in_memory()?;
    connection.set_prepared_statement_cache_capacity(64);
    schema::migrate(&connection, 0)?;
    open::triggers(&connection, false)?;
    connection.execute_batch(
        "INSERT INTO audit_runs (run, service, pid, queue_capacity, settings_json, started_ts, alive_ts)
         VALUES (1, 'shop', 1, 1, '{}', 0, 0);
         INSERT INTO audit_names VALUES (1, 'api_request'), (2, 'GET'), (3, '/agents/{id}');",
    )?;
    Ok(connection)
}

/// A byte of type and its value for each of the columns. It is damage, or of a newer version, or what any row is.
pub(crate) fn stored_columns(data: &[u8]) {
    let mut input = Input::new(data);
    LEDGER.with(|ledger| {
        let marks = vec!["?"; COLUMN_COUNT].join(", ");
        let sql = format!("SELECT {marks}");
        let outcome = read(ledger, &sql, |statement| {
            for column in 1..=COLUMN_COUNT {
                let number = input.byte();
                let (kind, small) = (number % 6, i64::from(number / 6));
                let value = match kind {
                    0 => ValueRef::Null,
                    1 => ValueRef::Integer(small),
                    // Most of all flags are of a version to come.
                    2 if column == FLAGS => {
                        ValueRef::Integer((input.number() & 1023).cast_signed())
                    }
                    2 => ValueRef::Integer(input.number().cast_signed()),
                    3 => ValueRef::Text(input.short()),
                    4 => ValueRef::Blob(input.bytes(16)),
                    _ if small < 10 => ValueRef::Real(input.number() as f64),
                    _ => ValueRef::Blob(input.short()),
                };
                statement.raw_bind_parameter(column, ToSqlOutput::Borrowed(value))?;
            }
            Ok(())
        });
        match outcome {
            Ok(mut stored) => {
                if let Some(http) = &mut stored.row.exchange
                    && http.outcome == Outcome::Open
                {
                    // Of an open request no duration is written.
                    http.duration_us = 0;
                }
                round_trip(ledger, &stored.row);
            }
            Err(error) => {
                let kinds = [StoreErrorKind::Corrupt, StoreErrorKind::Newer];
                assert!(kinds.contains(&error.kind), "{error:?}");
                assert!(
                    error.message.len() < 200 && is_clean(&error.message),
                    "{error:?}"
                );
            }
        }
    });
}

/// Any row that the types allow.
pub(crate) fn stored_row(data: &[u8]) {
    let row = row(&mut Input::new(data));
    LEDGER.with(|ledger| round_trip(ledger, &row));
}

/// What is written is read back, twice: texts that repeat are written in another way. The view can show it.
fn round_trip(ledger: &Connection, row: &Row) {
    let mut names = Names::new();
    let mut write = |seq: i64| -> rusqlite::Result<()> {
        Inserter::new(ledger, &mut names).row(Some(seq), 1, row)
    };
    let in_vain = |error: rusqlite::Error| -> () { panic!("{error}") };
    ledger
        .execute_batch("SAVEPOINT one")
        .unwrap_or_else(in_vain);
    for seq in [1, 2] {
        write(seq).unwrap_or_else(in_vain);
        let sql = format!("SELECT {COLUMNS} FROM audit_rows WHERE seq = ?1");
        let found = read(ledger, &sql, |statement| {
            statement.raw_bind_parameter(1, seq)
        });
        match found {
            Ok(stored) => assert_eq!((stored.seq, &*stored.row), (seq, row)),
            Err(error) => panic!("{error:?}"),
        }
        check_packed(ledger, seq, row).unwrap_or_else(in_vain);
        check_view(ledger, seq, row).unwrap_or_else(in_vain);
    }
    ledger
        .execute_batch("ROLLBACK TO one; RELEASE one")
        .unwrap_or_else(in_vain);
}

/// A packed row, from its own columns alone.
fn check_packed(ledger: &Connection, seq: i64, row: &Row) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT {PACKED_COLUMNS} FROM audit_rows WHERE seq = ?1 AND flags & {}",
        flag::PACKED
    );
    let mut statement = ledger.prepare_cached(&sql)?;
    let mut found = statement.query([seq])?;
    if let Some(columns) = found.next()? {
        let mut gathered = Gathered::default();
        let flags = columns.get(2)?;
        let read =
            Decoder::default().gather(ledger, columns, flags, Selected::Packed, &mut gathered);
        assert!(read.is_ok(), "{read:?}");
        let stored = gathered.into_rows();
        assert_eq!((stored[0].seq, &*stored[0].row), (seq, row));
    }
    Ok(())
}

/// Id, event and path as people read them.
fn check_view(ledger: &Connection, seq: i64, row: &Row) -> rusqlite::Result<()> {
    let mut view = ledger
        .prepare_cached("SELECT id, event, path, user_id, * FROM audit_logs WHERE seq = ?1")?;
    view.query_row(params![seq], |found| {
        assert_eq!(found.get::<_, String>(0)?, row.id.to_string());
        assert_eq!(found.get::<_, String>(1)?, row.event);
        let path = row.exchange.as_ref().map(|http| http.path.to_string());
        assert_eq!(found.get::<_, Option<String>>(2)?, path);
        let user = row.actor.user_id.as_deref().map(str::to_owned);
        assert_eq!(found.get::<_, Option<String>>(3)?, user);
        Ok(())
    })
}

fn read(
    ledger: &Connection,
    sql: &str,
    bind: impl FnOnce(&mut rusqlite::Statement<'_>) -> rusqlite::Result<()>,
) -> Result<StoredRow, StoreError> {
    let reading = super::error::failed("read a row");
    let mut statement = ledger.prepare_cached(sql).map_err(&reading)?;
    bind(&mut statement).map_err(&reading)?;
    let mut rows = statement.raw_query();
    match rows.next().map_err(&reading)? {
        Some(row) => Decoder::default().row(ledger, row),
        None => panic!("the row is there"),
    }
}
