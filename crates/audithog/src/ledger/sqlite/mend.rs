//! Opening: the first time, and again after a failure, with what a failed disk or a damaged file
//! asks for.

use std::sync::{PoisonError, TryLockError, Weak};
use std::time::{Duration, Instant};

use super::begin::OpenReport;
use super::damage::{self, Aside};
use super::error::{damaged, failed, is_disk_error, is_no_database};
use super::file::{self, Identity, Left};
use super::handle::Open;
use super::open;
use super::reserve::Reserve;
use super::store::SqliteStore;
use crate::config::OnDamage;
use crate::ledger::{Quarantined, Store as _, StoreError, StoreErrorKind};

/// How long opening again waits for a reader in the midst of a read.
const READER_PATIENCE: Duration = Duration::from_secs(5);

/// So many reads in a row that meet damage are no accident; delivery makes one a second.
const UNREADABLE: u32 = 3;
/// Megabytes that a full disk gets back at a time.
const SHRINKS: usize = 16;

impl SqliteStore {
    pub(super) fn open_first(&mut self) -> Result<OpenReport, StoreError> {
        let real = open::real_path(&self.start.path);
        self.aside = damage::put_aside_before(&real).into();
        if !self.aside.is_empty() {
            tracing::warn!(
                files = ?self.aside,
                "damaged audit ledgers were put aside here: keep them, and move them away once their rows are saved"
            );
        }
        let before = file::identity(&real).ok();
        let was_here = super::reserve::path(&real).exists();
        let report = match self.open_or_put_aside() {
            Err(error) if error.kind == StoreErrorKind::Full && self.reserve.release_found() => {
                self.open_or_put_aside()
            }
            result => result,
        }?;
        if report.created && self.quarantined.is_none() {
            if before.is_some() {
                tracing::warn!(
                    path = %self.start.path.display(),
                    "the audit ledger's file was empty, and a new log begins in it"
                );
            } else if was_here {
                tracing::error!(
                    path = %self.start.path.display(),
                    "the audit ledger that was here is gone, and a new one begins; rows that were in it are not here"
                );
            }
        }
        self.reserve.take_first();
        Ok(report)
    }

    /// See `Store::reopen`.
    pub(super) fn open_again(&mut self) -> Result<bool, StoreError> {
        let head = self.totals.head;
        self.leave();
        let report = self.open_or_put_aside()?;
        if report.created && self.quarantined.is_none() {
            tracing::error!(
                path = %self.start.path.display(),
                "the audit ledger was gone and is made again, empty; rows that were in it are not"
            );
        }
        self.replaced |= !self.continued || self.totals.head < head || self.quarantined.is_some();
        self.unclean.extend(report.unclean);
        if self.suspect {
            self.suspect = !self.opened()?.empty_log()?;
        }
        for sink in self.configured.clone() {
            self.register_sink(sink)?;
        }
        Ok(std::mem::take(&mut self.replaced))
    }

    /// Gives up what is open, so that nothing of it is mistaken for what will be there next.
    fn leave(&mut self) {
        self.poisoned = true;
        self.unreadable.forget();
        self.names.forget();
        self.tail.clear();
        self.version = None;
        self.forget_digests();
        let Some(old) = self.open.take() else {
            return;
        };
        self.empty_seats();
        let (left, path) = (old.files.left(), old.files.path().to_owned());
        if !self.suspect && self.damage == 0 && left == Left::Ledger {
            rescue(&old);
        }
        old.abandon();
        if left == Left::Nothing {
            // Closed, its number may be given to the next file that is made.
            self.ledger = None;
        }
        if left == Left::Nothing && !path.exists() {
            // The log of a file that is gone: SQLite would delete it, and to the next opening it
            // would look like damage.
            match damage::put_aside(&path, None, None, self.clock.wall()) {
                Ok(aside) => aside.quarantined.iter().for_each(log_without_file),
                Err(error) => {
                    tracing::debug!(%error, "what was beside the ledger stays there");
                }
            }
        }
    }

    fn empty_seats(&self) {
        let until = Instant::now() + READER_PATIENCE;
        for seat in self.seats.borrow().iter().filter_map(Weak::upgrade) {
            loop {
                match seat.try_lock() {
                    Ok(mut seat) => *seat = None,
                    Err(TryLockError::Poisoned(poisoned)) => {
                        *PoisonError::into_inner(poisoned) = None;
                    }
                    Err(TryLockError::WouldBlock) if Instant::now() < until => {
                        // A read lasts milliseconds, or its disk hangs.
                        std::thread::park_timeout(Duration::from_millis(1));
                        continue;
                    }
                    Err(TryLockError::WouldBlock) => {}
                }
                break;
            }
        }
    }

    /// Opens, and puts a damaged file aside first if that is asked for. Never begins a new ledger in
    /// the place of one that is there otherwise.
    fn open_or_put_aside(&mut self) -> Result<OpenReport, StoreError> {
        let path = self.start.path.clone();
        let found = file::identity(&path).ok().map(|(identity, _)| identity);
        if found.is_none() || found != self.ledger {
            // Another process has put the damaged file aside: what is here now is not damaged.
            self.damage = 0;
        }
        let error = if self.damage < 2 {
            match self.open_and_begin(false) {
                Err(error) if self.is_damage(&error, found) => error,
                result => return result,
            }
        } else {
            // Opening finds nothing wrong, but every commit does.
            StoreError::new(
                StoreErrorKind::Corrupt,
                format!(
                    "the ledger {} is damaged: rows cannot be added",
                    path.display()
                ),
            )
        };
        if self.start.care.damaged == OnDamage::Refuse {
            return Err(error);
        }
        if let Some(open) = self.open.take() {
            open.abandon();
        }
        let known = (self.run > 0).then_some((self.totals.head, self.totals.pruned));
        let Aside { quarantined, lock } =
            damage::put_aside(&open::real_path(&path), found, known, self.clock.wall())?;
        if let Some(quarantined) = quarantined {
            tracing::error!(
                %error,
                cause = error.source.as_ref().map(tracing::field::display),
                file = %quarantined.file.display(),
                rows = quarantined.held,
                "the audit ledger is damaged: it is put aside and a new one begins"
            );
            self.quarantined = Some(quarantined);
            self.suspect = false;
        }
        self.damage = 0;
        self.aside = damage::put_aside_before(&open::real_path(&path)).into();
        let opened = self.open_and_begin(true);
        drop(lock);
        opened
    }

    /// `locked`: the lock of the directory is held.
    fn open_and_begin(&mut self, locked: bool) -> Result<OpenReport, StoreError> {
        let known = self.ledger;
        let (open, created) = Open::at(&self.start.path, known, locked)?;
        let after = self.quarantined.as_ref().and_then(|aside| aside.head);
        if let Some(head) = after.filter(|_| created) {
            open::begin_after(&open.connection, head)?;
        }
        self.ledger = Some(open.files.ledger());
        self.open = Some(open);
        self.poisoned = false;
        self.version = None;
        self.forget_digests();
        let begun = self
            .opened()
            .and_then(Open::check_length)
            .and_then(|_| self.check_head(known))
            .and_then(|()| self.begin(created));
        self.poisoned |= begun.is_err();
        begun
    }

    /// The same file with fewer rows than it had has lost its log, or a part of it. To go on would
    /// give their numbers to others.
    fn check_head(&self, known: Option<Identity>) -> Result<(), StoreError> {
        if self.run == 0 || known != self.ledger {
            return Ok(());
        }
        let head: i64 = self
            .opened()?
            .connection
            .query_row("SELECT head FROM audit_head", [], |row| row.get(0))
            .map_err(failed("be read"))?;
        if head >= self.totals.head {
            return Ok(());
        }
        Err(damaged(format_args!(
            "{} ends with row {head}, and had {}",
            self.start.path.display(),
            self.totals.head
        )))
    }

    /// Whether an error of opening tells of a ledger that is damaged, and not of another file.
    fn is_damage(&self, error: &StoreError, found: Option<Identity>) -> bool {
        // No database any more: ours, until somebody wrote over it.
        let overwritten = is_no_database(error) && found.is_some() && found == self.ledger;
        error.kind == StoreErrorKind::Corrupt || overwritten
    }

    /// What a failed call means for those that follow.
    pub(super) fn note_failure(&mut self, error: &StoreError) {
        self.poisoned |= matches!(error.kind, StoreErrorKind::Io | StoreErrorKind::Corrupt);
        self.suspect |= is_disk_error(error);
        self.damage += u32::from(error.kind == StoreErrorKind::Corrupt);
    }

    /// A sink whose rows cannot be read would wait for ever. Its reads came to nothing again and
    /// again, and its files are those that are open here.
    pub(super) fn check_readers(&mut self) -> Result<(), StoreError> {
        let sure = self.unreadable.most() >= UNREADABLE;
        let Some(open) = self.open.as_ref().filter(|_| sure && !self.poisoned) else {
            return Ok(());
        };
        if self.start.care.damaged == OnDamage::Refuse || open.files.check().is_err() {
            return Ok(());
        }
        self.poisoned = true;
        // Opening would find nothing.
        self.damage = 2;
        Err(damaged("rows that a sink has not got cannot be read"))
    }

    /// See `Store::make_room`.
    pub(super) fn free_reserve(&mut self) -> bool {
        let Some(open) = self.open.as_ref().filter(|_| !self.poisoned) else {
            return false;
        };
        // Before and after: the log's own space is the first that can be had.
        for release in [false, true] {
            if release && !self.reserve.release() {
                return false;
            }
            match open.empty_log() {
                Err(error) if error.kind != StoreErrorKind::Full => {
                    tracing::debug!(
                        %error,
                        cause = error.source.as_ref().map(tracing::field::display),
                        "the log could not be emptied"
                    );
                    self.note_failure(&error);
                    return false;
                }
                _ => {}
            }
        }
        true
    }

    /// See `Store::give_back`. Errors are those of a full disk, and of the next commit.
    pub(super) fn shrink_hard(&mut self) {
        let Some(open) = self.open.as_ref().filter(|_| !self.poisoned) else {
            return;
        };
        let shrink = || -> rusqlite::Result<bool> {
            let connection = &open.connection;
            let free: i64 = connection.query_row("PRAGMA freelist_count", [], |row| row.get(0))?;
            if free == 0 {
                return Ok(false);
            }
            // One step a page: a single step would give back a single page.
            let mut vacuum = connection.prepare("PRAGMA incremental_vacuum(256)")?;
            let mut pages = vacuum.query([])?;
            while pages.next()?.is_some() {}
            Ok(true)
        };
        for _ in 0..SHRINKS {
            if !shrink().is_ok_and(|more| more) || open.empty_log().is_err() {
                return;
            }
        }
    }

    /// Whether rows may be appended: the reserve is whole, and where it should be.
    pub(super) fn check_room(&mut self) -> Result<(), StoreError> {
        if self.reserve.is_whole() {
            return Ok(());
        }
        // A directory that is gone is no full disk.
        let there = self.opened()?.files.check();
        if let Err(error) = &there {
            self.note_failure(error);
        }
        there.and(Err(Reserve::waits_for_room()))
    }

    /// See `Store::tend`.
    pub(super) fn look_after(&mut self) -> Result<(), StoreError> {
        self.check_readers()?;
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let sizes = open.check_length()?;
        self.log_bytes = sizes.wal;
        open.checkpointer.tend(&open.connection, sizes.wal)
    }
}

/// The file is gone, and its last rows may be in its log alone: whoever has the file needs both.
fn log_without_file(aside: &Quarantined) {
    let log = file::beside(&aside.file, "-wal");
    if std::fs::metadata(&log).is_ok_and(|found| found.len() > 0) {
        tracing::warn!(
            log = %log.display(),
            "the audit ledger's file went away without its write-ahead log: the log is kept; give it to the file, as \
             its -wal, before somebody opens the file"
        );
    }
}

/// Only the log is gone: the handle that still has it moves what it held into the file.
fn rescue(old: &Open) {
    if !old.files.only_log_is_gone() {
        return;
    }
    match old.empty_log() {
        Ok(true) => tracing::warn!(
            path = %old.files.path().display(),
            "the audit ledger's write-ahead log was deleted under the service; what it held was saved"
        ),
        Ok(false) => tracing::error!(
            path = %old.files.path().display(),
            "the audit ledger's write-ahead log was deleted under the service, and a reader kept what it held from \
             being saved"
        ),
        Err(error) => tracing::error!(
            %error,
            path = %old.files.path().display(),
            "the audit ledger's write-ahead log was deleted under the service, and what it held could not be saved"
        ),
    }
}
