//! Opening: only a ledger, only of a version that is known, and without touching anything else.

use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::error::{failed, kind, plain};
use super::file::Identity;
use super::{busy, damage, file, handle, schema};
use crate::ledger::{StoreError, StoreErrorKind};

/// Statements kept prepared by a connection; the writer uses about thirty.
const STATEMENTS: usize = 64;
/// Pages that a connection keeps in memory: those of a commit with a thousand rows, and the way to them.
const CACHE_KIB: u32 = 512;

/// What a file is, by its header and schema table.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Empty,
    Ledger { version: i32 },
    Foreign,
}

/// Opens the ledger for writing, making or migrating it as needed. Returns the real path, and
/// whether the ledger is new. `known`: which file it is, where that is known already; `locked`: the
/// caller has the lock of the directory.
pub(super) fn writer(
    path: &Path,
    known: Option<Identity>,
    locked: bool,
) -> Result<(Connection, PathBuf, bool), StoreError> {
    let empty = file::identity(path).map_or(true, |(_, size)| size == 0);
    let _lock = (empty && !locked)
        .then(|| damage::lock_to_make(&real_path(path)))
        .flatten();
    let there = file::identity(path).ok();
    damage::remains(
        &real_path(path),
        there.is_some_and(|(found, _)| known == Some(found)),
    )?;
    let (real, made) = file::create_private(path)?;
    if !made {
        probe(&real)?;
    }
    let mut connection = connect(&real, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Until it is closed in good order: a handle that failed is not used to close it, either.
    handle::leave_log(&connection, true).map_err(failed("be opened"))?;
    if !made {
        // Once more, for what could not be looked at without writing.
        let found = look(&connection).map_err(|source| cannot_open(&real, source))?;
        accept(&real, &found)?;
    }
    prepare_file(&connection, &real)?;
    let created = migrate(&mut connection, &real)?;
    triggers(&connection, false).map_err(failed("be set up"))?;
    Ok((connection, real, created))
}

/// With symbolic links resolved, as far as there is something to resolve.
pub(super) fn real_path(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Lets an empty ledger begin after `head`: the numbers up to there are another's.
pub(super) fn begin_after(connection: &Connection, head: i64) -> Result<(), StoreError> {
    connection
        .execute(
            "UPDATE audit_head SET head = ?1, pruned = ?1 WHERE head = 0 AND pruned = 0",
            [head],
        )
        .map(drop)
        .map_err(failed("begin after the one before"))
}

pub(super) fn reader(path: &Path) -> Result<Connection, StoreError> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// For whoever goes through the log from one end to the other, and comes to no page again. SQLite's own cache takes 2 MB
/// of memory for each connection.
pub(super) fn short_cache(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!("PRAGMA cache_size = -{CACHE_KIB}"))
}

/// A second writing connection, for checkpoints.
pub(super) fn checkpointer(path: &Path) -> Result<Connection, StoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // The log is synced before its pages go into the file, and the file before the log restarts.
    connection
        .execute_batch("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0")
        .and_then(|()| handle::leave_log(&connection, true))
        .map_err(failed("set up its checkpoints"))?;
    Ok(connection)
}

/// For reading, with another of SQLite's ways to the file.
pub(super) fn with_vfs(path: &Path, vfs: &str) -> Result<Connection, StoreError> {
    let mode = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    set_up(path, Connection::open_with_flags_and_vfs(path, mode, vfs))
}

/// For reading; `name` is what SQLite is told of `path`.
pub(super) fn with_flags(
    name: &Path,
    path: &Path,
    flags: OpenFlags,
) -> Result<Connection, StoreError> {
    let mode = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    set_up(path, Connection::open_with_flags(name, mode | flags))
}

/// The schema of a file that is a ledger of a known version.
pub(super) fn version(connection: &Connection, path: &Path) -> Result<i32, StoreError> {
    let found = look(connection).map_err(|source| cannot_open(path, source))?;
    accept(path, &found)?;
    match found {
        Kind::Ledger { version } => Ok(version),
        Kind::Empty | Kind::Foreign => Err(foreign(path)),
    }
}

fn connect(path: &Path, mode: OpenFlags) -> Result<Connection, StoreError> {
    // Without SQLITE_OPEN_URI: a path is a path.
    let opened = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX);
    set_up(path, opened)
}

fn set_up(path: &Path, opened: rusqlite::Result<Connection>) -> Result<Connection, StoreError> {
    let mut connection = opened.map_err(|source| cannot_open(path, source))?;
    busy::install(&mut connection)
        .and_then(|()| keep_plans(&connection))
        .map_err(failed("be opened"))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// A statement stays prepared whatever is bound to it. Otherwise SQLite prepares one anew for another value in a LIMIT:
/// for each stretch of rows that is read, which takes as long as to read fifty of them.
fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map(|_| ())
}

/// Looks without writing, so that a foreign file stays as it is.
fn probe(path: &Path) -> Result<(), StoreError> {
    let connection = reader(path)?;
    match look(&connection) {
        Ok(found) => accept(path, &found),
        // A crash left a journal, which only a connection that writes can roll back.
        Err(error) if is_read_only(&error) => Ok(()),
        Err(source) => Err(cannot_open(path, source)),
    }
}

fn is_read_only(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::ReadOnly)
}

fn look(connection: &Connection) -> rusqlite::Result<Kind> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i32>(0));
    let application = number("PRAGMA application_id")?;
    let version = number("PRAGMA user_version")?;
    let objects = number("SELECT count(*) FROM (SELECT 1 FROM sqlite_schema LIMIT 1)")?;
    Ok(match application {
        schema::APPLICATION_ID => Kind::Ledger { version },
        0 if version == 0 && objects == 0 => Kind::Empty,
        _ => Kind::Foreign,
    })
}

fn accept(path: &Path, found: &Kind) -> Result<(), StoreError> {
    let shown = path.display();
    match found {
        Kind::Ledger { version } if *version > schema::VERSION => Err(plain(
            StoreErrorKind::Newer,
            format!(
                "the ledger {shown} was written by a newer version of audithog (schema {version}, \
                 this version knows {})",
                schema::VERSION
            ),
        )),
        Kind::Foreign => Err(foreign(path)),
        Kind::Ledger { .. } | Kind::Empty => Ok(()),
    }
}

fn foreign(path: &Path) -> StoreError {
    plain(
        StoreErrorKind::Unusable,
        format!("the file {} is not an audithog ledger", path.display()),
    )
}

fn cannot_open(path: &Path, source: rusqlite::Error) -> StoreError {
    if source.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) {
        return StoreError {
            source: Some(Box::new(source)),
            ..foreign(path)
        };
    }
    StoreError {
        kind: kind(&source),
        message: format!("the ledger {} cannot be opened", path.display()),
        source: Some(Box::new(source)),
    }
}

/// Settings of the file. They come before the first table, and change nothing on a ledger.
fn prepare_file(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    connection
        .execute_batch("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA wal_autocheckpoint = 0")
        .map_err(|source| cannot_open(path, source))?;
    let mode: String =
        busy::retry(|| connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)))
            .map_err(|source| cannot_open(path, source))?;
    if mode != "wal" {
        return Err(plain(
            StoreErrorKind::Unusable,
            format!(
                "the ledger {} is on a file system without the locks and shared memory that \
                 SQLite's write-ahead log needs",
                path.display()
            ),
        ));
    }
    connection
        .execute_batch("PRAGMA synchronous = NORMAL")
        .and_then(|()| short_cache(connection))
        .map_err(failed("be set up"))
}

/// Lets the triggers of the file act on this connection, or not.
///
/// The writer appends without them: the one on inserts alone makes an append a third dearer, and
/// the primary key refuses a number that comes twice. Its retention, and everyone else with the
/// file, has them.
pub(super) fn triggers(connection: &Connection, on: bool) -> rusqlite::Result<()> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, on)
        .map(|_| ())
}

/// Decides again inside a write transaction: another process may have been faster.
fn migrate(connection: &mut Connection, path: &Path) -> Result<bool, StoreError> {
    let found = look(connection).map_err(|source| cannot_open(path, source))?;
    let current = Kind::Ledger {
        version: schema::VERSION,
    };
    if found == current {
        return Ok(false);
    }
    let migrating = failed("bring its tables to this version");
    let transaction = Transaction::new(connection, TransactionBehavior::Immediate)
        .map_err(|source| cannot_open(path, source))?;
    let found = look(&transaction).map_err(&migrating)?;
    accept(path, &found)?;
    let version = match found {
        Kind::Ledger { version } => version,
        Kind::Empty | Kind::Foreign => 0,
    };
    if found != current {
        schema::migrate(&transaction, version).map_err(&migrating)?;
    }
    transaction.commit().map_err(&migrating)?;
    Ok(found == Kind::Empty)
}
