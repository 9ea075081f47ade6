//! Work of the writer that nobody waits for.

use std::sync::Arc;
use std::time::Duration;

use super::{CHORES_EVERY, PRUNE_ROWS, Writer};
use crate::ledger::{Removal, StoreError, StoreErrorKind};
use crate::record::Micros;

/// Most transactions that remove rows before something else gets its turn.
const PRUNES_AT_ONCE: usize = 50;
/// Rows that one of them removes while the disk is full: the pages they were on go through the log.
const PRUNE_ROWS_FULL: usize = 250;

/// Rest between two stretches whose rows are read to keep them by column.
const DIGEST_REST: Duration = Duration::from_millis(250);

/// Rows that are about to be removed, in small transactions. The row that tells of it is committed.
#[derive(Debug)]
pub(super) struct Removing {
    /// The age that was asked for.
    before: Micros,
    upto: i64,
    /// There may be more to remove when this is done.
    partial: bool,
}

impl Writer {
    /// Work that nobody waits for.
    pub(super) fn chores(&mut self) {
        let now = self.clock.monotonic();
        if now < self.next_chores || self.board.progress().failing {
            return;
        }
        self.tend();
        let retained = {
            let board = Arc::clone(&self.board);
            let _under_way = board.under_way();
            self.retain(PRUNE_ROWS)
        };
        match retained {
            // The mark of time stays, and the next round goes on.
            Ok(true) => return,
            Ok(false) => {}
            Err(error) if error.kind == StoreErrorKind::Full => {
                self.use_reserve();
            }
            Err(error) => {
                tracing::warn!(%error, "old audit rows could not be removed; tried again in a minute");
            }
        }
        self.next_chores = now + CHORES_EVERY;
        self.note_unclean();
    }

    /// Keeps a part of a full stretch by column: between two of them other things have their turn. A stretch that this process did
    /// not write itself is read for it, one at a time.
    pub(super) fn digest(&mut self) {
        if self.board.progress().failing {
            return;
        }
        let now = self.clock.monotonic();
        let reads = now >= self.next_digest;
        let found = self.store.digest(reads);
        if let Err(error) = &found {
            // Questions read the rows instead.
            tracing::debug!(%error, "rows could not be kept by column; tried again in a minute");
        }
        let more = matches!(found, Ok(true));
        self.digests = more && !reads;
        if reads {
            self.next_digest = now + if more { DIGEST_REST } else { CHORES_EVERY };
        }
    }

    /// An idle ledger is looked after too. What is found wrong is mended with the next commit, which
    /// is asked for at once.
    fn tend(&mut self) {
        if let Err(error) = self.store.tend() {
            tracing::debug!(%error, "the ledger needs to be opened anew");
            self.sync_asked = true;
            self.commit(&Arc::default(), 0, Vec::new());
        }
        self.board.stands(self.store.standing());
    }

    /// Removes what may go, as far as a full disk lets it, each time after the row that says so.
    pub(super) fn remove_some(&mut self) {
        for _ in 0..PRUNES_AT_ONCE {
            match self.retain(PRUNE_ROWS_FULL) {
                Ok(true) => {
                    self.commit_urgent(false);
                    // Emptied for the next step, the log does not grow.
                    if !self.unkept.is_empty() || !self.store.make_room() {
                        return;
                    }
                }
                Ok(false) => return,
                Err(error) => {
                    tracing::debug!(
                        %error,
                        cause = error.source.as_ref().map(tracing::field::display),
                        "no row could be removed"
                    );
                    return;
                }
            }
        }
    }

    /// Removes a few rows of what is to be removed, or decides what is. True when there is more to do.
    fn retain(&mut self, rows: usize) -> Result<bool, StoreError> {
        let Some(removing) = &self.removing else {
            return self.plan_removal();
        };
        let (before, upto, partial) = (removing.before, removing.upto, removing.partial);
        let left = upto - self.store.totals().pruned;
        let limit = usize::try_from(left).unwrap_or(0).min(rows);
        // Nothing: another process was faster, or another ledger is here.
        let removed = match limit {
            0 => 0,
            _ => self.store.prune(before, limit)?,
        };
        if removed > 0 && self.store.totals().pruned < upto {
            return Ok(true);
        }
        self.removing = None;
        Ok(partial)
    }

    /// By age, then by size. True if something is to be removed, after the row that says so.
    fn plan_removal(&mut self) -> Result<bool, StoreError> {
        if let Some(retention) = self.retention {
            let before = self.clock.wall().saturating_sub(retention);
            if let Some(removal) = self.store.plan_removal(before, i64::MAX)? {
                self.begin_removal(removal, before, "age", false);
                return Ok(true);
            }
        }
        let Some(excess) = self.excess()? else {
            self.too_large = false;
            return Ok(false);
        };
        let all = Micros(i64::MAX);
        if let Some(removal) = self.store.plan_removal(all, excess)? {
            // A single transaction is not worth another look: what is left may be no rows.
            let partial = removal.upto - removal.after >= excess;
            self.begin_removal(removal, all, "size", partial);
            return Ok(true);
        }
        if !self.too_large {
            self.too_large = true;
            tracing::warn!(
                "the audit ledger is larger than AUDITHOG_DB_MAX_BYTES and nothing may be removed: a destination \
                 has not got these rows; they are kept, and new ones too"
            );
        }
        Ok(false)
    }

    /// About how many rows there are too many. The log beside the file is no measure: it is as large as it was once,
    /// whatever is removed. So it is shortened where it makes the difference.
    fn excess(&mut self) -> Result<Option<i64>, StoreError> {
        let Some(most) = self.max_bytes else {
            return Ok(None);
        };
        let size = self.store.size()?;
        if size.used + size.log > most && size.log > 0 {
            self.store.shorten_log()?;
        }
        if size.used <= most {
            return Ok(None);
        }
        let totals = self.store.totals();
        let rows = u64::try_from(totals.head - totals.pruned).unwrap_or(0);
        let share = u128::from(rows) * u128::from(size.used - most) / u128::from(size.used);
        let least = i64::try_from(PRUNE_ROWS).unwrap_or(i64::MAX);
        Ok(Some(i64::try_from(share).unwrap_or(i64::MAX).max(least)))
    }

    fn begin_removal(
        &mut self,
        removal: Removal,
        before: Micros,
        reason: &'static str,
        partial: bool,
    ) {
        self.own.note_removal(removal, reason);
        self.removing = Some(Removing {
            before,
            upto: removal.upto,
            partial,
        });
    }

    /// Counts the rows that the store wrote by itself; how many.
    pub(super) fn count_told(&mut self) -> u64 {
        let rows = self.store.take_told();
        self.queue.accept_own(rows);
        self.queue.settle(rows, [], self.clock.wall());
        rows
    }

    /// The same, and lets sinks see them.
    pub(super) fn publish_told(&mut self) {
        if self.count_told() > 0 {
            self.publish_found();
        }
    }

    /// The same, with what other processes have written since a commit showed it: a sink whose own process is idle
    /// would wait for the next heartbeat. It is not fsynced by this process before its next sync.
    pub(super) fn publish_others(&mut self) {
        if self.count_told() > 0 || self.store.totals().head != self.board.progress().head {
            self.publish_found();
        }
    }

    fn publish_found(&mut self) {
        let progress = self.board.progress();
        let settled = match self.settlements.is_empty() {
            true => self.ticket,
            false => progress.settled,
        };
        if progress.failing {
            // By a lease, though the disk is full.
            self.board.urgent(self.store.totals(), false, settled);
        } else {
            self.publish(false, settled);
        }
    }

    /// Other processes' runs, and this one's own past, that ended without saying so.
    fn note_unclean(&mut self) {
        match self.store.take_unclean() {
            // Told by the store, in the same transaction.
            Ok(_) => self.publish_told(),
            Err(error) => tracing::debug!(%error, "stopped runs could not be looked for"),
        }
    }
}
