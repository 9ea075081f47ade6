//! When the store keeps a stretch by column.

use super::super::error::failed;
use super::super::store::SqliteStore;
use super::{Line, PARTS, Part, STRETCH, build, is_there};
use crate::ledger::StoreError;

impl SqliteStore {
    /// Keeps a part of the stretch by column that was collected, and as many as it takes where more than one is full: what is
    /// collected must not pile up. Or with `reads` a whole one whose rows are read.
    pub(in super::super) fn digest_next(&mut self, reads: bool) -> Result<bool, StoreError> {
        if !reads && self.collector.full().is_none() {
            return Ok(false);
        }
        self.check_room()?;
        let mut collector = std::mem::take(&mut self.collector);
        let mut kept = false;
        while let Some((stretch, part, lines)) = collector.full() {
            self.keep_part(stretch, part, lines)?;
            collector.saved();
            kept = true;
            if !collector.is_behind() {
                break;
            }
        }
        self.collector = collector;
        if kept || !reads {
            return Ok(kept);
        }
        let Some(stretch) = self.undigested()? else {
            return Ok(false);
        };
        let lines =
            build(&self.opened()?.connection, stretch).map_err(failed("be read by column"))?;
        if let Some(lines) = lines {
            for part in 0..PARTS {
                self.keep_part(stretch, part, &lines)?;
            }
        }
        self.digested = stretch + 1;
        Ok(true)
    }

    #[cfg(test)]
    pub(in super::super) fn collected(&self) -> usize {
        self.collector.held()
    }

    fn keep_part(&mut self, stretch: i64, part: usize, lines: &[Line]) -> Result<(), StoreError> {
        let part = Part::of(stretch, part, lines);
        if let Some(open) = &mut self.open {
            open.checkpointer.expect(part.bytes());
        }
        self.transact("keep rows by column", false, |connection, _, _| {
            part.save(connection)
        })
    }

    /// The file may be another one.
    pub(in super::super) fn forget_digests(&mut self) {
        self.collector.forget();
        self.digested = 0;
    }

    /// The first full stretch that has no digest.
    fn undigested(&mut self) -> Result<Option<i64>, StoreError> {
        let first = (self.totals.pruned + STRETCH - 1) / STRETCH;
        self.digested = self.digested.max(first);
        let connection = &self.opened()?.connection;
        let mut stretch = self.digested;
        while (stretch + 1) * STRETCH <= self.totals.head {
            if !is_there(connection, stretch).map_err(failed("be looked through"))? {
                self.digested = stretch;
                return Ok(Some(stretch));
            }
            stretch += 1;
        }
        self.digested = stretch;
        Ok(None)
    }
}
