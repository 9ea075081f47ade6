//! The ledger: the record of truth, and the durable queue that sinks read.
//!
//! It knows no sink: a sink is a name with a cursor. Two stores answer the same calls, an SQLite
//! file and, for `AUDITHOG_DB=off`, a bounded memory. The writer thread owns the one [`Store`];
//! everyone else reads through a [`Reader`] of their own.

pub(crate) mod check;
mod filter;
mod memory;
pub(crate) mod own_rows;
pub(crate) mod place;
pub(crate) mod progress;
mod slice;
mod sqlite;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use uuid::Uuid;

use crate::books::Losses;
use crate::error::{Error, Kind};
use crate::record::{Micros, Row, SharedRow, StoredRow};

pub(crate) use filter::{Condition, REFUSED_CODES, REFUSED_STATUS, RowFilter};
pub(crate) use memory::MemoryStore;
pub(crate) use slice::{Column, Columns, FAILURE, HTTP, Slice};
pub(crate) use sqlite::CURRENT_SCHEMA;
#[cfg(any(test, fuzzing))]
pub(crate) use sqlite::fuzz;
pub(crate) use sqlite::{
    ACCESS, Access, AdHoc, AdHocEnd, AdHocLimits, Content, DEAD_LETTERS, Direction, Dismissed,
    Extent, Facts, Glance, LetterFilter, LetterRow, Looker, LossFact, OpenReport, OpenRun,
    Replayed, RunFact, RunLife, SinkFact, SqliteReader, SqliteStore, UncleanStop, Walk,
    Whereabouts, append_beside, lacks_access, put_aside_before, reserve_in_use, space,
};
#[cfg(feature = "posthog")]
pub(crate) use sqlite::{Compared, Passed, verify};

/// What one commit makes permanent, all or nothing.
#[derive(Debug, Default)]
pub(crate) struct Group<'a> {
    pub(crate) rows: &'a [Row],
    /// Where `rows` are, if whoever keeps one of them may keep all that is there.
    pub(crate) buffer: Option<Buffer<'a>>,
    /// Losses counted since the last commit, for the persisted totals. The `audit_loss` rows that
    /// tell of them are ordinary `rows`.
    pub(crate) losses: Losses,
    /// Requests seen since the last commit, for the persisted total.
    pub(crate) requests: u64,
    pub(crate) settlements: &'a [Settlement],
    /// Written if the group is; on their own they make no commit.
    pub(crate) notes: Notes<'a>,
    /// Return only after an fsync that covers this commit and all before it.
    pub(crate) sync: bool,
    /// Rows that tell of losses or of what was removed: they may use the reserve of a full disk.
    pub(crate) urgent: bool,
    /// After so many rows the core is offered to requests. None if somebody waits for the group, or too many rows have
    /// piled up.
    pub(crate) gives_way_every: Option<usize>,
}

/// The rows of a group and of those beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffer<'a> {
    pub(crate) rows: &'a Arc<Vec<Row>>,
    /// Where the group begins.
    pub(crate) first: usize,
}

impl Group<'_> {
    /// Row `at` of the group, to be kept.
    pub(crate) fn keep(&self, at: usize) -> SharedRow {
        match self.buffer {
            Some(Buffer { rows, first }) => SharedRow::among(rows, first + at),
            None => self.rows[at].clone().into(),
        }
    }
}

/// What the process says of itself and of its sinks, for other processes to read in the file.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Notes<'a> {
    pub(crate) states: &'a [SinkState],
    /// The process's own counts, as JSON.
    pub(crate) books: Option<&'a str>,
    /// Why the ledger could not be written, now that it can.
    pub(crate) trouble: Option<&'a str>,
}

/// What the driver of a sink says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SinkState {
    pub(crate) sink: &'static str,
    pub(crate) at: Micros,
    /// When the sink last took a row; none: not from this driver.
    pub(crate) last_success: Option<Micros>,
    pub(crate) breaker: &'static str,
    /// None: since the driver began.
    pub(crate) breaker_since: Option<Micros>,
    pub(crate) hold: Option<HoldState>,
    /// None: not from this driver.
    pub(crate) last_error: Option<(Micros, String)>,
}

/// Why a sink sends nothing until somebody acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HoldState {
    pub(crate) reason: &'static str,
    pub(crate) since: Micros,
    pub(crate) detail: String,
    pub(crate) remedy: &'static str,
}

/// What a commit did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    /// The sequence number of the last row in the ledger: of the last of these, if any was kept.
    pub(crate) head: i64,
    /// Indexes into `Group::rows` that were refused: their caller-supplied id exists. They took no
    /// sequence number and were added to the persisted total of `LossReason::DuplicateId`.
    pub(crate) duplicates: Vec<usize>,
    /// The last rows of `Group::rows` that a bounded memory store had no room for. They took no
    /// sequence number and were added to the total of `LossReason::MemoryFull`.
    pub(crate) not_stored: usize,
}

/// What is settled of one sink's rows since its last settlement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settlement {
    pub(crate) sink: &'static str,
    /// Every row up to here is settled or a straggler. Never moves back.
    pub(crate) cursor: i64,
    pub(crate) delivered: u64,
    pub(crate) sampled_out: u64,
    pub(crate) held_back: u64,
    pub(crate) dead: Vec<DeadLetter>,
    /// Inserted, or replaced when the sequence number is a straggler already.
    pub(crate) stragglers: Vec<Straggler>,
    /// Sequence numbers that are no stragglers any more: delivered, or in `dead`.
    pub(crate) resolved: Vec<i64>,
    /// The sink has proved that PostHog keeps what it accepts (read-back).
    pub(crate) verified: bool,
}

/// A row that a sink refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeadLetter {
    pub(crate) seq: i64,
    pub(crate) ts: Micros,
    pub(crate) reason: String,
}

/// A row that needs another try on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Straggler {
    pub(crate) seq: i64,
    pub(crate) attempts: u32,
    /// When it first failed on its own; before that, when it became a straggler.
    pub(crate) since: Micros,
    /// Not tried before.
    pub(crate) next: Micros,
    pub(crate) reason: String,
}

/// The persisted counters; O(1) to load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// `stored`: the head of the sequence, whatever retention removed.
    pub(crate) head: i64,
    /// Rows up to here are pruned.
    pub(crate) pruned: i64,
    pub(crate) requests: u64,
    pub(crate) losses: Losses,
    pub(crate) sinks: BTreeMap<String, SinkTotals>,
}

/// One sink's counters. `head - began = delivered + sampled_out + held_back + dead + pending`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SinkTotals {
    /// The sink's first row is the one after this.
    pub(crate) began: i64,
    pub(crate) cursor: i64,
    pub(crate) delivered: u64,
    pub(crate) sampled_out: u64,
    pub(crate) held_back: u64,
    pub(crate) dead: u64,
    pub(crate) stragglers: u64,
    pub(crate) verified: bool,
}

impl SinkTotals {
    /// Rows that wait: after the cursor, or stragglers.
    pub(crate) fn pending(&self, head: i64) -> u64 {
        u64::try_from(head - self.cursor).unwrap_or(0) + self.stragglers
    }
}

/// A damaged ledger that was put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quarantined {
    /// Where its file is now.
    pub(crate) file: PathBuf,
    /// Its last sequence number, if that could be known: the new ledger goes on after it.
    pub(crate) head: Option<i64>,
    /// How many rows it held at most.
    pub(crate) held: u64,
}

/// How a store stands, for health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Size of SQLite's write-ahead log.
    pub(crate) log_bytes: u64,
    /// Damaged ledgers that were put aside and are still there.
    pub(crate) damaged: Arc<[PathBuf]>,
}

/// The write side. One thread owns it.
pub(crate) trait Store: Send {
    /// Makes a group permanent. On an error nothing of it was kept.
    fn commit(&mut self, group: &Group<'_>) -> Result<Committed, StoreError>;

    /// Whether the next commit should carry the process's own counts.
    fn wants_books(&self) -> bool {
        false
    }

    /// Writes notes by themselves, without an fsync; with the counts goes a sign of life. A store that nobody else reads keeps none.
    fn note(&mut self, _notes: &Notes<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    /// After an I/O error: closes what is left and opens the same place anew. A handle whose fsync
    /// failed is never used again. A group whose commit failed may be there after all. True if
    /// another ledger is there now: a new one, or one that does not know what was stored last.
    fn reopen(&mut self) -> Result<bool, StoreError>;

    /// Runs of other processes that stopped without saying so, each told once: those found by
    /// opening, and those that could not be judged then.
    fn take_unclean(&mut self) -> Result<Vec<UncleanStop>, StoreError>;

    /// What opening again has put aside, told once.
    fn take_quarantined(&mut self) -> Option<Quarantined> {
        None
    }

    fn standing(&self) -> Standing {
        Standing::default()
    }

    /// On a full disk: frees what is kept back for urgent groups and for removing rows. It is taken
    /// back, as soon as that is possible, before other rows are committed. False if there is none.
    fn make_room(&mut self) -> bool {
        false
    }

    /// Gives free pages back to a full disk, more than an ordinary removal of rows does.
    fn give_back(&mut self) {}

    /// Looks after itself while nothing is committed: whether the files are still there and whole,
    /// and whether the log can be shortened.
    fn tend(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Keeps a part of a full stretch of rows by column, for questions. With `reads` also a whole one whose rows have to be read, which takes some ten
    /// milliseconds. True if there may be another.
    fn digest(&mut self, _reads: bool) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// How many rows it wrote itself since the last call: those that tell of such runs, in the transaction that found
    /// them.
    fn take_told(&mut self) -> u64 {
        0
    }

    /// How many rows it would take now.
    fn room(&self) -> usize {
        usize::MAX
    }

    /// Space taken now.
    fn size(&self) -> Result<Size, StoreError>;

    /// Makes a sink known. A new sink begins at the pruning mark, so that it gets what is held.
    fn register_sink(&mut self, sink: &'static str) -> Result<SinkTotals, StoreError>;

    /// Takes or renews the right to drive `sink` until `until`. False while another holder has it.
    /// The holder that is already recorded, and only it, renews; `until <= now` releases.
    fn lease(
        &mut self,
        sink: &'static str,
        holder: &str,
        now: Micros,
        until: Micros,
    ) -> Result<bool, StoreError>;

    fn totals(&self) -> &Totals;

    /// How often this run has signed the file. Every commit that adds no row signs: without a row, that tells
    /// whether a commit of unknown outcome is there. None while the store has failed and is not opened anew: nothing
    /// is tried then, and a signature before may be of unknown outcome too.
    fn signs(&self) -> Option<u64> {
        Some(0)
    }

    /// Rows of this run after `after`, with their ids, in order.
    fn own_rows(&self, _after: i64) -> Result<Vec<(i64, Uuid)>, StoreError> {
        Ok(Vec::new())
    }

    /// What [`prune`](Self::prune) will remove once a row has told of it: at most `most` rows. Changes nothing.
    fn plan_removal(&mut self, _before: Micros, _most: i64) -> Result<Option<Removal>, StoreError> {
        Ok(None)
    }

    /// Makes the log file of [`Size::log`] short, if nobody reads it.
    fn shorten_log(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Removes rows that were committed before `before`, and that every sink of this process, and every one that
    /// is driven by another, has settled; oldest first, at most `limit` rows in one short transaction. Returns
    /// how many. Moves the pruning mark with it.
    fn prune(&mut self, before: Micros, limit: usize) -> Result<u64, StoreError>;

    /// A reader of its own connection, for another thread.
    fn reader(&self) -> Result<Box<dyn Reader>, StoreError>;

    /// A reader for a sink: what it reads in order, soon after the commit, may come from memory.
    fn follower(&self) -> Result<Box<dyn Reader>, StoreError> {
        self.reader()
    }

    /// Marks the run as ended in good order, syncs and closes. The store is unusable afterwards.
    fn close(&mut self) -> Result<(), StoreError>;
}

/// The read side. Reads only; no read transaction outlives the call.
pub(crate) trait Reader: Send {
    /// Rows with `after < seq <= upto`, in order, at most `limit`.
    fn rows(&mut self, after: i64, upto: i64, limit: usize) -> Result<Vec<StoredRow>, StoreError>;

    /// Whether rows come faster than they are read: memory, which only holds so many, fills, or it has just been full.
    fn falls_behind(&self) -> bool {
        false
    }

    /// Number and arrival of the first row with `after < seq <= upto`, which is not counted as read.
    fn first(&mut self, after: i64, upto: i64) -> Result<Option<(i64, Micros)>, StoreError> {
        let rows = self.rows(after, upto, 1)?;
        Ok(rows.first().map(|row| (row.seq, row.row.ts)))
    }

    /// The rows with these numbers; pruned ones are absent.
    fn rows_by_seq(&mut self, seqs: &[i64]) -> Result<Vec<StoredRow>, StoreError>;

    /// Stragglers of `sink` by `next` time, at most `limit`.
    fn stragglers(&mut self, sink: &str, limit: usize) -> Result<Vec<Straggler>, StoreError>;

    /// How many stragglers `sink` has. O(1).
    fn straggler_count(&mut self, sink: &str) -> Result<u64, StoreError>;

    /// The number of the last row that arrived before `before`, judged by blocks: every row up to
    /// it is older. For the back-fill limit.
    fn last_before(&mut self, before: Micros) -> Result<i64, StoreError>;
}

/// Rows that may be removed: a prefix of what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Removal {
    /// The pruning mark: the rows begin after it.
    pub(crate) after: i64,
    pub(crate) upto: i64,
    /// How many of them a sink has refused for good.
    pub(crate) dead_letters: u64,
}

/// Space that a store takes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// Pages in use; free pages are used again before the file grows.
    pub(crate) used: u64,
    /// SQLite's write-ahead log.
    pub(crate) log: u64,
}

/// Why the store could not do what was asked.
#[derive(Debug)]
pub(crate) struct StoreError {
    pub(crate) kind: StoreErrorKind,
    pub(crate) message: String,
    pub(crate) source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// For callers of the library.
impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let kind = match error.kind {
            StoreErrorKind::Newer => Kind::NewerLedger,
            StoreErrorKind::Late => Kind::Deadline,
            _ => Kind::Ledger,
        };
        let plain = Self::new(kind, error.message);
        match error.source {
            Some(source) => plain.with_source(source),
            None => plain,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreErrorKind {
    /// Another process writes; try again.
    Busy,
    /// No space left.
    Full,
    /// An I/O error, a failed fsync, a file that is gone or replaced.
    Io,
    /// The file is damaged.
    Corrupt,
    /// The file was written by a newer version.
    Newer,
    /// Not an audithog ledger, no permission, not a usable place.
    Unusable,
    /// A reader's deadline passed.
    Late,
}

impl StoreErrorKind {
    /// What somebody can do about it.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Busy => "find the process that keeps the file locked",
            Self::Full => "make room on the disk",
            Self::Io => "look at the disk, the kernel's log, and whether the file is still there",
            Self::Corrupt => "keep the file with its -wal and -shm, and look at the disk",
            Self::Newer => "start the newer version",
            Self::Late => "ask for less, or wait longer",
            Self::Unusable => "check the path, its permissions, and whether the disk is read-only",
        }
    }
}

impl StoreError {
    pub(crate) fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn std::error::Error + 'static))
    }
}
