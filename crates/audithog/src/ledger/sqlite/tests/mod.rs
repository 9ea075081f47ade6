//! What only a file can do or suffer.

mod digests;
mod files;
mod guards;
mod notes;
mod packed;
mod processes;
mod retention;
mod tail;
mod trouble;
mod turns;
#[cfg(feature = "posthog")]
mod verified;
mod view;

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::SqliteStore;
use super::begin::OpenReport;
use crate::clock::Clock;
use crate::ledger::tests::{NOW, run};
use crate::ledger::{StoreError, StoreErrorKind};

struct Place {
    directory: tempfile::TempDir,
    clock: Clock,
}

impl Place {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            clock: Clock::manual(NOW),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("audit.db")
    }

    fn open(&self) -> SqliteStore {
        self.try_open().unwrap().0
    }

    fn try_open(&self) -> Result<(SqliteStore, OpenReport), StoreError> {
        open_at(&self.path(), &self.clock)
    }

    /// As anyone with the file and SQLite.
    fn raw(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }
}

fn open_at(path: &Path, clock: &Clock) -> Result<(SqliteStore, OpenReport), StoreError> {
    SqliteStore::open(path, &run(), "{}", clock, 1_000)
}

fn refusal(path: &Path) -> (StoreErrorKind, String) {
    let error = open_at(path, &Clock::manual(NOW)).unwrap_err();
    (error.kind, error.message)
}
