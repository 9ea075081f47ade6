//! The youngest rows, kept in memory for sinks that have caught up: they take them from here instead of reading them
//! back.
//!
//! What is here is in the file too, under the same numbers, so a reader that finds its rows missing reads the file. It is
//! a stretch without a gap: rows of another process, or of a commit whose outcome was unknown, end it, and so does
//! every failure of the store. It begins anew with the next commit. A sink that falls behind would only have rows pushed out
//! before it comes to them, so once the stretch is too long nothing is kept until every sink has read to its end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ledger::{Reader, StoreError, Straggler};
use crate::record::{Micros, Row, Run, StoredRow};

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
    /// What each follower has, and whether it is still there.
    read: Vec<Option<Place>>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    /// It has the rows up to here.
    upto: i64,
    /// It read to the end of what it was asked for.
    caught_up: bool,
}

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
        stretch.read.push(Some(Place {
            upto: 0,
            caught_up: true,
        }));
        drop(stretch);
        Follower {
            tail: Arc::clone(self),
            number,
            file,
        }
    }

    /// Takes rows that were committed just now: `rows` without those at `left_out`, the last of them numbered `head`.
    pub(super) fn add(&self, run: &Arc<Run>, rows: &[Row], left_out: &[usize], head: i64) {
        let kept = rows.len() - left_out.len().min(rows.len());
        let mut stretch = self.lock();
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
        let caught_up = stretch.read.iter().flatten().all(|place| place.caught_up);
        if stretch.rows.is_empty() && !caught_up {
            return;
        }
        let mut seq = first;
        for (at, row) in rows.iter().enumerate() {
            if left_out.contains(&at) {
                continue;
            }
            stretch.bytes += row.size();
            stretch.rows.push_back(StoredRow {
                seq,
                run: Arc::clone(run),
                row: row.clone().into(),
            });
            seq += 1;
        }
        if stretch.rows.len() > self.limits.rows || stretch.bytes > self.limits.bytes {
            stretch.clear();
            for place in stretch.read.iter_mut().flatten() {
                place.caught_up = false;
            }
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
            *place = Some(Place {
                upto: end,
                caught_up: true,
            });
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

    fn read_by_all(&self) -> Option<i64> {
        self.read.iter().flatten().map(|place| place.upto).min()
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
    fn has(&self, upto: i64, caught_up: bool) {
        let mut stretch = self.tail.lock();
        if let Some(place) = stretch.read.get_mut(self.number) {
            *place = Some(Place { upto, caught_up });
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
        // What was added meanwhile is younger than what the caller knows of.
        let last = rows.last().map_or(after, |row| row.seq);
        self.has(last, rows.len() < limit || last >= upto);
        Ok(rows)
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
