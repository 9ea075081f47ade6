//! Moving the write-ahead log into the file, off the writer's thread.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::error::failed;
use super::{busy, open};
use crate::ledger::{StoreError, StoreErrorKind};

/// Growth of the log after which a checkpoint is asked for. SQLite's own default is 1,000 pages.
const NUDGE: u64 = 4 << 20;
/// A log of this size was not moved completely while rows came in: the writer stops for that. SQLite fsyncs what was
/// moved only then, and whoever waits for a commit waits for that too; of 64 MiB it takes a fifth of a second.
const FULL: u64 = 8 << 20;
/// A log of this size means that a reader keeps it from being emptied.
const LARGE: u64 = 64 << 20;
/// The writer tries again only after a part more, at least this, or this long.
const STEP: u64 = 4 << 20;
const REST: Duration = Duration::from_secs(10);
/// How long the writer waits for readers.
const WRITER_PATIENCE: Duration = Duration::from_millis(20);
/// How long closing waits for a checkpoint under way.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// The thread `audithog-checkpoint` and its connection.
#[derive(Debug)]
pub(super) struct Checkpointer {
    nudge: Option<SyncSender<()>>,
    stopped: Receiver<()>,
    /// About how much was logged since the last nudge.
    grown: u64,
    /// The size at which the writer checkpoints itself.
    full: u64,
    /// When it last did.
    tried: Option<Instant>,
    /// Somebody keeps a large log from being emptied, and it was said.
    held_up: bool,
}

impl Checkpointer {
    pub(super) fn start(path: &Path) -> Result<Self, StoreError> {
        let connection = open::checkpointer(path)?;
        let (nudge, nudges) = mpsc::sync_channel(1);
        let (stopping, stopped) = mpsc::channel();
        thread::Builder::new()
            .name("audithog-checkpoint".to_owned())
            .spawn(move || {
                run(&connection, &nudges);
                drop(connection);
                drop(stopping);
            })
            .map_err(|source| StoreError {
                kind: StoreErrorKind::Io,
                message: "the ledger could not start its checkpoint thread".to_owned(),
                source: Some(Box::new(source)),
            })?;
        Ok(Self {
            nudge: Some(nudge),
            stopped,
            grown: 0,
            full: FULL,
            tried: None,
            held_up: false,
        })
    }

    /// After each commit: `rows` were added, and the log file has `wal_bytes`.
    pub(super) fn after_commit(
        &mut self,
        connection: &Connection,
        rows: usize,
        wal_bytes: u64,
    ) -> Result<(), StoreError> {
        self.grown += estimate(rows);
        if self.grown >= NUDGE {
            self.grown = 0;
            if let Some(nudge) = &self.nudge {
                // Full means that a checkpoint is asked for already.
                let _ = nudge.try_send(());
            }
        }
        self.tend(connection, wal_bytes)
    }

    /// Shortens a log that is full, if nobody is in the way. Says once per episode who is, once the log is large, and
    /// again when it is over. An error is one of the disk.
    pub(super) fn tend(
        &mut self,
        connection: &Connection,
        wal_bytes: u64,
    ) -> Result<(), StoreError> {
        if wal_bytes < FULL {
            self.full = FULL;
            self.tried = None;
            if std::mem::take(&mut self.held_up) {
                tracing::info!(
                    bytes = wal_bytes,
                    "the audit ledger's write-ahead log is short again"
                );
            }
            return Ok(());
        }
        let rested = self.tried.is_none_or(|at| at.elapsed() >= REST);
        if wal_bytes < self.full && !rested {
            return Ok(());
        }
        self.full = wal_bytes + STEP.max(wal_bytes / 4);
        self.tried = Some(Instant::now());
        let done = shorten(connection)?;
        if !done && wal_bytes >= LARGE && !std::mem::replace(&mut self.held_up, true) {
            tracing::warn!(
                bytes = wal_bytes,
                "a reader of the audit ledger keeps its write-ahead log from being emptied, and it grows: \
                 end the long read"
            );
        }
        Ok(())
    }

    /// Lets the thread end, and waits for it, but not for ever.
    pub(super) fn stop(&mut self) {
        self.nudge = None;
        // Either the thread has dropped its sender, or it is stuck in the disk and is abandoned.
        let _ = self.stopped.recv_timeout(STOP_PATIENCE);
    }
}

/// Moves the whole log into the file and empties it. Readers are waited for only a moment.
/// False if one was in the way.
pub(super) fn shorten(connection: &Connection) -> Result<bool, StoreError> {
    busy::with_patience(WRITER_PATIENCE, || checkpoint(connection, "TRUNCATE"))
        .map_err(failed("shorten its write-ahead log"))
}

fn run(connection: &Connection, nudges: &Receiver<()>) {
    let mut failing = false;
    while nudges.recv().is_ok() {
        match checkpoint(connection, "PASSIVE") {
            Ok(_) => failing = false,
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "audithog could not checkpoint its ledger; the write-ahead log grows");
                }
                failing = true;
            }
        }
    }
}

/// False if it was left incomplete because of readers: that is no error, the next one goes on.
pub(super) fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<bool> {
    let pragma = format!("PRAGMA wal_checkpoint({mode})");
    let (busy, log, moved): (i64, i64, i64) = connection.query_row(&pragma, [], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    Ok(busy == 0 && log == moved)
}

/// Pages of 4 KiB that a commit logs: the rows' own, about 25 to a page, and the fixed ones (head,
/// block, counters, inner pages). Readers of the log's size would see its high-water mark, because
/// a log that was checkpointed is written again from its start.
fn estimate(rows: usize) -> u64 {
    (rows as u64 / 25 + 5) * 4_096
}
