//! The write side.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use uuid::Uuid;

use super::begin::Start;
use super::digest::{Collector, Line};
use super::error::{failed, plain};
use super::file::Identity;
use super::handle::Open;
use super::names::Names;
use super::read::{Seated, SqliteReader, Unreadable};
use super::reserve::Reserve;
use super::runs::{self, SIGN_OF_LIFE, UncleanStop};
use super::tail::Tail;
use super::{append, checkpoint, damage, notes, open, retention, settle, sinks, unclean};
use crate::clock::Clock;
use crate::ledger::{
    Committed, Group, Notes, Quarantined, Reader, Removal, SinkTotals, Size, Standing, Store,
    StoreError, StoreErrorKind, Totals,
};
use crate::record::Micros;

/// A ledger open for writing.
#[derive(Debug)]
pub(crate) struct SqliteStore {
    /// None once closed, or while it cannot be reopened.
    pub(super) open: Option<Open>,
    pub(super) start: Start,
    pub(super) clock: Clock,
    pub(super) names: Names,
    pub(super) totals: Totals,
    /// `PRAGMA data_version` as of `totals`; None if they must be read again.
    pub(super) version: Option<i64>,
    /// Sinks that this process has: the others never delay retention.
    pub(super) configured: Vec<&'static str>,
    pub(super) run: i64,
    /// Commits since the last fsync.
    pub(super) unsynced: bool,
    pub(super) last_sign: Duration,
    /// See `Store::signs`.
    pub(super) signs: u64,
    pub(super) poisoned: bool,
    /// Found by opening again, not yet told.
    pub(super) unclean: Vec<UncleanStop>,
    /// Rows that the store itself wrote since it was asked last.
    pub(super) told: u64,
    /// Opening again found another ledger, not yet told.
    pub(super) replaced: bool,
    /// The file that was opened last knew this run.
    pub(super) continued: bool,
    pub(super) reserve: Reserve,
    /// Reads in a row that met damage, of the readers that were given out.
    pub(super) unreadable: Arc<Unreadable>,
    /// Which file was opened last.
    pub(super) ledger: Option<Identity>,
    /// Failures in a row that tell of damage.
    pub(super) damage: u32,
    /// The disk failed: what the log holds may be in the system's memory only, though it can be read.
    pub(super) suspect: bool,
    /// A damaged file was put aside, not yet told.
    pub(super) quarantined: Option<Quarantined>,
    /// Damaged files that are still beside the ledger.
    pub(super) aside: Arc<[PathBuf]>,
    /// Of the readers that were given out.
    pub(super) seats: RefCell<Vec<Weak<Mutex<Option<Seated>>>>>,
    pub(super) log_bytes: u64,
    /// For the followers.
    pub(super) tail: Arc<Tail>,
    /// Of the stretch under way.
    pub(super) collector: Collector,
    /// What is counted of the rows of a commit; only its memory is kept.
    pub(super) lines: Vec<Line>,
    /// Stretches before this one have a digest, or can have none.
    pub(super) digested: i64,
}

impl SqliteStore {
    fn file_reader(&self) -> Result<SqliteReader, StoreError> {
        let mut reader = SqliteReader::open(self.opened()?.files.path())?;
        reader.report_to(&self.unreadable);
        let mut seats = self.seats.borrow_mut();
        seats.retain(|seat| seat.strong_count() > 0);
        seats.push(Arc::downgrade(reader.seat()));
        Ok(reader)
    }

    pub(super) fn opened(&self) -> Result<&Open, StoreError> {
        self.open
            .as_ref()
            .ok_or_else(|| plain(StoreErrorKind::Io, "the ledger is closed"))
    }

    /// Whether a sign of life is due.
    fn sign_due(&self) -> bool {
        self.clock.monotonic().saturating_sub(self.last_sign) >= SIGN_OF_LIFE
    }
}

impl Store for SqliteStore {
    fn commit(&mut self, group: &Group<'_>) -> Result<Committed, StoreError> {
        self.check_readers()?;
        if !group.rows.is_empty() && !group.urgent && !self.poisoned {
            self.check_room()?;
        }
        let sign = self.sign_due();
        let empty = group.rows.is_empty()
            && group.settlements.is_empty()
            && group.requests == 0
            && group.losses.total() == 0;
        let due = sign || self.poisoned || (group.sync && self.unsynced);
        if empty && !due {
            let checked = self.opened()?.files.check();
            if let Err(error) = &checked {
                self.note_failure(error);
            }
            return checked.map(|_| Committed {
                head: self.totals.head,
                duplicates: Vec::new(),
                not_stored: 0,
            });
        }
        let (run, now) = (self.run, self.clock.wall());
        let mut lines = std::mem::take(&mut self.lines);
        let (committed, signed) =
            self.transact("commit a group", group.sync, |connection, names, totals| {
                let (head, losses) = (totals.head, totals.losses);
                for (reason, rows) in group.losses.iter() {
                    totals.losses.add(reason, rows);
                }
                totals.requests += group.requests;
                let rows = append::Rows {
                    rows: group.rows,
                    run,
                    now,
                    gives_way_every: group.gives_way_every,
                };
                let duplicates = append::append(connection, names, totals, rows, &mut lines)?;
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
                // A settlement may repeat what is known; for an fsync something must be new. And without a row
                // nothing else tells whether this commit is there, should its outcome stay unknown.
                let signed = sign || totals.head == head;
                if signed {
                    runs::sign_of_life(connection, run, now)?;
                }
                if sign {
                    runs::go_on(connection, run)?;
                }
                let committed = Committed {
                    head: totals.head,
                    duplicates,
                    not_stored: 0,
                };
                Ok((committed, signed))
            })?;
        self.signs += u64::from(signed);
        if sign {
            self.last_sign = self.clock.monotonic();
        }
        self.damage = 0;
        self.collector.add(&lines, committed.head);
        self.lines = lines;
        self.tail.add(
            &self.start.run,
            group,
            &committed.duplicates,
            committed.head,
        );
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
                runs::go_on(connection, run)?;
            }
            notes::save(connection, run, notes, now)
        })?;
        if notes.books.is_some() {
            self.signs += 1;
            self.last_sign = self.clock.monotonic();
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<bool, StoreError> {
        self.open_again()
    }

    fn take_quarantined(&mut self) -> Option<Quarantined> {
        self.quarantined.take()
    }

    fn standing(&self) -> Standing {
        Standing {
            log_bytes: self.log_bytes,
            damaged: Arc::clone(&self.aside),
        }
    }

    fn make_room(&mut self) -> bool {
        self.free_reserve()
    }

    fn give_back(&mut self) {
        self.shrink_hard();
    }

    fn tend(&mut self) -> Result<(), StoreError> {
        self.aside = damage::put_aside_before(&open::real_path(&self.start.path)).into();
        if self.poisoned {
            return Ok(());
        }
        let checked = self.look_after();
        if let Err(error) = &checked {
            self.note_failure(error);
        }
        checked
    }

    fn digest(&mut self, reads: bool) -> Result<bool, StoreError> {
        self.digest_next(reads)
    }

    fn take_unclean(&mut self) -> Result<Vec<UncleanStop>, StoreError> {
        let (start, run, clock) = (self.start.clone(), self.run, self.clock.clone());
        let found = self.transact(
            "look for stopped runs",
            false,
            |connection, names, totals| start.teller(run, &clock).tell(connection, names, totals),
        )?;
        self.told += unclean::told(&found);
        let mut unclean = std::mem::take(&mut self.unclean);
        unclean.extend(found);
        Ok(unclean)
    }

    fn take_told(&mut self) -> u64 {
        std::mem::take(&mut self.told)
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
            log: open.files.check()?.wal,
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
        let (start, run, clock) = (self.start.clone(), self.run, self.clock.clone());
        let (taken, unclean) =
            self.transact("lease a sink", false, |connection, names, totals| {
                let taken = sinks::lease(connection, sink, &holder, now, until)?;
                if taken || until <= now {
                    return Ok((taken, Vec::new()));
                }
                // Nobody waits for the term of a holder that can be seen to be dead.
                let unclean = start.teller(run, &clock).tell(connection, names, totals)?;
                let taken =
                    !unclean.is_empty() && sinks::lease(connection, sink, &holder, now, until)?;
                Ok((taken, unclean))
            })?;
        self.told += unclean::told(&unclean);
        self.unclean.extend(unclean);
        Ok(taken)
    }

    fn totals(&self) -> &Totals {
        &self.totals
    }

    fn signs(&self) -> Option<u64> {
        (!self.poisoned).then_some(self.signs)
    }

    fn own_rows(&self, after: i64) -> Result<Vec<(i64, Uuid)>, StoreError> {
        append::of_run(&self.opened()?.connection, self.run, after).map_err(failed("look for rows"))
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
        Ok(Box::new(self.file_reader()?))
    }

    fn follower(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(self.tail.follow(self.file_reader()?)))
    }

    fn close(&mut self) -> Result<(), StoreError> {
        let (run, now) = (self.run, self.clock.wall());
        let ended = self.transact("end a run", true, |connection, _, _| {
            runs::end(connection, run, now)
        });
        let Some(open) = self.open.take() else {
            return ended;
        };
        if self.poisoned {
            // What failed is not used again, and the next start finds what is there.
            open.abandon();
            return ended;
        }
        ended.and(open.close().map_err(failed("be closed")))
    }
}
