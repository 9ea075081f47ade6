//! The read side: a connection of its own, and no transaction that outlives a call.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};

use super::append::block_at;
use super::decode::{Decoder, Gathered, Selected, flags};
use super::encode::{COLUMNS, PACKED_COLUMNS};
use super::error::{damaged, failed};
use super::file::{self, Identity};
use super::open;
use super::schema::flag;
use crate::ledger::{Reader, StoreError, StoreErrorKind, Straggler};
use crate::record::{Micros, StoredRow};

/// Reads a ledger that this or another process writes. It follows the path: a file that was
/// replaced is read from the next call on.
#[derive(Debug)]
pub(crate) struct SqliteReader {
    path: PathBuf,
    seat: Seat,
    unreadable: Arc<Unreadable>,
    /// The last row that was asked for by its number and was damaged.
    damaged: Option<i64>,
}

/// Reads in a row that met damage. A sink reads its line on while it tries a damaged straggler again and again: what is
/// read in order says nothing of rows that are asked for by number.
#[derive(Debug, Default)]
pub(super) struct Unreadable {
    in_order: AtomicU32,
    by_number: AtomicU32,
}

impl Unreadable {
    pub(super) fn most(&self) -> u32 {
        let [in_order, by_number] =
            [&self.in_order, &self.by_number].map(|reads| reads.load(Ordering::Relaxed));
        in_order.max(by_number)
    }

    pub(super) fn forget(&self) {
        self.in_order.store(0, Ordering::Relaxed);
        self.by_number.store(0, Ordering::Relaxed);
    }
}

static RANGE: LazyLock<String> = LazyLock::new(|| range_sql(COLUMNS));
static RANGE_PACKED: LazyLock<String> = LazyLock::new(|| range_sql(PACKED_COLUMNS));
static ONE: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {COLUMNS} FROM audit_rows WHERE seq = ?1"));

fn range_sql(columns: &str) -> String {
    format!("SELECT {columns} FROM audit_rows WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3")
}

/// Rows that a read makes room for; more may come.
const MOST_EXPECTED: usize = 2_000;

/// Where a reader's connection sits. The store empties the seats of its readers before it opens its
/// files anew: while one connection of the process is open, SQLite hands what it knows of the
/// write-ahead log, in shared memory, to the next, whatever became of the files.
pub(super) type Seat = Arc<Mutex<Option<Seated>>>;

#[derive(Debug)]
pub(super) struct Seated {
    /// Of the ledger, its write-ahead log and their shared memory.
    identities: [Option<Identity>; 3],
    pub(super) connection: Connection,
    decoder: Decoder,
    /// What the next range is read by: whatever suits the last one's rows.
    selected: Selected,
}

impl Seated {
    fn at(path: &Path) -> Result<Self, StoreError> {
        file::identity(path).map_err(|source| file::gone(path, Some(source)))?;
        let connection = open::reader(path)?;
        // Reading makes what is beside the file, or opens it.
        connection
            .query_row("PRAGMA schema_version", [], |row| row.get::<_, i64>(0))
            .and_then(|_| open::short_cache(&connection))
            .map_err(failed("be opened for reading"))?;
        Ok(Self {
            identities: identities(path),
            connection,
            decoder: Decoder::default(),
            selected: Selected::Packed,
        })
    }

    fn range(
        &mut self,
        after: i64,
        upto: i64,
        limit: usize,
        into: &mut Gathered,
    ) -> Result<(), StoreError> {
        let sql = match self.selected {
            Selected::All => &RANGE,
            Selected::Packed => &RANGE_PACKED,
        };
        let reading = failed("read rows");
        let mut statement = self.connection.prepare_cached(sql).map_err(&reading)?;
        let mut found = statement
            .query(params![after, upto, sql_limit(limit)])
            .map_err(&reading)?;
        let (mut rows, mut packed) = (0_u64, 0_u64);
        while let Some(row) = found.next().map_err(&reading)? {
            rows += 1;
            let flags = flags(row)?;
            let is_packed = flags & flag::PACKED != 0;
            packed += u64::from(is_packed);
            if is_packed || self.selected == Selected::All {
                self.decoder
                    .gather(&self.connection, row, flags, self.selected, into)?;
            } else {
                let seq = row.get(0).map_err(&reading)?;
                one(&self.connection, &mut self.decoder, seq, into)?;
            }
        }
        // A row that is read twice costs more than what is saved with another.
        if rows > 0 {
            self.selected = match packed * 4 >= rows * 3 {
                true => Selected::Packed,
                false => Selected::All,
            };
        }
        Ok(())
    }
}

/// The row with this number, if it is there.
fn one(
    connection: &Connection,
    decoder: &mut Decoder,
    seq: i64,
    into: &mut Gathered,
) -> Result<(), StoreError> {
    let reading = failed("read rows");
    let mut statement = connection.prepare_cached(&ONE).map_err(&reading)?;
    let mut found = statement.query([seq]).map_err(&reading)?;
    while let Some(row) = found.next().map_err(&reading)? {
        decoder.gather(connection, row, flags(row)?, Selected::All, into)?;
    }
    Ok(())
}

impl SqliteReader {
    /// `path` must be a ledger; it is opened read-only.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            path: path.to_owned(),
            seat: Arc::new(Mutex::new(Some(Seated::at(path)?))),
            unreadable: Arc::default(),
            damaged: None,
        })
    }

    pub(super) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Counts in `unreadable` from now on.
    pub(super) fn report_to(&mut self, unreadable: &Arc<Unreadable>) {
        self.unreadable = Arc::clone(unreadable);
    }

    /// Runs `read` on a connection to the files that are there now: deleted ones could be read on
    /// for ever, but what is written now is elsewhere.
    fn seated<T>(
        &self,
        read: impl FnOnce(&mut Seated) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut seat = self.seat.lock().unwrap_or_else(PoisonError::into_inner);
        if seat
            .as_ref()
            .is_none_or(|seated| seated.identities != identities(&self.path))
        {
            // The old one first: see `Seat`.
            *seat = None;
        }
        match &mut *seat {
            Some(seated) => read(seated),
            None => Seated::at(&self.path).and_then(|seated| read(seat.insert(seated))),
        }
    }

    /// Checks the next `limit` rows after `after`: no number is missing and every column is
    /// readable. Returns the last number checked, None at the end of the log. The whole log is
    /// checked in slices, so that no read transaction lives long.
    ///
    /// # Errors
    ///
    /// `Corrupt` with what is wrong.
    pub(crate) fn check(&mut self, after: i64, limit: usize) -> Result<Option<i64>, StoreError> {
        let rows = self.rows(after, i64::MAX, limit)?;
        Ok(rows.last().map(|row| row.seq))
    }

    /// The rows of the range that retention has not removed, all of them.
    fn gapless(&self, after: i64, upto: i64, limit: usize) -> Result<Vec<StoredRow>, StoreError> {
        let rows = self.range(after, upto, limit)?;
        let mut numbers = after + 1..;
        let gapless = rows.iter().all(|row| numbers.next() == Some(row.seq));
        let whole =
            rows.len() >= limit || after.max(rows.last().map_or(after, |row| row.seq)) >= upto;
        if gapless && whole {
            return Ok(rows);
        }
        // Rows beyond the head, or removed ones, or a damaged page: its numbers may end a range
        // without an error. Asked in this order, appends and retention in between do no harm.
        let head = self.mark("head")?;
        let rows = self.range(after, upto, limit)?;
        let pruned = self.mark("pruned")?;
        let missing = |last: i64| {
            Err(damaged(format_args!(
                "row {} is missing",
                last.max(pruned) + 1
            )))
        };
        let mut last = after;
        for row in &rows {
            if row.seq != last + 1 && row.seq - 1 > pruned {
                return missing(last);
            }
            last = row.seq;
        }
        let end = upto.min(head);
        if rows.len() < limit && last.max(pruned) < end {
            return missing(last);
        }
        Ok(rows)
    }

    fn range(&self, after: i64, upto: i64, limit: usize) -> Result<Vec<StoredRow>, StoreError> {
        let expected = usize::try_from(upto.saturating_sub(after)).unwrap_or(0);
        let mut rows = Gathered::with_capacity(expected.min(limit).min(MOST_EXPECTED));
        self.seated(|seated| seated.range(after, upto, limit, &mut rows))?;
        Ok(rows.into_rows())
    }

    /// Only the damaged row itself can show that it is none: others are asked for in between.
    fn note_one(&mut self, seq: i64, read: &Result<(), StoreError>) {
        match read {
            Ok(()) if self.damaged == Some(seq) => {
                self.damaged = None;
                self.unreadable.by_number.store(0, Ordering::Relaxed);
            }
            Err(error) if error.kind == StoreErrorKind::Corrupt => {
                self.damaged = Some(seq);
                self.unreadable.by_number.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    fn mark(&self, column: &str) -> Result<i64, StoreError> {
        self.seated(|seated| {
            seated
                .connection
                .query_row(&format!("SELECT {column} FROM audit_head"), [], |row| {
                    row.get(0)
                })
                .map_err(failed("read its head"))
        })
    }
}

impl Reader for SqliteReader {
    fn rows(&mut self, after: i64, upto: i64, limit: usize) -> Result<Vec<StoredRow>, StoreError> {
        let rows = self.gapless(after, upto, limit);
        match &rows {
            Ok(_) => self.unreadable.in_order.store(0, Ordering::Relaxed),
            Err(error) if error.kind == StoreErrorKind::Corrupt => {
                self.unreadable.in_order.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {}
        }
        rows
    }

    fn rows_by_seq(&mut self, seqs: &[i64]) -> Result<Vec<StoredRow>, StoreError> {
        let mut rows = Gathered::with_capacity(seqs.len());
        for seq in seqs {
            let read =
                self.seated(|seated| one(&seated.connection, &mut seated.decoder, *seq, &mut rows));
            self.note_one(*seq, &read);
            read?;
        }
        Ok(rows.into_rows())
    }

    fn stragglers(&mut self, sink: &str, limit: usize) -> Result<Vec<Straggler>, StoreError> {
        let reading = failed("read stragglers");
        self.seated(|seated| {
            let mut statement = seated
                .connection
                .prepare_cached(
                    "SELECT seq, attempts, since_ts, next_ts, reason FROM audit_stragglers
                 WHERE sink = ?1 ORDER BY next_ts, seq LIMIT ?2",
                )
                .map_err(&reading)?;
            let found = statement.query_map(params![sink, sql_limit(limit)], |row| {
                Ok(Straggler {
                    seq: row.get(0)?,
                    attempts: row.get(1)?,
                    since: Micros(row.get(2)?),
                    next: Micros(row.get(3)?),
                    reason: row.get(4)?,
                })
            });
            found.and_then(Iterator::collect).map_err(&reading)
        })
    }

    fn straggler_count(&mut self, sink: &str) -> Result<u64, StoreError> {
        let count: Option<i64> = self.seated(|seated| {
            seated
                .connection
                .prepare_cached("SELECT stragglers FROM audit_sinks WHERE sink = ?1")
                .and_then(|mut of_sink| of_sink.query_row([sink], |row| row.get(0)).optional())
                .map_err(failed("count stragglers"))
        })?;
        Ok(count.map_or(0, super::settle::count))
    }

    fn last_before(&mut self, before: Micros) -> Result<i64, StoreError> {
        self.seated(|seated| {
            last_before(&seated.connection, before).map_err(failed("look up a time"))
        })
    }
}

/// The end of the last block whose `high_ts`, which only grows along the log, is before `before`.
/// If there is none, the last row that retention removed.
pub(super) fn last_before(connection: &Connection, before: Micros) -> rusqlite::Result<i64> {
    let first: Option<i64> = connection
        .prepare_cached("SELECT first_seq FROM audit_blocks ORDER BY first_seq LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let pruned: i64 = connection
        .prepare_cached("SELECT pruned FROM audit_head")?
        .query_row([], |row| row.get(0))?;
    let (Some(mut low), Some(last)) = (first, block_at(connection, i64::MAX)?) else {
        return Ok(pruned);
    };
    let mut high = last.last;
    let mut answer = pruned;
    while low <= high {
        let middle = low + (high - low) / 2;
        let Some(block) = block_at(connection, middle)? else {
            break;
        };
        if block.high < before.0 {
            answer = block.last;
            low = block.last + 1;
        } else {
            high = block.first - 1;
        }
    }
    Ok(answer.max(pruned))
}

fn identities(path: &Path) -> [Option<Identity>; 3] {
    ["", "-wal", "-shm"].map(|suffix| {
        let found = file::identity(&file::beside(path, suffix));
        found.ok().map(|(identity, _)| identity)
    })
}

fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
