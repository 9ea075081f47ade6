//! Work of the writer that nobody waits for.

use std::time::Instant;

use super::{CHORES_EVERY, PRUNE_ROWS, Writer};
use crate::ledger::StoreError;
use crate::ledger::own_rows::unclean_stop;
use crate::record::Micros;

impl Writer {
    /// Work that nobody waits for.
    pub(super) fn chores(&mut self) {
        if self.last_chores.elapsed() < CHORES_EVERY || self.board.progress().failing {
            return;
        }
        match self.prune() {
            // A full transaction: more is due, so the mark of time stays and the next round goes on.
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "old audit rows could not be removed; tried again in a minute");
            }
        }
        self.last_chores = Instant::now();
        self.note_unclean();
    }

    /// True when there is more to remove.
    fn prune(&mut self) -> Result<bool, StoreError> {
        let mut before = Micros(i64::MIN);
        if let Some(retention) = self.retention {
            before = self.clock.wall().saturating_sub(retention);
        }
        if let Some(most) = self.max_bytes {
            let size = self.store.size()?;
            if size.used + size.log > most {
                before = Micros(i64::MAX);
            }
        }
        if before.0 == i64::MIN {
            return Ok(false);
        }
        let removed = self.store.prune(before, PRUNE_ROWS)?;
        self.own.note_pruned(removed);
        Ok(removed >= PRUNE_ROWS as u64)
    }

    /// Other processes' runs, and this one's own past, that ended without saying so.
    fn note_unclean(&mut self) {
        match self.store.take_unclean() {
            Ok(stops) => {
                let now = self.clock.wall();
                let mut losses: Vec<_> = stops
                    .iter()
                    .map(|stop| unclean_stop(stop.queue_capacity, stop.alive, now))
                    .collect();
                self.own.note(&mut losses);
            }
            Err(error) => tracing::debug!(%error, "stopped runs could not be looked for"),
        }
    }
}
