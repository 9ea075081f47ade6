//! One write transaction, whatever is written.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::error::{failed, plain};
use super::names::Names;
use super::store::SqliteStore;
use super::{busy, handle, settle};
use crate::ledger::{StoreError, StoreErrorKind, Totals};

impl SqliteStore {
    /// Runs `work` in one write transaction with current totals, and keeps the totals it leaves.
    pub(super) fn transact<T>(
        &mut self,
        doing: &'static str,
        sync: bool,
        work: impl FnOnce(&Connection, &mut Names, &mut Totals) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        if self.poisoned {
            return Err(plain(
                StoreErrorKind::Io,
                "the ledger failed before and must be reopened",
            ));
        }
        let result = self.transact_unpoisoned(doing, sync, work);
        if let Err(error) = &result {
            self.tail.clear();
            self.collector.forget();
            self.names.forget();
            self.version = None;
            self.note_failure(error);
        }
        result
    }

    fn transact_unpoisoned<T>(
        &mut self,
        doing: &'static str,
        sync: bool,
        work: impl FnOnce(&Connection, &mut Names, &mut Totals) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let Some(open) = &mut self.open else {
            return Err(plain(StoreErrorKind::Io, "the ledger is closed"));
        };
        // Kept until the log is emptied, which takes the same lock of SQLite.
        let turn = open.turnstile.pass();
        open.files.check()?;
        // What the log holds since the disk failed is not safe before it is in the file.
        if sync && self.suspect {
            if !open.empty_log()? {
                return Err(plain(
                    StoreErrorKind::Busy,
                    "a reader keeps the ledger from moving its log into the file, as it must after an error of the disk",
                ));
            }
            self.suspect = false;
        }
        open.synchronous(sync).map_err(failed(doing))?;
        let attempt = || {
            // Immediate, because a transaction that begins as a reader can fail to become a writer.
            let transaction =
                Transaction::new_unchecked(&open.connection, TransactionBehavior::Immediate)?;
            let version = data_version(&transaction)?;
            let mut totals = if self.version == Some(version) {
                self.totals.clone()
            } else {
                settle::load(&transaction)?
            };
            let (head, pruned) = (totals.head, totals.pruned);
            let done = work(&transaction, &mut self.names, &mut totals)?;
            let pages = handle::pages(&transaction)?;
            transaction.commit()?;
            Ok((done, totals, version, pages, head, pruned))
        };
        let (done, totals, version, pages, head, pruned) =
            busy::with_patience(busy::PATIENCE.saturating_sub(turn.waited), attempt)
                .map_err(failed(doing))?;
        // Into files that are gone nothing was written.
        let sizes = open.check_committed(pages)?;
        self.log_bytes = sizes.wal;
        // Removing costs the log about as much as adding.
        let changed = (totals.head - head).saturating_add(totals.pruned - pruned);
        let rows = usize::try_from(changed).unwrap_or(0);
        self.totals = totals;
        self.version = Some(version);
        self.unsynced = !sync;
        if let Err(error) = open
            .checkpointer
            .after_commit(&open.connection, rows, sizes.wal)
        {
            // The commit stands; a failed checkpoint shows in the size of the log.
            self.note_failure(&error);
        }
        drop(turn);
        Ok(done)
    }
}

/// Changes when another connection has committed.
fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("PRAGMA data_version")?
        .query_row([], |row| row.get(0))
}
