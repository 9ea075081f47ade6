//! The youngest rows, kept in memory for sinks that have caught up: they take them from here instead of reading them
//! back.
//!
//! What is here is in the file too, under the same numbers, so a reader that finds its rows missing reads the file. It is
//! a stretch without a gap: rows of another process, or of a commit whose outcome was unknown, end it, and so does
//! every failure of the store. It begins anew with the next commit. A sink that falls behind would only have rows pushed out
//! before it comes to them, so once the stretch is too long nothing is kept until every sink is near the head again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ledger::{Group, Reader, StoreError, Straggler};
use crate::record::{Micros, Run, StoredRow};

/// Bounds of what is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

/// Rows that wait for a moment at most, unless a sink waits for more of them.
pub(super) const LIMITS: Limits = Limits {
    rows: 10_000,
    bytes: 4 << 20,
};

/// A sink that has more rows before it than so many times the most that are kept is not one that just fell behind: it has
/// an old backlog, and does not hurry.
const RECENT: usize = 10;

/// Shared by the store, which adds, and its followers, which take.
#[derive(Debug)]
pub(super) struct Tail {
    limits: Limits,
    stretch: Mutex<Stretch>,
}

#[derive(Debug, Default)]
struct Stretch {
    /// Numbers without a gap.
    rows: VecDeque<StoredRow>,
    bytes: usize,
    /// How far each follower is, and whether it is still there.
    read: Vec<Option<Place>>,
    /// The last row that was committed, kept or not.
    head: i64,
    /// The stretch was too long with twice as many rows as this. It begins again once no follower has more before it:
    /// they read these from the file, and meanwhile as many may come.
    near: Option<i64>,
}

/// A follower has the rows up to here. None before it asked for any.
type Place = Option<i64>;

/// A reader that looks into the tail first.
pub(super) struct Follower<R> {
    tail: Arc<Tail>,
    number: usize,
    file: R,
}

impl Tail {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            stretch: Mutex::default(),
        }
    }

    /// A follower of what is added from now on; `file` has the rest.
    pub(super) fn follow<R: Reader>(self: &Arc<Self>, file: R) -> Follower<R> {
        let mut stretch = self.lock();
        let number = stretch.read.len();
        stretch.read.push(Some(None));
        drop(stretch);
        Follower {
            tail: Arc::clone(self),
            number,
            file,
        }
    }

    /// Takes the rows of a group that was committed just now, without those at `left_out`. The last is numbered `head`.
    pub(super) fn add(&self, run: &Arc<Run>, group: &Group<'_>, left_out: &[usize], head: i64) {
        let rows = group.rows;
        let kept = rows.len() - left_out.len().min(rows.len());
        let mut stretch = self.lock();
        stretch.head = head;
        if kept == 0 || stretch.read.iter().all(Option::is_none) {
            return;
        }
        let first = head + 1 - i64::try_from(kept).unwrap_or(i64::MAX);
        if stretch
            .rows
            .back()
            .is_some_and(|last| last.seq + 1 != first)
        {
            stretch.clear();
        }
        if stretch.rows.is_empty() && !stretch.is_near(first) {
            return;
        }
        stretch.near = None;
        let mut seq = first;
        for (at, row) in rows.iter().enumerate() {
            if left_out.contains(&at) {
                continue;
            }
            stretch.bytes += row.size();
            stretch.rows.push_back(StoredRow {
                seq,
                run: Arc::clone(run),
                row: group.keep(at),
            });
            seq += 1;
        }
        if stretch.rows.len() > self.limits.rows || stretch.bytes > self.limits.bytes {
            stretch.near = Some(i64::try_from(stretch.rows.len() / 2).unwrap_or(i64::MAX));
            stretch.clear();
        }
    }

    /// Forgets everything: what is in the file may be something else.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Stretch> {
        // A panic cannot leave a gap behind: numbers are compared when rows are taken.
        self.stretch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.lock().rows.len()
    }
}

impl Stretch {
    fn clear(&mut self) {
        // With its room: an empty tail shall take none.
        self.rows = VecDeque::new();
        self.bytes = 0;
    }

    /// The rows of the range, if all are here. They leave when the last follower takes them.
    fn take(
        &mut self,
        number: usize,
        after: i64,
        upto: i64,
        limit: usize,
    ) -> Option<Vec<StoredRow>> {
        let first = self.rows.front()?.seq;
        let last = self.rows.back()?.seq;
        if after < first - 1 || last < upto {
            return None;
        }
        let wanted = usize::try_from(upto - after).ok()?.min(limit);
        let end = after + i64::try_from(wanted).ok()?;
        if let Some(place) = self.read.get_mut(number) {
            *place = Some(Some(end));
        }
        let skipped = usize::try_from(after + 1 - first).ok()?;
        let everyone = self.read_by_all().unwrap_or(end);
        let mut taken = Vec::with_capacity(wanted);
        if skipped == 0 && everyone >= end {
            for row in self.rows.drain(..wanted) {
                self.bytes = self.bytes.saturating_sub(row.row.size());
                taken.push(row);
            }
        } else {
            taken.extend(self.rows.range(skipped..skipped + wanted).cloned());
            self.forget(everyone);
        }
        Some(taken)
    }

    /// Whether every follower comes to row `first` soon.
    fn is_near(&self, first: i64) -> bool {
        let Some(near) = self.near else {
            return true;
        };
        let mut places = self.read.iter().flatten();
        places.all(|place| place.is_some_and(|upto| first - 1 - upto <= near))
    }

    /// How many rows the follower that is farthest behind has before it.
    fn longest(&self) -> usize {
        let upto = self.read_by_all().unwrap_or(self.head);
        usize::try_from(self.head - upto).unwrap_or(0)
    }

    fn read_by_all(&self) -> Option<i64> {
        let places = self.read.iter().flatten();
        places.map(|place| place.unwrap_or(0)).min()
    }

    /// Every follower has the rows up to `upto`.
    fn forget(&mut self, upto: i64) {
        while let Some(row) = self.rows.pop_front_if(|row| row.seq <= upto) {
            self.bytes = self.bytes.saturating_sub(row.row.size());
        }
    }
}

impl<R: Reader> Follower<R> {
    /// Takes note of what was read from the file.
    fn has(&self, upto: i64) {
        let mut stretch = self.tail.lock();
        if let Some(place) = stretch.read.get_mut(self.number) {
            *place = Some(Some(upto));
        }
        let everyone = stretch.read_by_all().unwrap_or(upto);
        stretch.forget(everyone);
    }
}

impl<R: Reader> Reader for Follower<R> {
    fn rows(&mut self, after: i64, upto: i64, limit: usize) -> Result<Vec<StoredRow>, StoreError> {
        if upto > after
            && limit > 0
            && let Some(rows) = self.tail.lock().take(self.number, after, upto, limit)
        {
            return Ok(rows);
        }
        let rows = self.file.rows(after, upto, limit)?;
        self.has(rows.last().map_or(after, |row| row.seq));
        Ok(rows)
    }

    fn falls_behind(&self) -> bool {
        let stretch = self.tail.lock();
        let Limits { rows, bytes } = self.tail.limits;
        let fills = stretch.rows.len() > rows / 2 || stretch.bytes > bytes / 2;
        fills || stretch.near.is_some() && stretch.longest() <= rows.saturating_mul(RECENT)
    }

    fn first(&mut self, after: i64, upto: i64) -> Result<Option<(i64, Micros)>, StoreError> {
        let stretch = self.tail.lock();
        let first = stretch.rows.front().filter(|row| row.seq <= after + 1);
        let known = first
            .and_then(|first| usize::try_from(after + 1 - first.seq).ok())
            .and_then(|at| stretch.rows.get(at))
            .filter(|row| row.seq <= upto)
            .map(|row| (row.seq, row.row.ts));
        drop(stretch);
        match known {
            Some(known) => Ok(Some(known)),
            None => self.file.first(after, upto),
        }
    }

    fn rows_by_seq(&mut self, seqs: &[i64]) -> Result<Vec<StoredRow>, StoreError> {
        self.file.rows_by_seq(seqs)
    }

    fn stragglers(&mut self, sink: &str, limit: usize) -> Result<Vec<Straggler>, StoreError> {
        self.file.stragglers(sink, limit)
    }

    fn straggler_count(&mut self, sink: &str) -> Result<u64, StoreError> {
        self.file.straggler_count(sink)
    }

    fn last_before(&mut self, before: Micros) -> Result<i64, StoreError> {
        self.file.last_before(before)
    }
}

impl<R> Drop for Follower<R> {
    fn drop(&mut self) {
        let mut stretch = self.tail.lock();
        if let Some(place) = stretch.read.get_mut(self.number) {
            *place = None;
        }
        if stretch.read.iter().all(Option::is_none) {
            stretch.clear();
        }
    }
}
