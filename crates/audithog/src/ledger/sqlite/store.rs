//! The write side.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::checkpoint::{self, Checkpointer};
use super::error::{failed, plain};
use super::file::Files;
use super::names::Names;
use super::read::SqliteReader;
use super::replay::{self, Replayed};
use super::runs::{self, Process, SIGN_OF_LIFE, UncleanStop};
use super::turn::Turnstile;
use super::{append, busy, notes, open, retention, settle, sinks};
use crate::clock::Clock;
use crate::ledger::{
    Committed, Group, Notes, Reader, Removal, SinkTotals, Size, Store, StoreError, StoreErrorKind,
    Totals,
};
use crate::record::{Micros, Row, Run};

/// A ledger open for writing.
#[derive(Debug)]
pub(crate) struct SqliteStore {
    /// None once closed, or while it cannot be reopened.
    open: Option<Open>,
    start: Start,
    clock: Clock,
    names: Names,
    totals: Totals,
    /// `PRAGMA data_version` as of `totals`; None if they must be read again.
    version: Option<i64>,
    /// Sinks that this process has: the others never delay retention.
    configured: Vec<&'static str>,
    pub(super) run: i64,
    /// Commits since the last fsync.
    unsynced: bool,
    last_sign: Duration,
    poisoned: bool,
    /// Found by opening again, not yet told.
    unclean: Vec<UncleanStop>,
    /// Opening again found another ledger, not yet told.
    replaced: bool,
}

#[derive(Debug)]
pub(super) struct Open {
    connection: Connection,
    pub(super) files: Files,
    checkpointer: Checkpointer,
    turnstile: Turnstile,
    /// `synchronous` is FULL.
    full: bool,
}

/// What a run begins with.
#[derive(Debug)]
struct Start {
    path: PathBuf,
    process: Process,
    run: Run,
    settings_json: String,
    queue_capacity: u64,
}

/// What opening found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct OpenReport {
    /// The ledger is new.
    pub(crate) created: bool,
    /// Runs that ended without saying so. Each is reported once.
    pub(crate) unclean: Vec<UncleanStop>,
    /// The settings of the service's last run, if they were others.
    pub(crate) previous_settings: Option<String>,
}

impl SqliteStore {
    /// Opens the ledger at `path`, making it (mode 0600) if there is none, and begins a run.
    ///
    /// Takes the same short time whatever the size of the file. `queue_capacity` is recorded for
    /// whoever finds that this run stopped without saying so.
    ///
    /// # Errors
    ///
    /// `Unusable` for a place that cannot be used or a file that is no ledger, `Newer` for one of a
    /// later version; neither is changed. `Busy`, `Full`, `Io`, `Corrupt` as named.
    pub(crate) fn open(
        path: &Path,
        run: &Run,
        settings_json: &str,
        clock: &Clock,
        queue_capacity: u64,
    ) -> Result<(Self, OpenReport), StoreError> {
        // Made absolute: the working directory may change before it is reopened.
        let path = std::path::absolute(path).map_err(|source| StoreError {
            kind: StoreErrorKind::Unusable,
            message: "the ledger's path cannot be used".to_owned(),
            source: Some(Box::new(source)),
        })?;
        let (open, created) = Open::at(&path)?;
        let mut store = Self {
            open: Some(open),
            start: Start {
                path,
                process: Process::current(),
                run: run.clone(),
                settings_json: settings_json.to_owned(),
                queue_capacity,
            },
            clock: clock.clone(),
            names: Names::new(),
            totals: Totals::default(),
            version: None,
            configured: Vec::new(),
            run: 0,
            unsynced: false,
            last_sign: clock.monotonic(),
            poisoned: false,
            unclean: Vec::new(),
            replaced: false,
        };
        let report = store.begin(created).map_err(|error| match error.kind {
            StoreErrorKind::Unusable => StoreError {
                message: format!(
                    "the ledger {} cannot be written",
                    store.start.path.display()
                ),
                ..error
            },
            _ => error,
        })?;
        Ok((store, report))
    }

    /// Continues this run if the file knows it, else adds it.
    fn begin(&mut self, created: bool) -> Result<OpenReport, StoreError> {
        let now = self.clock.wall();
        let Start {
            process,
            run,
            settings_json,
            queue_capacity,
            ..
        } = &self.start;
        let (process, run) = (process.clone(), run.clone());
        let (settings_json, queue_capacity) = (settings_json.clone(), *queue_capacity);
        let known = self.run;
        self.check_tail()?;
        let (number, report) = self.transact("begin a run", false, |connection, _, _| {
            let unclean = runs::take_unclean(connection, &process, run.instance.as_deref(), now)?;
            let before = runs::last_settings(connection, &run.service)?;
            let number = if runs::is_open(connection, known, &process)? {
                known
            } else {
                runs::begin(
                    connection,
                    &process,
                    &run,
                    &settings_json,
                    queue_capacity,
                    now,
                )?
            };
            let report = OpenReport {
                created,
                unclean,
                previous_settings: before.filter(|before| *before != settings_json),
            };
            Ok((number, report))
        })?;
        self.run = number;
        Ok(report)
    }

    /// The last row is the one that the head names, or all rows are pruned. A row too many would be
    /// in the way of every commit.
    fn check_tail(&mut self) -> Result<(), StoreError> {
        let (last, head, pruned): (Option<i64>, i64, i64) =
            self.transact("check its tail", false, |connection, _, _| {
                connection.query_row(
                    "SELECT (SELECT max(seq) FROM audit_rows), head, pruned FROM audit_head",
                    [],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                )
            })?;
        if last.unwrap_or(pruned) == head {
            return Ok(());
        }
        let path = self.start.path.display();
        let found = last.map_or_else(
            || "there is none".to_owned(),
            |last| format!("it is {last}"),
        );
        Err(plain(
            StoreErrorKind::Corrupt,
            format!("the ledger {path} is damaged: its last row should be {head}, and {found}"),
        ))
    }

    /// Makes dead letters of `sink` stragglers again. If there is any, the row that `record` makes of
    /// it is appended in the same transaction, which is synced.
    pub(crate) fn replay(
        &mut self,
        sink: &str,
        seqs: &[i64],
        record: impl FnOnce(&Replayed) -> Row,
    ) -> Result<Replayed, StoreError> {
        let (run, now) = (self.run, self.clock.wall());
        self.transact(
            "send dead letters again",
            true,
            |connection, names, totals| {
                let done = replay::replay(connection, totals, sink, seqs, now)?;
                if done.letters > 0 {
                    append::append(connection, names, totals, run, &[record(&done)], now)?;
                    settle::save_head(connection, totals)?;
                }
                Ok(done)
            },
        )
    }

    pub(super) fn opened(&self) -> Result<&Open, StoreError> {
        self.open
            .as_ref()
            .ok_or_else(|| plain(StoreErrorKind::Io, "the ledger is closed"))
    }

    /// Runs `work` in one write transaction with current totals, and keeps the totals it leaves.
    fn transact<T>(
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
            self.names.forget();
            self.version = None;
            self.poisoned = matches!(error.kind, StoreErrorKind::Io | StoreErrorKind::Corrupt);
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
        // Kept until the log is shortened, which takes the same lock of SQLite.
        let turn = open.turnstile.pass();
        let wal_bytes = open.files.check()?;
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
            transaction.commit()?;
            Ok((done, totals, version, head, pruned))
        };
        let (done, totals, version, head, pruned) =
            busy::with_patience(busy::PATIENCE.saturating_sub(turn.waited), attempt)
                .map_err(failed(doing))?;
        // Removing costs the log about as much as adding.
        let changed = (totals.head - head).saturating_add(totals.pruned - pruned);
        let rows = usize::try_from(changed).unwrap_or(0);
        self.totals = totals;
        self.version = Some(version);
        self.unsynced = !sync;
        if let Err(error) = open
            .checkpointer
            .after_commit(&open.connection, rows, wal_bytes)
        {
            // The commit stands; a failed checkpoint shows in the size of the log.
            tracing::warn!(%error, "audithog could not shorten its write-ahead log");
            self.poisoned |= error.kind == StoreErrorKind::Io;
        }
        drop(turn);
        Ok(done)
    }

    /// Whether a sign of life is due.
    fn sign_due(&self) -> bool {
        self.clock.monotonic().saturating_sub(self.last_sign) >= SIGN_OF_LIFE
    }
}

impl Open {
    fn at(path: &Path) -> Result<(Self, bool), StoreError> {
        let (connection, path, created) = open::writer(path)?;
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
    fn synchronous(&mut self, full: bool) -> rusqlite::Result<()> {
        if self.full != full {
            let level = if full { "FULL" } else { "NORMAL" };
            self.connection
                .execute_batch(&format!("PRAGMA synchronous = {level}"))?;
            self.full = full;
        }
        Ok(())
    }
}

impl Store for SqliteStore {
    fn commit(&mut self, group: &Group<'_>) -> Result<Committed, StoreError> {
        let sign = self.sign_due();
        let empty = group.rows.is_empty()
            && group.settlements.is_empty()
            && group.requests == 0
            && group.losses.total() == 0;
        let due = sign || self.poisoned || (group.sync && self.unsynced);
        if empty && !due {
            let checked = self.opened()?.files.check();
            self.poisoned = checked.is_err();
            return checked.map(|_| Committed {
                head: self.totals.head,
                duplicates: Vec::new(),
                not_stored: 0,
            });
        }
        let (run, now) = (self.run, self.clock.wall());
        let committed =
            self.transact("commit a group", group.sync, |connection, names, totals| {
                let (head, losses) = (totals.head, totals.losses);
                for (reason, rows) in group.losses.iter() {
                    totals.losses.add(reason, rows);
                }
                totals.requests += group.requests;
                let duplicates = append::append(connection, names, totals, run, group.rows, now)?;
                for settlement in group.settlements {
                    if sinks::may_settle(connection, settlement.sink, run)? {
                        settle::settle(connection, totals, settlement, now)?;
                    }
                }
                settle::save_losses(connection, &losses, &totals.losses, now)?;
                notes::save(connection, run, &group.notes, now)?;
                if !group.rows.is_empty() || group.requests > 0 {
                    settle::save_head(connection, totals)?;
                }
                // A settlement may repeat what is known; for an fsync something must be new.
                if sign || empty || (group.sync && totals.head == head) {
                    runs::sign_of_life(connection, run, now)?;
                }
                Ok(Committed {
                    head: totals.head,
                    duplicates,
                    not_stored: 0,
                })
            })?;
        if sign {
            self.last_sign = self.clock.monotonic();
        }
        Ok(committed)
    }

    fn wants_books(&self) -> bool {
        self.sign_due()
    }

    fn note(&mut self, notes: &Notes<'_>) -> Result<(), StoreError> {
        let (run, now) = (self.run, self.clock.wall());
        self.transact("note its state", false, |connection, _, _| {
            if notes.books.is_some() {
                runs::sign_of_life(connection, run, now)?;
            }
            notes::save(connection, run, notes, now)
        })?;
        if notes.books.is_some() {
            self.last_sign = self.clock.monotonic();
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<bool, StoreError> {
        let (run, head) = (self.run, self.totals.head);
        if let Some(mut old) = self.open.take() {
            // Ended and dropped before the next connection is made, so that nothing of the old
            // file is mistaken for the new one's.
            old.checkpointer.stop();
            drop(old);
        }
        self.poisoned = true;
        self.names.forget();
        self.version = None;
        let (open, created) = Open::at(&self.start.path)?;
        if created {
            tracing::error!(
                path = %self.start.path.display(),
                "the audit ledger was gone and is made again, empty; rows that were in it are not"
            );
        }
        self.open = Some(open);
        self.poisoned = false;
        let report = self.begin(created)?;
        self.replaced |= self.run != run || self.totals.head < head;
        self.unclean.extend(report.unclean);
        for sink in self.configured.clone() {
            self.register_sink(sink)?;
        }
        Ok(std::mem::take(&mut self.replaced))
    }

    fn take_unclean(&mut self) -> Result<Vec<UncleanStop>, StoreError> {
        let now = self.clock.wall();
        let process = self.start.process.clone();
        let instance = self.start.run.instance.clone();
        let found = self.transact("look for stopped runs", false, |connection, _, _| {
            runs::take_unclean(connection, &process, instance.as_deref(), now)
        })?;
        let mut unclean = std::mem::take(&mut self.unclean);
        unclean.extend(found);
        Ok(unclean)
    }

    fn size(&self) -> Result<Size, StoreError> {
        let open = self.opened()?;
        let number = |sql: &str| {
            open.connection
                .query_row(sql, [], |row| row.get::<_, i64>(0))
        };
        let used = || -> rusqlite::Result<i64> {
            let pages = number("PRAGMA page_count")? - number("PRAGMA freelist_count")?;
            Ok(pages * number("PRAGMA page_size")?)
        };
        Ok(Size {
            used: used().map_err(failed("be measured"))?.unsigned_abs(),
            log: open.files.check()?,
        })
    }

    fn register_sink(&mut self, sink: &'static str) -> Result<SinkTotals, StoreError> {
        let registered = self.transact("register a sink", false, |connection, _, totals| {
            sinks::register(connection, totals, sink)
        })?;
        if !self.configured.contains(&sink) {
            self.configured.push(sink);
        }
        Ok(registered)
    }

    fn lease(
        &mut self,
        sink: &'static str,
        holder: &str,
        now: Micros,
        until: Micros,
    ) -> Result<bool, StoreError> {
        let holder = sinks::holder(self.run, holder);
        let process = self.start.process.clone();
        let instance = self.start.run.instance.clone();
        let (taken, unclean) = self.transact("lease a sink", false, |connection, _, _| {
            let taken = sinks::lease(connection, sink, &holder, now, until)?;
            if taken || until <= now {
                return Ok((taken, Vec::new()));
            }
            // Nobody waits for the term of a holder that can be seen to be dead.
            let unclean = runs::take_unclean(connection, &process, instance.as_deref(), now)?;
            let taken = !unclean.is_empty() && sinks::lease(connection, sink, &holder, now, until)?;
            Ok((taken, unclean))
        })?;
        self.unclean.extend(unclean);
        Ok(taken)
    }

    fn totals(&self) -> &Totals {
        &self.totals
    }

    fn plan_removal(&mut self, before: Micros, most: i64) -> Result<Option<Removal>, StoreError> {
        let needs = retention::Needs {
            configured: &self.configured,
            now: self.clock.wall(),
        };
        // Another process may have moved the marks.
        let connection = &self.opened()?.connection;
        settle::load(connection)
            .and_then(|totals| retention::plan(connection, &totals, needs, before, most))
            .map_err(failed("look for old rows"))
    }

    fn shorten_log(&mut self) -> Result<(), StoreError> {
        self.opened()?;
        if let Some(open) = &mut self.open {
            let _turn = open.turnstile.pass();
            checkpoint::shorten(&open.connection)?;
        }
        Ok(())
    }

    fn prune(&mut self, before: Micros, limit: usize) -> Result<u64, StoreError> {
        let (configured, now) = (self.configured.clone(), self.clock.wall());
        open::triggers(&self.opened()?.connection, true).map_err(failed("guard its rows"))?;
        let pruned = self.transact("remove old rows", false, |connection, _, totals| {
            let needs = retention::Needs {
                configured: &configured,
                now,
            };
            retention::prune(connection, totals, needs, before, limit)
        });
        open::triggers(&self.opened()?.connection, false).map_err(failed("be set up"))?;
        let pruned = pruned?;
        if pruned > 0
            && let Some(open) = &mut self.open
        {
            let _turn = open.turnstile.pass();
            retention::shrink(&open.connection).map_err(failed("give space back"))?;
        }
        Ok(pruned)
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(SqliteReader::open(self.opened()?.files.path())?))
    }

    fn close(&mut self) -> Result<(), StoreError> {
        let (run, now) = (self.run, self.clock.wall());
        let ended = self.transact("end a run", true, |connection, _, _| {
            runs::end(connection, run, now)
        });
        let Some(mut open) = self.open.take() else {
            return ended;
        };
        open.checkpointer.stop();
        let closed = open
            .connection
            .close()
            .map_err(|(_, error)| failed("be closed")(error));
        if !open.files.has_log() {
            // SQLite removes the log with the last connection of all processes.
            open.turnstile.remove();
        }
        ended.and(closed)
    }
}

/// Changes when another connection has committed.
fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("PRAGMA data_version")?
        .query_row([], |row| row.get(0))
}
