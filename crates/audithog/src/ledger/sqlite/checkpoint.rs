//! Moving the write-ahead log into the file: most of it off the writer's thread, which moves the rest.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::error::failed;
use super::{busy, open};
use crate::ledger::{StoreError, StoreErrorKind};

/// Growth of the log after which a checkpoint is asked for. SQLite's own default is 1,000 pages.
const NUDGE: u64 = 512 << 10;
/// So much was logged since the log was last empty: the writer stops to move what is left, and the log's file is written
/// again from its start. SQLite fsyncs what was moved only then, and whoever waits for a commit waits for that too: of
/// 8 MiB it takes a tenth of a second. And a commit's fsync has half the work in a file that does not grow.
const ROUND: u64 = 1 << 20;
/// A file of this size: readers, other processes or long rows kept the log from beginning again in time. It is shortened.
const FULL: u64 = 8 << 20;
/// A log of this size means that a reader keeps it from being emptied.
const LARGE: u64 = 64 << 20;
/// The writer tries again only after a part more, at least this, or this long.
const STEP: u64 = 4 << 20;
const REST: Duration = Duration::from_secs(10);
/// How long the writer waits for readers.
const WRITER_PATIENCE: Duration = Duration::from_millis(20);
/// The same for the end of a round, which is no loss if it is missed.
const ROUND_PATIENCE: Duration = Duration::from_millis(2);
/// From this version on a log may be left as it is after it was moved (sqlite.org/wal.html, "The WAL-Reset Bug"): before, a
/// checkpoint that begins just when the log begins again can take new pages for moved ones. An emptied log has none.
const RESETS_SAFELY: i32 = 3_051_003;
/// How long closing waits for a checkpoint under way.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// The thread `audithog-checkpoint` and its connection.
#[derive(Debug)]
pub(super) struct Checkpointer {
    nudge: Option<SyncSender<()>>,
    stopped: Receiver<()>,
    /// About how much was logged since the last nudge.
    grown: u64,
    /// About how much this process has logged in this round.
    logged: u64,
    /// The size at which the writer shortens the file.
    full: u64,
    /// When it last tried that.
    tried: Option<Instant>,
    /// Of the writer's attempts.
    trouble: Trouble,
    /// Somebody keeps a large log from being emptied, and it was said.
    held_up: bool,
}

/// Attempts that fail: told once, until one succeeds.
#[derive(Debug, Default)]
struct Trouble {
    told: bool,
}

impl Trouble {
    /// True if `tried` is to be told. One that somebody was in the way of says nothing of the disk.
    fn is_news<E>(&mut self, tried: &Result<bool, E>) -> bool {
        match tried {
            Ok(true) => {
                self.told = false;
                false
            }
            Ok(false) => false,
            Err(_) => !std::mem::replace(&mut self.told, true),
        }
    }
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
        Ok(Self::new(nudge, stopped))
    }

    fn new(nudge: SyncSender<()>, stopped: Receiver<()>) -> Self {
        Self {
            nudge: Some(nudge),
            stopped,
            grown: 0,
            logged: 0,
            full: FULL,
            tried: None,
            trouble: Trouble::default(),
            held_up: false,
        }
    }

    /// The next commit logs so much besides its rows.
    pub(super) fn expect(&mut self, bytes: u64) {
        self.grown += bytes;
        self.logged += bytes;
    }

    /// After each commit: `rows` were added, and the log file has `wal_bytes`.
    pub(super) fn after_commit(
        &mut self,
        connection: &Connection,
        rows: usize,
        wal_bytes: u64,
    ) -> Result<(), StoreError> {
        let logged = estimate(rows);
        self.grown += logged;
        self.logged += logged;
        self.tend(connection, wal_bytes)?;
        // Not if the writer did it itself just now: the two would be in each other's way.
        if self.grown >= NUDGE {
            self.grown = 0;
            if let Some(nudge) = &self.nudge {
                // Full means that a checkpoint is asked for already.
                let _ = nudge.try_send(());
            }
        }
        Ok(())
    }

    /// Lets the log begin again when it is time, and shortens a file that is full, if nobody is in the way. Says once per
    /// episode who is, once the log is large, and again when it is over. An error is one of the disk.
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
            if self.logged >= ROUND {
                self.end_round(connection)?;
            }
            return Ok(());
        }
        let rested = self.tried.is_none_or(|at| at.elapsed() >= REST);
        if wal_bytes < self.full && !rested {
            return Ok(());
        }
        self.full = wal_bytes + STEP.max(wal_bytes / 4);
        self.tried = Some(Instant::now());
        let done = self.tell(shorten(connection))?;
        if !done && wal_bytes >= LARGE && !std::mem::replace(&mut self.held_up, true) {
            tracing::warn!(
                bytes = wal_bytes,
                "a reader of the audit ledger keeps its write-ahead log from being emptied, and it grows: \
                 end the long read"
            );
        }
        Ok(())
    }

    /// Lets the log begin again. Who is in the way makes its file grow: then it is shortened, some time.
    fn end_round(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let mode = if rusqlite::version_number() < RESETS_SAFELY {
            "TRUNCATE"
        } else {
            "RESTART"
        };
        if !self.tell(empty(connection, mode, ROUND_PATIENCE))? {
            self.logged = ROUND / 2;
        }
        Ok(())
    }

    /// The writer has tried it itself.
    fn tell(&mut self, tried: Result<bool, StoreError>) -> Result<bool, StoreError> {
        (self.grown, self.logged) = (0, 0);
        if self.trouble.is_news(&tried)
            && let Err(error) = &tried
        {
            tracing::warn!(%error, "audithog could not shorten its write-ahead log");
        }
        tried
    }

    /// Lets the thread end, and waits for it, but not for ever.
    pub(super) fn stop(&mut self) {
        self.nudge = None;
        // Either the thread has dropped its sender, or it is stuck in the disk and is abandoned.
        let _ = self.stopped.recv_timeout(STOP_PATIENCE);
    }
}

/// Moves the whole log into the ledger's file, and takes the room from the log's. Readers are waited for only a moment.
/// False if one was in the way.
pub(super) fn shorten(connection: &Connection) -> Result<bool, StoreError> {
    empty(connection, "TRUNCATE", WRITER_PATIENCE)
}

fn empty(connection: &Connection, mode: &str, patience: Duration) -> Result<bool, StoreError> {
    busy::with_patience(patience, || checkpoint(connection, mode))
        .map_err(failed("empty its write-ahead log"))
}

fn run(connection: &Connection, nudges: &Receiver<()>) {
    let mut trouble = Trouble::default();
    while nudges.recv().is_ok() {
        let tried = checkpoint(connection, "PASSIVE");
        if trouble.is_news(&tried)
            && let Err(error) = tried
        {
            tracing::warn!(%error, "audithog could not checkpoint its ledger; the write-ahead log grows");
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A log, and a checkpointer whose thread is this test.
    struct Scene {
        dir: tempfile::TempDir,
        connection: Connection,
        checkpointer: Checkpointer,
        nudges: Receiver<()>,
    }

    /// Rows of which a commit is taken for so many bytes, nearly.
    fn rows(bytes: u64) -> usize {
        usize::try_from(bytes / 4_096).unwrap() * 25
    }

    impl Scene {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (nudge, nudges) = mpsc::sync_channel(1);
            let (_, stopped) = mpsc::channel();
            let mut connection = Connection::open(dir.path().join("audit.db")).unwrap();
            busy::install(&mut connection).unwrap();
            connection
                .execute_batch(
                    "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE rows(data)",
                )
                .unwrap();
            Self {
                dir,
                connection,
                checkpointer: Checkpointer::new(nudge, stopped),
                nudges,
            }
        }

        fn log_bytes(&self) -> u64 {
            let log = self.dir.path().join("audit.db-wal");
            log.metadata().unwrap().len()
        }

        /// Commits 20,000 bytes, as so many rows and with a log of so many bytes. The size of its file afterwards.
        fn commit_as(&mut self, rows: usize, log_bytes: Option<u64>) -> u64 {
            self.connection
                .execute("INSERT INTO rows VALUES (zeroblob(20000))", [])
                .unwrap();
            let bytes = log_bytes.unwrap_or_else(|| self.log_bytes());
            self.checkpointer
                .after_commit(&self.connection, rows, bytes)
                .unwrap();
            self.log_bytes()
        }

        fn commit(&mut self, rows: usize) -> u64 {
            self.commit_as(rows, None)
        }

        fn is_nudged(&self) -> bool {
            self.nudges.try_recv().is_ok()
        }

        /// Reads until it is dropped.
        fn reader(&self) -> Connection {
            let reader = Connection::open(self.dir.path().join("audit.db")).unwrap();
            reader
                .execute_batch("BEGIN; SELECT count(*) FROM rows")
                .unwrap();
            reader
        }
    }

    #[test]
    fn the_log_begins_again_after_a_round_and_its_file_keeps_its_size() {
        let mut scene = Scene::new();
        let grown = [(); 3].map(|()| scene.commit(0));
        assert!(grown.is_sorted_by(|a, b| a < b), "{grown:?}");
        let full = scene.commit(rows(ROUND));
        assert!(full > grown[2]);
        // From its start.
        assert_eq!([(); 2].map(|()| scene.commit(0)), [full, full]);
        // The next round has just begun.
        let later = [(); 4].map(|()| scene.commit(0));
        assert!(later[3] > full, "{later:?}");
    }

    #[test]
    fn a_round_that_a_reader_kept_from_its_end_ends_soon_after_it() {
        let mut scene = Scene::new();
        scene.commit(0);
        let reader = scene.reader();
        let full = scene.commit(rows(ROUND));
        drop(reader);
        let still = scene.commit(0);
        assert!(still > full);
        let end = scene.commit(rows(ROUND / 2));
        assert!(end > still);
        assert_eq!(scene.commit(0), end);
    }

    #[test]
    fn the_thread_is_asked_halfway_and_not_when_the_writer_does_it() {
        let mut scene = Scene::new();
        scene.commit(rows(NUDGE) - 200);
        assert!(!scene.is_nudged());
        scene.commit(200);
        assert!(scene.is_nudged());
        scene.commit(rows(ROUND - NUDGE));
        assert!(!scene.is_nudged());
        scene.commit(rows(NUDGE));
        assert!(scene.is_nudged());
    }

    #[test]
    fn the_thread_is_asked_while_the_writer_rests_from_a_log_that_is_held_up() {
        let mut scene = Scene::new();
        scene.commit(0);
        let _reader = scene.reader();
        scene.commit_as(0, Some(LARGE));
        assert!(scene.checkpointer.held_up);
        for _ in 0..4 {
            scene.commit_as(rows(NUDGE), Some(LARGE));
            assert!(scene.is_nudged());
        }
    }

    #[test]
    fn trouble_is_told_once_until_an_attempt_succeeds() {
        let mut trouble = Trouble::default();
        let tries = [
            (Err(()), true),
            (Err(()), false),
            // Somebody was in the way.
            (Ok(false), false),
            (Err(()), false),
            (Ok(true), false),
            (Err(()), true),
        ];
        for (at, (tried, is_news)) in tries.into_iter().enumerate() {
            assert_eq!(trouble.is_news(&tried), is_news, "attempt {at}");
        }
    }
}
