//! Reads of the ledger for the loop: what to send, what to leave out, how old the oldest is.

use std::time::Duration;

use super::{Driver, log};
use crate::delivery::Progress;
use crate::delivery::course::Now;
use crate::ledger::{Settlement, SinkTotals, StoreError};

/// A failed read of the ledger is tried again after this.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// After a read that took longer the core is offered to others. Rows from memory come sooner: to offer the core after
/// each few of them would cost milliseconds each time, and the rows behind them would be pushed out of memory.
const QUICK: Duration = Duration::from_micros(50);

impl Driver<'_> {
    /// On a sink's first start, leaves out what is older than the back-fill limit.
    pub(super) fn hold_back(
        &mut self,
        totals: &mut SinkTotals,
        progress: &Progress,
        now: Now,
    ) -> Result<(), StoreError> {
        let Some(backfill) = self.context.plan.backfill else {
            return Ok(());
        };
        let first_start = SinkTotals {
            began: totals.began,
            cursor: totals.began,
            verified: totals.verified,
            ..SinkTotals::default()
        };
        if *totals != first_start {
            return Ok(());
        }
        let before = now.wall.saturating_sub(backfill);
        let last = self.survivors.reader.last_before(before)?;
        let last = last.min(progress.head);
        let Ok(held_back @ 1..) = u64::try_from(last - totals.cursor) else {
            return Ok(());
        };
        log::held_back(self.context.plan.sink.name(), held_back, before);
        totals.cursor = last;
        totals.held_back = held_back;
        self.settle(Settlement {
            sink: self.context.plan.sink.name(),
            cursor: last,
            held_back,
            ..Settlement::default()
        });
        Ok(())
    }

    pub(super) fn read(&mut self, after: i64, upto: i64, limit: usize, now: Now) -> bool {
        let begun = self.context.clock.monotonic();
        match self.survivors.reader.rows(after, upto, limit) {
            Ok(rows) => {
                let more = rows.len() >= limit;
                let last = rows.last().map(|row| row.seq);
                let upto = last.filter(|_| more).unwrap_or(upto);
                if let Some(course) = &mut self.course {
                    course.feed(rows, upto, now);
                }
                self.read_again();
                if self.context.clock.monotonic().saturating_sub(begun) > QUICK {
                    // Requests go first.
                    std::thread::yield_now();
                }
                true
            }
            Err(error) => {
                self.read_failed(&error, now);
                false
            }
        }
    }

    pub(super) fn read_stragglers(&mut self, seqs: &[i64]) -> bool {
        let rows = self.survivors.reader.rows_by_seq(seqs);
        // A read of a bad disk may take seconds.
        let now = self.now();
        let Some(course) = &mut self.course else {
            return false;
        };
        match rows {
            Ok(rows) => {
                course.feed_stragglers(seqs, rows, now);
                self.stragglers_read(seqs);
            }
            // The line does not wait for them.
            Err(error) => {
                course.postpone_stragglers(seqs, now.wall.saturating_add(READ_PAUSE));
                if course.breaker.is_probing() {
                    // A probe takes stragglers before their time.
                    self.survivors.resume_at = now.monotonic.saturating_add(READ_PAUSE);
                }
                self.stragglers_failed(seqs, &error);
            }
        }
        true
    }

    fn stragglers_read(&mut self, seqs: &[i64]) {
        let before = self.stuck.len();
        for seq in seqs {
            self.stuck.remove(seq);
        }
        if before > 0 && self.stuck.is_empty() {
            log::stragglers_readable(self.context.plan.sink.name());
        }
    }

    fn stragglers_failed(&mut self, seqs: &[i64], error: &StoreError) {
        self.status.read_errors += 1;
        if self.stuck.is_empty() {
            log::stragglers_unreadable(self.context.plan.sink.name(), error);
        }
        self.stuck.extend(seqs);
    }

    pub(super) fn read_again(&mut self) {
        if std::mem::take(&mut self.unreadable) {
            log::readable(self.context.plan.sink.name());
        }
    }

    pub(super) fn read_failed(&mut self, error: &StoreError, now: Now) {
        self.status.read_errors += 1;
        self.survivors.resume_at = now.monotonic.saturating_add(READ_PAUSE);
        if !std::mem::replace(&mut self.unreadable, true) {
            log::unreadable(self.context.plan.sink.name(), error);
        }
    }

    /// Arrival of the oldest row that is not settled.
    pub(super) fn look_for_oldest(&mut self, progress: &Progress) {
        let Some(course) = &self.course else {
            return;
        };
        let stragglers = course.stragglers.oldest();
        let line = course.line.oldest();
        let cursor = course.line.cursor();
        let unread = course.line.read() == cursor && progress.synced > cursor;
        let line = if unread && self.first_pending.is_none_or(|(seq, _)| seq <= cursor) {
            // One read per batch: the answer holds until the cursor passes it.
            let first = self.survivors.reader.first(cursor, progress.synced);
            self.first_pending = first.ok().flatten();
            self.first_pending.map(|(_, ts)| ts)
        } else if unread {
            self.first_pending.map(|(_, ts)| ts)
        } else {
            line
        };
        self.status.oldest_pending = [line, stragglers].into_iter().flatten().min();
    }
}
