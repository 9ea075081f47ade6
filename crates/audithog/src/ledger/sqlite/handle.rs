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
    /// Of a page; never changes.
    page_bytes: u64,
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
        let page_bytes = number(&connection, "PRAGMA page_size").map_err(failed("be measured"))?;
        let open = Self {
            connection,
            files,
            checkpointer,
            turnstile: Turnstile::of(&path),
            full: false,
            page_bytes,
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
        let pages = pages(&self.connection).map_err(failed("be measured"))?;
        let whole = pages * self.page_bytes;
        // Measured after the pages were counted: a checkpoint between the two only helps.
        let sizes = self.check_log()?;
        if sizes.db + sizes.wal < whole {
            return Err(damaged(format_args!(
                "the file {} has {} bytes of {whole}: it was truncated",
                self.files.path().display(),
                sizes.db
            )));
        }
        Ok(sizes)
    }

    /// The same after a commit that has counted its pages, which spares a transaction for counting. What another
    /// process has given back since is no damage, so a file that is too short is counted again.
    pub(super) fn check_committed(&self, pages: u64) -> Result<Sizes, StoreError> {
        let sizes = self.check_log()?;
        if sizes.db + sizes.wal < pages * self.page_bytes {
            return self.check_length();
        }
        Ok(sizes)
    }

    fn check_log(&self) -> Result<Sizes, StoreError> {
        let sizes = self.files.check()?;
        self.files.check_log(sizes.wal)?;
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

/// How many pages the file has, or will have once the log is moved into it; in a transaction, with its own.
pub(super) fn pages(connection: &Connection) -> rusqlite::Result<u64> {
    number(connection, "PRAGMA page_count")
}

fn number(connection: &Connection, sql: &str) -> rusqlite::Result<u64> {
    let number: i64 = connection
        .prepare_cached(sql)?
        .query_row([], |row| row.get(0))?;
    Ok(number.unsigned_abs())
}

/// Whether a last connection leaves the log as it is when it is closed.
pub(super) fn leave_log(connection: &Connection, leave: bool) -> rusqlite::Result<()> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, leave)
        .map(drop)
}
