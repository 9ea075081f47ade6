//! What a store has open: the write connection, the files it belongs to, and the checkpoints.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::checkpoint::{Checkpointer, checkpoint};
use super::error::{damaged, failed};
use super::file::{Files, Identity, Sizes};
use super::turn::Turnstile;
use super::{busy, open};
use crate::ledger::StoreError;

/// How long a rescue waits for readers.
const RESCUE_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Open {
    pub(super) connection: Connection,
    pub(super) files: Files,
    pub(super) checkpointer: Checkpointer,
    pub(super) turnstile: Turnstile,
    /// `synchronous` is FULL.
    full: bool,
}

impl Open {
    /// `known`: which file the ledger is, where that is known already. Also tells whether the ledger
    /// is new. `locked`: the caller has the lock of the directory.
    pub(super) fn at(
        path: &Path,
        known: Option<Identity>,
        locked: bool,
    ) -> Result<(Self, bool), StoreError> {
        let (connection, path, created) = open::writer(path, known, locked)?;
        let checkpointer = Checkpointer::start(&path)?;
        let files = Files::opened(&path)?;
        let open = Self {
            connection,
            files,
            checkpointer,
            turnstile: Turnstile::of(&path),
            full: false,
        };
        Ok((open, created))
    }

    /// Not possible inside a transaction, and costs as much as a row: changed only if needed.
    pub(super) fn synchronous(&mut self, full: bool) -> rusqlite::Result<()> {
        if self.full != full {
            let level = if full { "FULL" } else { "NORMAL" };
            self.connection
                .execute_batch(&format!("PRAGMA synchronous = {level}"))?;
            self.full = full;
        }
        Ok(())
    }

    /// Whether the file has all of its pages, or the log can have the rest. A truncated file is
    /// found so before SQLite needs one of the pages that are gone.
    pub(super) fn check_length(&self) -> Result<Sizes, StoreError> {
        let number = |sql: &str| -> Result<u64, StoreError> {
            let number = self
                .connection
                .prepare_cached(sql)
                .and_then(|mut found| found.query_row([], |row| row.get::<_, i64>(0)));
            Ok(number.map_err(failed("be measured"))?.unsigned_abs())
        };
        let whole = number("PRAGMA page_count")? * number("PRAGMA page_size")?;
        // Measured after the pages were counted: a checkpoint between the two only helps.
        let sizes = self.files.check()?;
        self.files.check_log(sizes.wal)?;
        if sizes.db + sizes.wal < whole {
            return Err(damaged(format_args!(
                "the file {} has {} bytes of {whole}: it was truncated",
                self.files.path().display(),
                sizes.db
            )));
        }
        Ok(sizes)
    }

    /// Moves all of the log into the file and empties it. False if a reader is in the way.
    pub(super) fn empty_log(&self) -> Result<bool, StoreError> {
        busy::with_patience(RESCUE_PATIENCE, || checkpoint(&self.connection, "TRUNCATE"))
            .map_err(failed("move its write-ahead log into the file"))
    }

    /// Lets go of the files without touching them: SQLite would move the log into the file, sync
    /// what could not be synced before, and delete, by its name, a log that may be another's.
    pub(super) fn abandon(mut self) {
        self.checkpointer.stop();
    }

    /// Moves the log into the file and closes both.
    pub(super) fn close(mut self) -> rusqlite::Result<()> {
        self.checkpointer.stop();
        leave_log(&self.connection, false)?;
        let closed = self.connection.close().map_err(|(_, error)| error);
        if !self.files.has_log() {
            // SQLite removes the log with the last connection of all processes.
            self.turnstile.remove();
        }
        closed
    }
}

/// Whether a last connection leaves the log as it is when it is closed.
pub(super) fn leave_log(connection: &Connection, leave: bool) -> rusqlite::Result<()> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, leave)
        .map(drop)
}
